"""Measuring a video that t2vz made: the measures of t2vz.metrics, and what it cost to make.

Nobody draws foreground masks for a study. The model says where the subject is, as it does for background smoothing
(E13): the finished latents are noised half way (E2), the UNet looks at them once, and the cells that read the subject's
words are foreground.

Costs are no measures of the frames but of how these were made, and the first two of them are never the same twice. So
only a study that names them in its `metrics` has them.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..metrics import MEASURES as OF_FRAMES
from ..metrics import score_video
from ..metrics.motion import asked_motion
from ..metrics.score import Measure
from ..pipelines.masks import AttentionRecord, foreground_from_attention
from ..pipelines.prediction import chunk_of, guided_by_text
from ..pipelines.randomness import Noise
from ..pipelines.settings import Settings
from ..schedulers import forward_jump
from ..video import Video

COSTS = {
    "cpu_seconds": Measure("processor time to make it, without writing and measuring", "seconds", "lower"),
    "peak_memory": Measure("most memory held meanwhile, above what was held before", "MB", "lower"),
    "latent_error": Measure("how far the latents are from those without approximations", "relative", "lower"),
}
MEASURES = {**OF_FRAMES, **COSTS}
EXACT = {"token_merging": 0.0, "deep_cache": 1}  # the settings of the approximations, off
TIMESTEP = 401  # shapes are settled, and the words still matter
LEAST_BACKGROUND = 0.2  # of the frame; with less there is nothing to measure on


def measure(sd, clip, video: Video, prompt: str | None, from_text: bool) -> dict[str, float]:
    """Every measure of `metrics.MEASURES` that can be taken of a video, by name. prompt: what it should show.

    from_text: made from its prompt alone. Then the camera's motion is compared with what was asked (none, if motion is
    off), and the background measured outside the foreground; another video's motion and foreground are not known.
    """
    motion = asked_motion(video.settings) if from_text else None
    masks = find_foreground(sd, video) if from_text else None
    found = score_video(video.frames, clip, prompt, motion, masks)
    return {name: value for name, value in found.items() if value is not None}


def find_foreground(sd, video: Video) -> Tensor | None:
    """Masks (m, 1, H, W) in {0, 1} of a video that `sd` made from text; None if hardly any background is left."""
    settings, latents = Settings.from_dict(video.settings), video.latents
    noise = Noise(settings.seed).draw("foreground", 0, tuple(latents.shape[1:]))
    x_0 = latents.to(sd.device, torch.promote_types(sd.dtype, torch.float32))
    x_t = forward_jump(x_0, sd.schedule.alpha_bar_at(TIMESTEP), noise.to(x_0).expand_as(x_0))
    context = sd.encode_text([settings.negative_prompt, settings.prompt])
    record = AttentionRecord(*latents.shape[-2:])
    guided_by_text(sd.unet, context, 1.0, "own", chunk_of(sd.unet, settings))(x_t, TIMESTEP, record)
    masks = foreground_from_attention(record, sd.tokenizer, settings)
    if float(1 - masks.mean(dim=(1, 2, 3)).max()) < LEAST_BACKGROUND:
        return None
    return F.interpolate(masks, size=video.frames.shape[1:3], mode="nearest")


def with_costs(make: Callable[[], Video], device: torch.device) -> tuple[Video, dict[str, float]]:
    """A video, and what making it cost. Memory is the GPU's there, this process's on a CPU (under Linux only)."""
    held = _memory_from_here(device)
    began = time.process_time()
    video = make()
    cost = {"cpu_seconds": time.process_time() - began}
    if held is not None:
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _memory_of_process("VmHWM")
        cost["peak_memory"] = (peak - held) / 1e6
    return video, cost


def latent_error(video: Video, exact: Video) -> float:
    """|x_0 − exact x_0| / |exact x_0| over all frames."""
    return float((video.latents - exact.latents).norm() / exact.latents.norm())


def _memory_from_here(device: torch.device) -> int | None:
    """Forget earlier peaks; the bytes held now, or None where that cannot be told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is counted from here on
    except OSError:
        return None
    return _memory_of_process("VmRSS")


def _memory_of_process(name: str) -> int:
    """One of Linux's counts of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
