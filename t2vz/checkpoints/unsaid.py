"""What a single file's names and shapes cannot say, kept as words in its safetensors header.

Shapes leave no trace of head counts, norm groups, the VAE's scaling factor, the picture size and the noise schedule;
readers of single files take Stable Diffusion 1.x's (see sizes.py). A model with others, such as the embedded one, says
them in the header, which holds any words beside the tensors' places: for each part one entry, "t2vz.unet", "t2vz.vae",
"t2vz.text" or "t2vz.scheduler", with those options of the folder layout's config.json, as JSON, that differ from SD
1.x's rules. Files of SD 1.x's own kind get none, and other programs pass over them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from . import config

PREFIX = "t2vz."
# Each part's sizes -> its config.json, and back with every check that a folder's config.json has to pass.
JSON = {
    "unet": (config.unet_to_json, config.unet_from_json),
    "vae": (config.vae_to_json, config.vae_from_json),
    "text": (config.text_to_json, config.text_from_json),
    "scheduler": (config.schedule_to_json, config.schedule_from_json),
}


def say_unsaid(part: str, true: Any, guessed: Any) -> dict[str, str]:
    """The header's words for one part: what `guessed`, which readers take, has otherwise than the `true` sizes."""
    to_json, _ = JSON[part]
    rule = to_json(guessed)
    differing = {
        name: value
        for name, value in to_json(true).items()
        if rule.get(name) != value and not name.endswith("_token_id")
    }  # those are the tokenizer's to say
    return {PREFIX + part: json.dumps(differing)} if differing else {}


def hear_unsaid(part: str, guessed: Any, metadata: Mapping[str, str], where: str) -> Any:
    """The sizes with what the header says about this part. Raises InputError if that makes no sense."""
    words = metadata.get(PREFIX + part)
    if words is None:
        return guessed
    to_json, from_json = JSON[part]
    try:
        said = json.loads(words)
    except ValueError as error:
        raise InputError(f"{where}: its header's {PREFIX}{part} is not JSON; export the file again") from error
    if not isinstance(said, dict):
        raise InputError(f"{where}: its header's {PREFIX}{part} is no dictionary of options; export the file again")
    return from_json(to_json(guessed) | said, f"{where}, header {PREFIX}{part}")
