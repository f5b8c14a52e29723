"""What tracing costs: when off, as a share of a generation's time; when on, by what is asked for.

    python benchmarks/trace_cost.py                     # the "small" size, 8 frames, 10 steps, on the CPU
    python benchmarks/trace_cost.py --size sd15 --height 512 --device cuda --dtype float16 --steps 50

Off, a generation passes its observation points and finds no open trace. How often it passes each is counted in one
generation; how long that takes is measured on each point by itself, many times over: a difference of two whole
generations would drown in the machine's noise.
"""

import argparse
import json
import tempfile
import time
import timeit
from pathlib import Path
from unittest.mock import patch

import torch
from common import SIZES, clock, machine, made_up

from t2vz import text_to_video, trace
from t2vz.pipelines import algorithm_1, job, prediction
from t2vz.pipelines import trace as points

PATTERNS = {
    "latents of every step": ("x_t/*", "eps/*", "x_0/*"),
    "text attention": ("attention/*attn2/*",),
    "frame attention, one point": ("attention/*attn1/*",),
    "frame attention, every cell": ("attention/*attn1/*",),
}


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        sd = made_up(options.size, getattr(torch, options.dtype), options.device, Path(folder))

        def generate():
            began, cpu = clock(options.device), time.process_time()
            text_to_video(
                sd, "a red ball rolls", options.frames, options.steps, height=options.height, width=options.height
            )
            return clock(options.device) - began, time.process_time() - cpu

        generate()  # the warm-up
        passed = count(generate)
        wall, cpu = (min(times) for times in zip(*(generate() for _ in range(options.repeats)), strict=True))
        off = sum(times * seconds_off(name) for name, times in passed.items())
        rows = [{"trace": "off", "seconds": off, "share": off / min(wall, cpu), "passed": passed}]
        for name, patterns in PATTERNS.items():
            at = [(0.5, 0.5)] if "one point" in name else None
            with trace(*patterns, points=at) as kept:
                seconds = generate()[1] - cpu
            size = sum(kept[found].nbytes for found in kept.names)
            rows.append({"trace": name, "seconds": seconds, "share": seconds / cpu, "bytes": size})
    report(options, wall, cpu, rows)


def count(generate) -> dict[str, int]:
    """How often one generation passes each observation point."""
    passed = dict.fromkeys(("show", "enter", "watched"), 0)

    def counting(name, function):
        def counted(*args):
            passed[name] += 1
            return function(*args)

        return counted

    patches = [
        patch.object(module, name, counting(name, getattr(module, name)))
        for module in (algorithm_1, job, prediction)
        for name in passed
        if hasattr(module, name)
    ]
    for one in patches:
        one.start()
    try:
        generate()
    finally:
        for one in patches:
            one.stop()
    return passed


def seconds_off(name: str) -> float:
    """The time of passing one observation point with no trace open."""
    x = torch.zeros(1)
    calls = {
        "show": lambda: points.show({"x_T": x}),
        "enter": lambda: points.enter("all frames"),
        "watched": lambda: points.watched(None, 941, 64, 64),
    }
    return min(timeit.repeat(calls[name], number=10_000, repeat=5)) / 10_000


def report(options, wall: float, cpu: float, rows: list[dict]) -> None:
    print(
        f"{options.size}, {options.frames} frames, {options.steps} steps, {options.height}×{options.height}, "
        f"{options.device}, {options.dtype}: a generation takes {wall:.2f} s ({cpu:.2f} CPU s), best of "
        f"{options.repeats}\n\n| traced | extra CPU seconds | share | kept, MB |\n|---|---|---|---|"
    )
    for row in rows:
        print(f"| {row['trace']} | {row['seconds']:.2g} | {row['share']:.2g} | {row.get('bytes', 0) / 1e6:.1f} |")
    print(f"\noff: points passed {rows[0]['passed']}")
    if options.out:
        Path(options.out).write_text(json.dumps({"machine": machine(options.device), "rows": rows}, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", choices=SIZES)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--height", type=int, default=128, help="pixels, the width too")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", help="write everything measured to this JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
