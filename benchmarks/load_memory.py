"""How much memory loading takes: the peak while random weights of SD 1.5's real size are loaded.

    python benchmarks/load_memory.py                    # about 5 GB of disk for a moment, 5 GB of memory
    python benchmarks/load_memory.py --device cuda

Random weights are written as one single file, as float32 and then as float16, and each is loaded as both.
Every load runs in a new process, which reads its own peak (VmHWM: mapped pages of the file count). "Growth"
is that peak less what the process held before loading, with torch imported; the aim is
growth ≤ 1.15 × the weights in their new type.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from t2vz.checkpoints import build, layouts, open_checkpoint
from t2vz.text import TextConfig, TextEncoder
from t2vz.unet import UNet, UNetConfig
from t2vz.vae import VAE, VAEConfig

TYPES = {"float32": ("F32", torch.float32, 4), "float16": ("F16", torch.float16, 2)}
CHUNK = 2**22  # numbers written at a time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="where the networks go: cpu, cuda or mps")
    parser.add_argument("--folder", default=None, help="where to write the temporary file (default: the system's)")
    parser.add_argument("--load", nargs=2, metavar=("FILE", "TYPE"), help=argparse.SUPPRESS)  # one measured load
    options = parser.parse_args()
    if options.load:
        return print(json.dumps(measure(*options.load, options.device)))
    print(
        f"{'file':>8} {'loaded as':>10} {'weights':>9} {'before':>8} {'peak':>8} {'growth':>8} {'ratio':>6} {'time':>7}"
    )
    for stored in TYPES:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            file = Path(folder) / "sd15-random.safetensors"
            write_checkpoint(file, stored)
            for wanted in TYPES:
                command = [sys.executable, __file__, "--device", options.device, "--load", str(file), wanted]
                found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                growth = found["peak"] - found["before"]
                print(
                    f"{stored:>8} {wanted:>10} {found['weights']:>6.0f} MB {found['before']:>5.0f} MB "
                    f"{found['peak']:>5.0f} MB {growth:>5.0f} MB {growth / found['weights']:>6.3f} "
                    f"{found['seconds']:>5.1f} s",
                    flush=True,
                )


def measure(file, wanted, device):
    """Load all three networks; sizes in MB."""
    before = memory("VmRSS")
    start = time.perf_counter()
    checkpoint = open_checkpoint(file)
    dtype = TYPES[wanted][1]
    networks = [
        build(checkpoint.unet, dtype, device),
        build(checkpoint.vae, dtype, device),
        build(checkpoint.text, dtype, device),
    ]
    seconds = time.perf_counter() - start
    weights = sum(p.numel() * p.element_size() for network in networks for p in network.parameters()) / 2**20
    return {"before": before, "peak": memory("VmHWM"), "weights": weights, "seconds": seconds}


def memory(field):
    """This process's present (VmRSS) or largest (VmHWM) memory in MB; without /proc the largest for both."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def write_checkpoint(file, stored):
    """A single file of SD 1.5's names and shapes, random, written without ever holding it."""
    word, dtype, size = TYPES[stored]
    header, end = {}, 0
    for key, shape in single_file_shapes():
        length = size * torch.Size(shape).numel()
        header[key] = {"dtype": word, "shape": shape, "data_offsets": [end, end + length]}
        end += length
    text = json.dumps(header).encode()
    block = (torch.randn(CHUNK, generator=torch.Generator().manual_seed(0)) * 0.02).to(dtype).numpy().tobytes()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, end, len(block)):
            out.write(block[: end - start])


def single_file_shapes():
    """(key, shape) of every SD 1.5 tensor, by its single-file name."""
    with torch.device("meta"):
        unet, vae, text = UNet(UNetConfig()), VAE(VAEConfig()), TextEncoder(TextConfig())
    unet_names = layouts.inverse(dict(layouts.unet_modules(unet.config)))
    vae_names = layouts.inverse(dict(layouts.vae_modules(vae.config)))
    for key, tensor in unet.state_dict().items():
        yield layouts.UNET + layouts.rename(key, unet_names), list(tensor.shape)
    for key, tensor in vae.state_dict().items():
        yield layouts.VAE + layouts.rename(key, vae_names), list(tensor.shape)
    for key, tensor in text.state_dict().items():
        yield layouts.TEXT + key, list(tensor.shape)


if __name__ == "__main__":
    main()
