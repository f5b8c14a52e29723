"""What a video costs, and how far an approximation takes it from the exact one: measures that a study asks for by name.

They are no measures of the frames (t2vz.metrics) but of how these were made, and the first two of them are never the
same twice. So only a study that names them in its `metrics` has them.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ..metrics import MEASURES as OF_FRAMES
from ..metrics.score import Measure
from ..video import Video

EXACT = {"token_merging": 0.0, "deep_cache": 1}  # the settings of the approximations, off
COSTS = {
    "cpu_seconds": Measure("processor time to make it, without writing and measuring", "seconds", "lower"),
    "peak_memory": Measure("most memory held meanwhile, above what was held before", "MB", "lower"),
    "latent_error": Measure("how far the latents are from those without approximations", "relative", "lower"),
}
MEASURES = {**OF_FRAMES, **COSTS}


def with_costs(make: Callable[[], Video], device: torch.device) -> tuple[Video, dict[str, float]]:
    """A video, and what making it cost. Memory is the GPU's there, this process's on a CPU (under Linux only)."""
    held = _start_peak(device)
    began = time.process_time()
    video = make()
    cost = {"cpu_seconds": time.process_time() - began}
    if held is not None:
        cost["peak_memory"] = (_peak(device) - held) / 1e6
    return video, cost


def any_approximation(settings: Mapping) -> bool:
    """Whether the settings ask for one."""
    return any(settings.get(name, off) != off for name, off in EXACT.items())


def latent_error(video: Video, exact: Video) -> float:
    """|x_0 − exact x_0| / |exact x_0| over all frames."""
    return float((video.latents - exact.latents).norm() / exact.latents.norm())


def _start_peak(device: torch.device) -> int | None:
    """Forget earlier peaks; the bytes held now, or None where that cannot be told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is counted from here on
    except OSError:
        return None
    return _bytes("VmRSS")


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _bytes("VmHWM")


def _bytes(name: str) -> int:
    """One of Linux's counts of this process's memory."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
