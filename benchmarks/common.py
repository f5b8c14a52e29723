"""What the benchmarks share: made-up models of both programs on the same weights, clocks, and peaks of memory."""

import ctypes
import datetime
import os
import platform
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "tests", ROOT / "tests/equivalence"):
    sys.path.insert(0, str(folder))

from tiny import TEXT, UNET, VAE_SIZES, tiny_tokenizer  # noqa: E402

from t2vz.model import StableDiffusion  # noqa: E402
from t2vz.schedulers import NoiseSchedule  # noqa: E402
from t2vz.text import TextConfig, TextEncoder, Tokenizer  # noqa: E402
from t2vz.unet import UNet, UNetConfig  # noqa: E402
from t2vz.vae import VAE, VAEConfig  # noqa: E402

SIZES = {
    "sd15": (UNetConfig(), VAEConfig(), TextConfig()),
    "small": (
        UNetConfig(block_out_channels=(64, 128, 256, 256), context_dim=64, sample_size=32),
        VAEConfig(block_out_channels=(32, 64, 128, 128)),
        TextConfig(vocab_size=600, **TEXT),
    ),
    "tiny": (UNET, VAE_SIZES, TextConfig(vocab_size=600, **TEXT)),
}


def made_up(size: str, dtype: torch.dtype, device: str, folder: Path) -> StableDiffusion:
    """A StableDiffusion of that size with random weights. folder: where a small tokenizer is written."""
    unet, vae, text = SIZES[size]
    words = tiny_tokenizer(folder)
    torch.manual_seed(0)
    networks = [UNet(unet), VAE(vae), TextEncoder(text)]
    for network in networks:
        network.to(device, dtype).eval().requires_grad_(False)
    return StableDiffusion(*networks, Tokenizer(words), NoiseSchedule.stable_diffusion())


@dataclass
class Cost:
    """What one run cost. seconds: by the clock; cpu: of all threads; peak: bytes above what was held before."""

    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    calls: list[float] = field(default_factory=list)  # seconds of every UNet call


@contextmanager
def measured(device: str, unet: torch.nn.Module):
    """Measure the block; yields a Cost that is filled when the block ends."""
    cost, started = Cost(), []
    hooks = [
        unet.register_forward_pre_hook(lambda *_: started.append(clock(device))),
        unet.register_forward_hook(lambda *_: cost.calls.append(clock(device) - started.pop())),
    ]
    before = reset_peak(device)
    wall, cpu = clock(device), time.process_time()
    yield cost
    cost.seconds, cost.cpu = clock(device) - wall, time.process_time() - cpu
    cost.peak = peak(device) - before
    for hook in hooks:
        hook.remove()


def clock(device: str) -> float:
    """The time now, once the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak(device: str) -> int:
    """Forget earlier peaks; returns the bytes held now. On the CPU this is resident memory, and needs Linux."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what earlier runs freed
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def peak(device: str) -> int:
    """The most bytes held since `reset_peak`."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else _status("VmHWM")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def machine(device: str) -> dict:
    """What the numbers were measured on."""
    import diffusers

    cpu = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        cpu = next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            cpu,
        )
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
