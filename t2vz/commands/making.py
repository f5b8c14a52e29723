"""From a request to its files: what generate, control and edit share once the model is loaded."""

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ..files import atomic_path, write_json
from ..pipelines.algorithm_1 import algorithm_1
from ..pipelines.job import Job
from ..pipelines.ranks import Share
from ..pipelines.settings import Settings
from ..pipelines.values import as_typed
from ..video import Clip, check_output, read_masks, write_frames
from ..video.sheet import contact_sheet
from ..video.write import write_image
from .output import note, note_change, progress_bar
from .request import Request
from .runfile import describe_clip, describe_run

SHEET_FRAMES = 32  # of a long video on its contact sheet


def make_video(
    request: Request,
    settings: Settings,
    sd,
    paths: dict,
    job_of: Callable[..., Job],
    notes: Iterable[str] = (),
    clip: Clip | None = None,
    **more,
) -> None:
    """Denoise, then decode and write frame by frame; then the run file and what else was asked for.

    settings: as used, sides and all. paths: of `output_paths`. job_of(masks=…, progress=…, share=…): the pipeline's
    Job. notes: to be said beside its own. clip: the video that came in. more: what one command alone puts into the run
    file. Where several processes share the work, the first writes.
    """
    sizes = settings.frames, settings.height, settings.width
    masks = read_masks(request.masks, *sizes) if request.masks else None
    sha256 = None if masks is None else hashlib.sha256(masks.numpy().tobytes()).hexdigest()
    note_change(request, "these are other masks than those of", sha256, request.run_file.get("masks_sha256"))
    began = time.perf_counter()
    with progress_bar(request, plan_of(request, settings, sd)) as progress:
        job = job_of(masks=masks, progress=progress, share=Share.here())
        x_0 = algorithm_1(job)
        pictures = job.pictures(x_0)
        if job.share.rank > 0:
            list(pictures)  # none, for they are sent
        else:
            write_streamed(request, paths, pictures, settings.frames, settings.fps, settings.prompt)
        latents = list(job.latents(x_0)) if "latents" in paths else []
        if job.share.rank > 0:
            return
    seconds = time.perf_counter() - began
    note(request, *job.notes, *notes)
    if "latents" in paths:
        write_latents(paths["latents"], torch.stack(latents))
    more |= {"masks_sha256": sha256, "timesteps": {"T": job.T, "T_prime": job.T_prime} if job.moves else None}
    more |= {"video": describe_clip(request, clip)} if clip is not None else {}
    all_notes = [*(clip.notes if clip is not None else []), *job.notes, *notes]
    write_json(paths["run"], describe_run(request, settings, sd, seconds, all_notes, **more))
    print(
        f"{paths['video']}: {settings.frames} frames of {settings.width}×{settings.height}, "
        f"{settings.frames / settings.fps:.1f} s at {settings.fps:g} fps, made in {seconds:.1f} s; settings in "
        f"{paths['run']}"
    )


def plan_of(request: Request, settings: Settings, sd) -> str:
    """What is going to be done, and which settings are the checkpoint's own."""
    model = request.weights or f"embedded {'edit ' * (settings.TASK == 'edit')}model"
    source = f" of {request.video}" if "video" in request else ""
    if settings.TASK == "control":
        source = f" that follow {' and '.join(kind for kind, _ in request.with_)}{source}"
    own = ", ".join(f"{name} {as_typed(getattr(settings, name))}" for name in request.own)
    return (
        f"{model} on {sd.device}, {str(sd.dtype).removeprefix('torch.')}: {settings.frames} frames of "
        f"{settings.width}×{settings.height}{source}, {settings.steps} steps, seed {settings.seed}"
    ) + (own and f"; this model's own defaults: {own}")


def write_streamed(request, paths: dict, frames, count: int, fps: float, caption: str) -> None:
    """Write a video of `count` frames as they are made, and a contact sheet if `paths` (of `output_paths`) has one.

    frames: an iterator of uint8 (H, W, 3). Only a GIF keeps them all; a sheet of a long video shows SHEET_FRAMES.
    """
    shown = set(np.linspace(0, count - 1, min(count, SHEET_FRAMES)).round().astype(int)) if "sheet" in paths else ()
    kept = []

    def watched():
        for k, frame in enumerate(frames):
            if k in shown:
                kept.append(frame)
            yield frame

    check_output(paths["video"], request.overwrite, fps)  # again: minutes have passed
    write_frames(paths["video"], watched(), fps)
    if kept:
        write_image(paths["sheet"], contact_sheet(np.stack(kept), caption=caption))


def write_latents(path: Path, latents) -> None:
    """The latents as denoised, (m, 4, H/8, W/8), under the name "latents"."""
    with atomic_path(path) as temporary:
        save_file({"latents": latents}, temporary)
