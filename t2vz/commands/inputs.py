"""What a command works with: the model on its machine, and the video that comes in."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from ..checkpoints import find_tokenizer
from ..errors import InputError
from ..model import StableDiffusion
from ..pipelines.settings import Settings
from ..video import Clip, open_clip, open_frames
from .output import note, note_change
from .request import Request
from .runfile import compare


def load(request: Request, **options) -> StableDiffusion:
    """The model that was asked for, checked against the run file's. options: for StableDiffusion.load."""
    sd = load_model(request, **options)
    if request.run_file:
        compare(request, sd)
    return sd


def load_model(asked, **options) -> StableDiffusion:
    """The model that was asked for. asked: a Request, or a command line with the flags of `arguments.add_model`.

    options: for StableDiffusion.load.
    """
    device, dtype = choose_machine(asked.device, asked.dtype)
    load = getattr(asked, "load", None) or StableDiffusion.load
    return load(asked.weights, dtype, device, asked.tokenizer, asked.vae, asked.lora or (), **options)


def choose_machine(device: str, dtype: str = "float32") -> tuple[torch.device, torch.dtype]:
    """What these words mean. Raises InputError for a device that does not exist here."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ and torch.cuda.is_available():  # torchrun: to each its own
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"--device {device}: not available on this machine; use --device auto or cpu") from error
    if chosen.type == "mps" and dtype == "float64":
        raise InputError("--dtype float64: MPS has no float64; use --device cpu")
    if dtype == "auto":
        return chosen, torch.float32 if chosen.type == "cpu" else torch.float16
    return chosen, getattr(torch, dtype)


def tokenizer_to_save(weights: str | Path, tokenizer: str | None) -> Path:
    """The tokenizer for a checkpoint's folder that is to be written. Raises InputError where there is none."""
    found = find_tokenizer(weights, tokenizer)
    if found is None:
        raise InputError(f"{weights} holds no tokenizer, and a folder needs one; name it with --tokenizer DIR")
    return found


def check_clip(request: Request) -> float:
    """The frame rate of the video asked for: worth calling before a model is loaded.

    Raises what `open_clip` would raise, as far as times and the first frame show it.
    """
    if request.video is None:
        raise InputError("give a video; t2vz example draws one to begin with")
    fps, frames, _ = open_frames(request.video, request.start, request.end, request.fps)
    next(frames)
    frames.close()
    return float(fps)


def open_source(request: Request, own_size: int) -> Clip:
    """The video asked for as a `Clip`, to be closed; its notes are said. own_size: of the model's pictures."""
    resolution = own_size if request.resolution is None else request.resolution
    clip = open_clip(request.video, request.start, request.end, request.fps, resolution)
    note(request, *clip.notes)
    before = (request.run_file.get("video") or {}).get("sha256")
    if before:
        note_change(request, "these are other frames than those of", clip.hash(), before)
    return clip


def of_source(settings: Settings, clip: Clip) -> Settings:
    """The settings with all that the video decides."""
    return replace(settings, frames=len(clip), height=clip.height, width=clip.width, fps=clip.fps)
