"""The run file: a small JSON beside every video with all it takes to make the same video again."""

import json
import platform
from pathlib import Path

import torch
import transformers

from .. import __version__
from ..errors import InputError
from ..pipelines.settings import Settings


def describe_run(video, sd, weights: str, device: str, dtype: str, masks: str | None, seconds: float) -> dict:
    """What a run file holds. weights: "embedded" or the path given. seconds: how long the generation took."""
    settings = video.settings
    on_grid = {name: sd.schedule.snap(settings[asked], settings["steps"]) for name, asked in (("T", "t"), ("T'", "t_prime"))}
    return {
        "command": "generate",
        "settings": settings,
        "timesteps": on_grid,
        "masks": masks,
        "weights": {"path": weights, "sha256": sd.hash()},
        "device": device,
        "dtype": dtype,
        "versions": {"t2vz": __version__, "torch": torch.__version__, "transformers": transformers.__version__,
                     "python": platform.python_version()},
        "seconds": round(seconds, 2),
        "notes": video.notes,
    }


def read_run(path: str | Path) -> dict:
    """A run file's content; its settings are checked when they are used. Raises InputError if it is no such file."""
    try:
        run = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--from {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"--from {path}: is not JSON; give the .json that t2vz generate wrote beside a video") from error
    parts = {"settings": dict, "weights": dict, "device": str, "dtype": str}
    if not isinstance(run, dict) or not all(isinstance(run.get(name), kind) for name, kind in parts.items()):
        raise InputError(f"--from {path}: is not a run file; give the .json that t2vz generate wrote beside a video")
    if run.get("command") != "generate":
        raise InputError(f"--from {path}: was written by t2vz {run.get('command')}; use that command")
    Settings.from_dict(run["settings"])
    return run
