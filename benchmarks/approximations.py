"""What the approximations cost and change: token merging and DeepCache against the exact video.

    python benchmarks/approximations.py                              # SD 1.5's size, 8 frames, 6 steps, 256×256, CPU
    python benchmarks/approximations.py --weights embedded           # with trained weights: what changes in the video
    python benchmarks/approximations.py --device cuda --dtype float16 --height 512 --steps 50

With made-up weights only time and memory mean something; with trained ones also the relative error of the latents,
|approximate − exact| / |exact|, and CLIP's frame consistency. Variants take turns, the best of the rounds counts.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from common import SIZES, machine, made_up, measured

from t2vz import StableDiffusion, text_to_video

VARIANTS = {
    "exact": {},
    "token merging ½": {"token_merging": 0.5},
    "DeepCache 2": {"deep_cache": 2},
    "DeepCache 3": {"deep_cache": 3},
    "token merging ½, DeepCache 3": {"token_merging": 0.5, "deep_cache": 3},
}
PROMPTS = (
    "a red ball on a green meadow",
    "a green car in the mountains",
    "a pink boat on the sea",
    "a brown fish on a sandy beach",
    "a yellow tree in a room",
    "a purple house in the forest",
)


def main():
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        dtype = getattr(torch, options.dtype)
        if options.weights:
            path = None if options.weights == "embedded" else options.weights
            sd, clip = StableDiffusion.load(path, dtype=dtype, device=options.device), of_clip(options)
        else:
            sd, clip = made_up(options.size, dtype, options.device, Path(folder)), None
        rows = [row for prompt in PROMPTS[: options.prompts] for row in compare(sd, clip, prompt, options)]
    report(rows, options)


def of_clip(options):
    """The CLIP that looks at the frames."""
    from t2vz.metrics import load_clip

    return load_clip(options.clip, options.device)


def compare(sd, clip, prompt: str, options) -> list[dict]:
    """A row for each variant: seconds, CPU seconds, peak bytes, and with trained weights what changed."""
    rows = {}
    for _ in range(options.repeats):
        for name, changes in VARIANTS.items():
            with measured(options.device, sd.unet) as cost:
                video = text_to_video(sd, prompt, options.frames, **settings(options), **changes)
            row = {"variant": name, "prompt": prompt, "seconds": cost.seconds, "cpu": cost.cpu, "peak": cost.peak}
            exact = video.latents if name == "exact" else rows["exact"]["latents"]
            row["latents"] = video.latents
            row["error"] = float((video.latents - exact).norm() / exact.norm())
            if clip is not None:
                from t2vz.metrics import embed_images, frame_consistency

                row["consistency"] = frame_consistency(embed_images(clip, video.frames)).next
            rows[name] = min(row, rows.get(name, row), key=lambda one: one["cpu"])
            print(f"  {prompt}, {name}: {cost.seconds:.2f} s, CPU {cost.cpu:.2f} s", flush=True)
    return [{key: value for key, value in row.items() if key != "latents"} for row in rows.values()]


def settings(options) -> dict:
    """Motion off, where all steps are of all frames, unless the weights say how they are used."""
    if options.weights:
        return {} if options.steps is None else {"steps": options.steps}
    return {"steps": options.steps or 6, "motion": None, "height": options.height, "width": options.height}


def report(rows: list[dict], options) -> None:
    """A table of means over prompts."""
    means = {}
    for name in VARIANTS:
        own = [row for row in rows if row["variant"] == name]
        means[name] = {
            key: sum(row[key] for row in own) / len(own) for key in own[0] if key not in ("variant", "prompt")
        }
    exact = means["exact"]
    print("\n| variant | seconds | CPU s | faster (CPU) | peak GB | latent error | frame consistency |")
    print("|---|---|---|---|---|---|---|")
    for name, row in means.items():
        seen = f"{row['consistency']:.4f}" if "consistency" in row else ""
        print(
            f"| {name} | {row['seconds']:.2f} | {row['cpu']:.2f} | {exact['cpu'] / row['cpu']:.2f}× "
            f"| {row['peak'] / 1e9:.2f} | {row['error']:.3f} | {seen} |"
        )
    if options.out:
        Path(options.out).write_text(json.dumps({"machine": machine(options.device), "rows": rows}, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="sd15", choices=SIZES, help="of the made-up weights")
    parser.add_argument("--weights", help='trained weights in place of made-up ones: "embedded" or a path')
    parser.add_argument("--clip", help="CLIP for the frame consistency (default: the embedded one)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--height", type=int, default=256, help="pixels, the width too (made-up weights)")
    parser.add_argument("--prompts", type=int, default=1, help=f"how many of {len(PROMPTS)}")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--out", help="write everything measured to this JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
