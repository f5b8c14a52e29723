"""The run file: a small JSON beside every video with all it takes to make the same video again."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from .. import __version__
from ..checkpoints import checkpoint_hash
from ..errors import InputError
from .machine import DTYPES


def describe_run(command: str, settings: dict, sd, args, seconds: float, notes: list[str], **more) -> dict:
    """What a run file holds.

    command: "generate", "control", …; settings: plain JSON values, as the pipeline's settings read them again.
    args: the command line's, as `machine.load_model` leaves them; seconds: of the generation. more: what one command
    alone records (paths made `absolute`).
    """
    return {
        "command": command,
        "settings": settings,
        **more,
        "weights": {"path": absolute(args.weights) or "embedded", "sha256": sd.hash()},
        "tokenizer": absolute(args.tokenizer),
        "vae": {"path": absolute(args.vae), "sha256": checkpoint_hash(args.vae)} if args.vae else None,
        "loras": [
            {"path": absolute(path), "weight": weight, "sha256": checkpoint_hash(path)} for path, weight in args.lora
        ],
        "device": str(sd.device),
        "dtype": args.dtype,
        "versions": {
            "t2vz": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "seconds": round(seconds, 2),
        "notes": notes,
    }


def read_run(path: str | Path, command: str, check: Callable[[dict], object]) -> dict:
    """A run file's content, checked. command: whose run file it must be; check(settings) raises for impossible ones.

    Raises InputError if it is no such file.
    """
    wanted = f"give the .json that t2vz {command} wrote beside a video"
    try:
        run = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--from {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"--from {path}: is not JSON; {wanted}") from error
    if isinstance(run, dict) and run.get("command", command) != command:
        raise InputError(f"--from {path}: was written by t2vz {run['command']}; use that command")
    if not _is_run(run):
        raise InputError(f"--from {path}: is not a run file; {wanted}")
    check(run["settings"])
    return run


def _is_run(run) -> bool:
    parts = {"settings": dict, "weights": dict, "dtype": str}
    return (
        isinstance(run, dict)
        and all(isinstance(run.get(name), kind) for name, kind in parts.items())
        and {"path", "sha256"} <= run["weights"].keys()
        and run["dtype"] in DTYPES
    )


def absolute(path: str | Path | None) -> str | None:
    """The path from the root, so that a run file works from any folder; None stays None."""
    return str(Path(path).resolve()) if path else None
