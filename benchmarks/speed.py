"""Time and memory of diffusers' TextToVideoZeroPipeline and of t2vz: same weights, one process, taking turns.

    python benchmarks/speed.py                                # SD 1.5's size, 256×256, 4 frames, 2 steps, on the CPU
    python benchmarks/speed.py --size small --height 128      # in a minute
    python benchmarks/speed.py --device cuda --dtype float32 float16 --frames 8 --steps 50 --height 512

Weights are made up: time does not depend on them. The best of the repeats counts. A candidate is a program in a type.
"""

import argparse
import dataclasses
import json
import tempfile
import warnings
from pathlib import Path

import torch
from common import SIZES, machine, made_up, measured
from twins import pipeline_twin

from t2vz import text_to_video
from t2vz.model import to_channels_last

PROMPT, NEGATIVE = "a red ball rolls on a green meadow", "grey"


def main():
    options = arguments()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = candidates(options, Path(folder))
        costs = {name: [] for name in runs}
        for repeat in range(options.repeats + 1):  # the first round is the warm-up
            for name, (unet, run) in runs.items():
                with measured(options.device, unet) as cost:
                    run()
                if repeat > 0 or options.repeats == 0:
                    costs[name].append(cost)
                    print(f"  {name}: {cost.seconds:.2f} s", flush=True)
    report(options, costs)


def candidates(options, folder: Path) -> dict:
    """name -> (its UNet, a function that makes the video), the two programs of a type next to each other."""
    made = {}
    for name in options.dtype:
        dtype = getattr(torch, name)
        sd = made_up(options.size, dtype, options.device, folder)
        theirs = pipeline_twin(sd, folder / "tokenizer")  # shares our tensors, laid out as diffusers has them
        for network in (sd.unet, sd.vae):  # as `StableDiffusion.load` does
            network.to(memory_format=torch.channels_last) if options.channels_last else to_channels_last(network)
        made[f"diffusers {name}"] = (theirs.unet, lambda pipe=theirs, dtype=dtype: run_theirs(pipe, options, dtype))
        made[f"t2vz {name}"] = (sd.unet, lambda sd=sd: run_ours(sd, options))
    return made


def run_ours(sd, options):
    text_to_video(
        sd,
        PROMPT,
        options.frames,
        options.steps,
        negative_prompt=NEGATIVE,
        height=options.height,
        width=options.width,
        chunk=options.chunk,
    )


def run_theirs(pipe, options, dtype):
    grid = range(
        1, 1000, 1000 // options.steps
    )  # their t0, t1 are places on this grid; ours are the nearest to 881, 941
    place = {t: max(range(options.steps), key=lambda i: (-abs(grid[i] - t), i)) for t in (881, 941)}
    shape = (1, 4, options.height // 8, options.width // 8)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    pipe(
        PROMPT,
        options.frames,
        height=options.height,
        width=options.width,
        num_inference_steps=options.steps,
        negative_prompt=NEGATIVE,
        latents=noise,
        generator=torch.Generator().manual_seed(0),
        t0=place[881],
        t1=place[941],
    )


def report(options, costs: dict) -> None:
    """Print the table, and write the JSON if it was asked for."""
    first = f"diffusers {options.dtype[0]}"
    best = {name: min(cost.seconds for cost in runs) for name, runs in costs.items()}
    cpu = {name: min(cost.cpu for cost in runs) for name, runs in costs.items()}
    print(
        f"\n{options.size}, {options.frames} frames, {options.steps} steps, {options.width}×{options.height}, "
        f"{options.device}, best of {options.repeats or 1}\n"
    )
    print(
        "| candidate | seconds | of " + first + " | of diffusers in its type | CPU s | slowest UNet call, s | peak GB |"
    )
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name, runs in costs.items():
        rival = "diffusers " + name.split()[1]
        rows.append(
            {
                "candidate": name,
                "seconds": best[name],
                "of_first": best[name] / best[first],
                "of_rival": best[name] / best[rival],
                "cpu_seconds": cpu[name],
                "cpu_of_rival": cpu[name] / cpu[rival],
                "unet_call": min(max(cost.calls) for cost in runs),
                "peak_bytes": max(cost.peak for cost in runs),
                "runs": [dataclasses.asdict(cost) for cost in runs],
            }
        )
        row = rows[-1]
        print(
            f"| {name} | {row['seconds']:.2f} | {row['of_first']:.2f}× | {row['of_rival']:.2f}× "
            f"| {row['cpu_seconds']:.1f} "
            f"({row['cpu_of_rival']:.2f}×) | {row['unet_call']:.2f} | {row['peak_bytes'] / 1e9:.2f} |"
        )
    if options.out:
        content = {"machine": machine(options.device), "options": vars(options), "rows": rows}
        Path(options.out).write_text(json.dumps(content, indent=1, default=str) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], help="types to run both programs in")
    parser.add_argument("--size", default="sd15", choices=SIZES)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--height", type=int, default=256, help="pixels")
    parser.add_argument("--width", type=int, help="pixels; default: the height")
    parser.add_argument("--chunk", type=int, help="frames per UNet call of ours; default: all, as in theirs")
    parser.add_argument("--repeats", type=int, default=2, help="timed rounds after the warm-up; 0: time that")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--channels-last", action="store_true", help="our weights channels-last in every type")
    parser.add_argument("--out", help="write everything measured to this JSON file")
    options = parser.parse_args()
    options.width = options.width or options.height
    return options


if __name__ == "__main__":
    main()
