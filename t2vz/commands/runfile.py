"""The run file: a small JSON beside every video with all it takes to make the same video again."""

import json
import platform
from pathlib import Path

import torch
import transformers

from .. import __version__
from ..errors import InputError
from ..pipelines.settings import Settings
from .machine import DTYPES


def describe_run(video, sd, args, seconds: float) -> dict:
    """What a run file holds. args: the command line's, with weights, dtype, … as used; seconds: of the generation."""
    settings, snap = video.settings, sd.schedule.snap
    timesteps = {"T": snap(settings["t"], settings["steps"]), "T_prime": snap(settings["t_prime"], settings["steps"])}
    return {
        "command": "generate",
        "settings": settings,
        "timesteps": timesteps if settings["motion"] is not None else None,
        "masks": _absolute(args.masks),
        "weights": {"path": _absolute(args.weights) or "embedded", "sha256": sd.hash()},
        "tokenizer": _absolute(args.tokenizer),
        "device": str(sd.device),
        "dtype": args.dtype,
        "versions": {"t2vz": __version__, "torch": torch.__version__, "transformers": transformers.__version__,
                     "python": platform.python_version()},
        "seconds": round(seconds, 2),
        "notes": video.notes,
    }


def read_run(path: str | Path) -> dict:
    """A run file's content, checked. Raises InputError if it is no such file."""
    try:
        run = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--from {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(
            f"--from {path}: is not JSON; give the .json that t2vz generate wrote beside a video"
        ) from error
    if isinstance(run, dict) and run.get("command", "generate") != "generate":
        raise InputError(f"--from {path}: was written by t2vz {run['command']}; use that command")
    if not _is_run(run):
        raise InputError(f"--from {path}: is not a run file; give the .json that t2vz generate wrote beside a video")
    Settings.from_dict(run["settings"])
    return run


def _is_run(run) -> bool:
    parts = {"settings": dict, "weights": dict, "dtype": str}
    return (isinstance(run, dict) and all(isinstance(run.get(name), kind) for name, kind in parts.items())
            and {"path", "sha256"} <= run["weights"].keys() and run["dtype"] in DTYPES)


def _absolute(path: str | None) -> str | None:
    return str(Path(path).resolve()) if path else None
