"""A checkpoint's own defaults: what a model was made for, used where a setting is left out.

defaults.json in a checkpoint folder, or "t2vz.defaults" in a single file's header, holds for each pipeline the settings
that differ from the paper's: {"generate": {"steps": 25, "guidance_scale": 4.0, "t_prime": 561, "t": 641}, "edit": {…}}.
Which settings it may name, and their ranges, are said where settings are declared (pipelines/settings.py); they are
checked when they are used. Stable Diffusion carries none. Other programs pass over the file.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from .read import HEADER, read_attached

DEFAULTS_FILE = "defaults.json"
DEFAULTS_HEADER = HEADER + "defaults"

Defaults = Mapping[str, Mapping[str, object]]  # pipeline -> setting -> value


def read_defaults(path: str | Path) -> Defaults:
    """The defaults of a checkpoint (folder or single file); {} if it says none. Raises InputError if not so."""
    text, where = read_attached(path, "defaults")
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: its defaults are not JSON ({error}); copy the file again, or mend it") from error
    if not isinstance(found, dict) or not all(isinstance(settings, dict) for settings in found.values()):
        raise InputError(f'{where}: its defaults are not {{"generate": {{"steps": 25, …}}, …}}; mend the file')
    return found
