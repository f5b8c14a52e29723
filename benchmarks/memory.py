"""Peak memory of t2vz for short and long videos at the same chunk: it should not grow with the number of frames.

    python benchmarks/memory.py                                      # small networks, 8 and 64 frames, on the CPU
    python benchmarks/memory.py --size sd15 --height 512 --device cuda --dtype float16

Each video is made in a process of its own. Shown is what the run needed above the loaded weights.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import SIZES, machine, made_up, measured

from t2vz import text_to_video
from t2vz.model import to_channels_last


def main():
    options = arguments()
    if options.alone:
        return print(json.dumps(one(options, options.frames[0])))
    rows = []
    print("| frames | chunk | peak above the weights, MB | of which frames and latents | seconds |")
    print("|---|---|---|---|---|")
    for frames in options.frames:
        command = [sys.executable, __file__, *sys.argv[1:], "--alone", "--frames", str(frames)]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(made.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"| {frames} | {options.chunk} | {row['peak'] / 1e6:.0f} | {row['result'] / 1e6:.1f} "
            f"| {row['seconds']:.1f} |",
            flush=True,
        )
    grown = rows[-1]["peak"] - rows[0]["peak"]
    print(f"\n{options.frames[0]} to {options.frames[-1]} frames: {grown / 1e6:+.0f} MB")
    if options.out:
        Path(options.out).write_text(
            json.dumps({"machine": machine(options.device), "options": vars(options), "rows": rows}, indent=1) + "\n"
        )


def one(options, frames: int) -> dict:
    """Make one video, after a short one that warms up; what it cost."""

    def make(count: int):
        return text_to_video(
            sd,
            "a red ball on a green meadow",
            count,
            options.steps,
            height=options.height,
            width=options.height,
            chunk=options.chunk,
        )

    with tempfile.TemporaryDirectory() as folder:
        sd = made_up(options.size, getattr(torch, options.dtype), options.device, Path(folder))
    for network in (sd.unet, sd.vae):
        to_channels_last(network)
    make(options.chunk)
    with measured(options.device, sd.unet) as cost:
        video = make(frames)
    result = video.frames.nbytes + video.latents.numel() * video.latents.element_size()
    return {"frames": frames, "peak": cost.peak, "seconds": cost.seconds, "result": result}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--size", default="small", choices=SIZES)
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--height", type=int, default=256, help="pixels, of a square video")
    parser.add_argument("--out", help="write everything measured to this JSON file")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
