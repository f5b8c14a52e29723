"""The run file: a small JSON beside every video with all it takes to make the same video again."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from .. import __version__
from ..checkpoints import checkpoint_hash
from ..errors import InputError
from ..pipelines.settings import Settings
from .flags import DTYPES
from .output import note

FILES = {"weights": "checkpoint", "vae": "VAE", "lora": "LoRA", "video": "video"}  # flags that name a file
CLIP = ("start", "end", "fps", "resolution")  # what is taken of a video that comes in


def describe_run(request, settings: Settings, sd, seconds: float, notes: list[str], **more) -> dict:
    """What a run file holds. settings: as used; seconds: of the generation; more: what one command alone records."""
    return {
        "command": settings.TASK,
        "settings": settings.to_dict(),
        **more,
        **model_files(request, sd),
        "tokenizer": absolute(request.tokenizer),
        "masks": absolute(request.masks),
        "device": str(sd.device),
        "dtype": str(sd.dtype).removeprefix("torch."),
        "versions": versions(),
        "seconds": round(seconds, 2),
        "notes": notes,
    }


def versions() -> dict[str, str]:
    """What the result may depend on, besides what was asked for."""
    return {name: version(name) for name in ("torch", "transformers")} | {
        "t2vz": __version__,
        "python": platform.python_version(),
    }


def model_files(request, sd) -> dict:
    """The files that a model was made from, each with its hash."""
    return {
        "weights": {"path": absolute(request.weights) or "embedded", "sha256": sd.hash()},
        "vae": {"path": absolute(request.vae), "sha256": checkpoint_hash(request.vae)} if request.vae else None,
        "loras": [
            {"path": absolute(path), "weight": weight, "sha256": checkpoint_hash(path)} for path, weight in request.lora
        ],
    }


def describe_clip(request, clip) -> dict:
    """What a run file records of the video that came in: where it was, what was taken of it, a hash of its frames.

    resolution: the larger side before rounding, None for the model's own.
    """
    taken = {name: getattr(request, name) for name in CLIP}
    return {"path": absolute(request.video), **taken, "frames": len(clip), "sha256": clip.hash()}


def read_run(path: str | Path, settings: type[Settings]) -> dict:
    """A run file's content, checked. settings: of the pipeline whose run file it must be.

    Raises InputError if it is no such file, or holds impossible settings.
    """
    command = settings.TASK
    wanted = f"give the .json that t2vz {command} wrote beside a video"
    try:
        run = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--from {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"--from {path}: is not JSON; {wanted}") from error
    if isinstance(run, dict) and run.get("command", command) != command:
        raise InputError(f"--from {path}: was written by t2vz {run['command']}; use that command")
    try:
        whole = run["dtype"] in DTYPES and "sha256" in run["weights"] and "prompt" in recorded(run, settings)
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"--from {path}: is not a run file; {wanted}")
    settings.from_dict(run["settings"])
    return run


def recorded(run: Mapping, settings: type[Settings]) -> dict:
    """A run file's content as if it had been typed: {flag or setting: value}, without what it does not say.

    settings: of the pipeline whose run file it is.
    """
    if not run:
        return {}
    clip, controls = run.get("video") or {}, run.get("controls") or []
    weights = run["weights"]["path"]
    said = {
        "weights": None if weights == "embedded" else weights,
        "vae": run["vae"]["path"] if run.get("vae") else None,
        "lora": [(file["path"], file["weight"]) for file in run.get("loras") or []],
        "video": clip.get("path"),
        "with_": [(one["kind"], one["video"]) for one in controls],
        "controlnet": [one["controlnet"] for one in controls],
        "motion_from": (run.get("motion_from") or {}).get("path"),
        "dense": (run.get("motion_from") or {}).get("dense") or None,
        **{name: run.get(name) for name in ("tokenizer", "dtype", "masks", "depth_model", "pose_model")},
        **{name: clip.get(name) for name in CLIP},
        "edge_thresholds": tuple(run["edge_thresholds"]) if run.get("edge_thresholds") else None,
    }
    typed = {name: value for name, value in run["settings"].items() if name not in settings.OF_THE_SOURCE}
    return {name: value for name, value in said.items() if value not in (None, [])} | typed


def compare(request, sd) -> None:
    """The run file's own files must not have changed; of files that were typed, say that the video will differ."""
    files = model_files(request, sd)
    for flag, name in (("weights", "weights"), ("vae", "vae"), ("lora", "loras")):
        now, before = (_listed(run.get(name)) for run in (files, request.run_file))
        if [file["sha256"] for file in now] == [file["sha256"] for file in before]:
            continue
        if flag not in request.typed:
            raise InputError(
                f"--from {request.from_}: its {FILES[flag]} ({', '.join(file['path'] for file in before)}) has changed "
                f"since, so the video would differ; to use today's all the same, name it with --{flag}"
            )
        note(request, f"this is another {FILES[flag]} than that of {request.from_}, so the video will differ")


def _listed(files: dict | list | None) -> list[dict]:
    return files if isinstance(files, list) else [files] if files else []


def absolute(path: str | Path | None) -> str | None:
    """The path from the root, so that a run file works from any folder; None stays None.

    Links are kept: what lies beside a file, or belongs to its name, is found beside the link (in a hub cache a link
    snapshots/…/model.safetensors leads to blobs/HASH, where neither is).
    """
    return os.path.abspath(os.path.expanduser(path)) if path else None
