"""How well the embedded ControlNet and edit model work, at their default settings, on moving scenes of the painter.

    python benchmarks/control_quality.py --cache DIR                         # both parts, 24 clips each
    python benchmarks/control_quality.py --cache DIR --parts edit --clips 4 --sheets DIR

"control": the edges of a clip and a prompt with another colour. Do the edges of the result agree with those asked for,
against the same without control? "edit": a clip and an instruction. Does the picture show what was asked (says the
judge of judge.py), and does the rest stay (outside the painter's mask)? In both: does attention to the first frame
("first") keep the appearance better than frame-by-frame work ("own"), the paper's comparison?
Needs `pip install -e '.[test]'`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import machine  # noqa: E402
from judge import ANSWERS, answers, look_at, scene_of, trained_judge  # noqa: E402
from tqdm import tqdm  # noqa: E402

from t2vz import StableDiffusion, control_video, edit_video, metrics  # noqa: E402
from t2vz.conditions.edges import edges  # noqa: E402
from t2vz.files import write_bytes, write_json  # noqa: E402
from t2vz.lab.statistics import Estimate, estimate, paired  # noqa: E402
from t2vz.model import load_controlnet  # noqa: E402
from t2vz.video.write import write_image  # noqa: E402
from t2vz.world import COLOURS, paint_clip, paint_clip_after, sample_edit  # noqa: E402
from t2vz.world.scene import PLACES, name  # noqa: E402

FRAMES = 5
NEAR = 2  # pixels by which an edge may be beside the one asked for
ASKED = {"colour": "colour", "thing": "object", "place": "background"}  # an edit's kind -> the judge's answer


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    found = {}
    for part in options.parts:
        found[part], rows = (control_part if part == "control" else edit_part)(options)
        text = report(part, found[part], options.clips)
        print(text, flush=True)
        if options.markdown:
            write_bytes(options.markdown / f"{part}.md", text.encode())
        if options.sheets:
            write_image(options.sheets / f"{part}.png", np.concatenate(rows))
    if options.out:
        write_json(options.out, {"machine": machine("cpu"), "clips": options.clips, **found})


# --- control


def control_part(options) -> tuple[dict, list[np.ndarray]]:
    """F-scores of edges with control and without; appearance with cross-frame attention and without."""
    sd, controlnet, clip = StableDiffusion.load(), load_controlnet(), metrics.load_clip()
    size = sd.default_size
    variants = {"first": {}, "own": {"attention": "own"}, "none": {"control_scale": 0.0}}
    values, sheet = {variant: {} for variant in (*variants, "codec")}, []
    for i in tqdm(range(options.clips), "control"):
        scene = scene_of("captions", i)
        pictures, masks = paint_clip(scene, size, FRAMES)
        asked = np.stack([edges(picture) for picture in pictures])
        made = {"codec": through_autoencoder(sd, pictures)}  # the clip itself: as many of its edges as latents hold
        for variant, settings in variants.items():
            made[variant] = control_video(sd, other_colour(scene, i), asked, controlnet, seed=i, **settings).frames
        for variant, frames in made.items():
            values[variant]["", i, 0] = {
                **edge_agreement(np.stack([edges(frame) for frame in frames]), asked),
                **appearance(frames, masks, clip),
            }
        shown = [pictures, asked, *(made[variant] for variant in variants)]
        sheet += [strip(*shown)] if i < 6 else []
    pairs = {
        "with control against none": ("first", "none"),
        '"first" against "own"': ("first", "own"),
        "with control against the clip through the autoencoder": ("first", "codec"),
    }
    return compare(values, pairs), sheet


def other_colour(scene, i: int) -> str:
    """A caption of the same thing in the same place, in the next colour of the list."""
    colours = list(COLOURS)
    colour = colours[(colours.index(scene.colour) + 1 + i % 8) % len(colours)]
    return f"{name(scene.kind, colour, scene.count, scene.size)} {PLACES[scene.background].phrases[0]}"


def edge_agreement(found: np.ndarray, asked: np.ndarray) -> dict[str, float]:
    """Edge pictures (m, H, W, 3) against those asked for, within NEAR pixels: recall (the share of the asked edges that
    were drawn), precision (of the drawn that were asked), and their F-score; means over the frames."""
    kernel = np.ones((2 * NEAR + 1,) * 2, np.uint8)
    rows = []
    for one, other in zip(found[..., 0], asked[..., 0]):
        precision = (cv2.dilate(other, kernel)[one > 0] > 0).mean() if (one > 0).any() else 0.0
        recall = (cv2.dilate(one, kernel)[other > 0] > 0).mean() if (other > 0).any() else 1.0
        rows.append((recall, precision, 2 * precision * recall / max(precision + recall, 1e-9)))
    return dict(zip(("edges, recall", "edges, precision", "edges, F"), np.mean(rows, axis=0).tolist()))


# --- edit


def edit_part(options) -> tuple[dict, list[np.ndarray]]:
    """What an edit changes and keeps, by the painter's masks; appearance with cross-frame attention and without."""
    sd, clip, judge = StableDiffusion.load(edit=True), metrics.load_clip(), trained_judge(options.cache)
    size = sd.default_size
    variants = {"first": {}, "own": {"attention": "own"}}
    values, sheet = {variant: {} for variant in (*variants, "source", "codec")}, []
    for i in tqdm(range(options.clips), "edit"):
        edit = sample_edit(np.random.default_rng([500, i]), scene_of("captions", i))
        source, before = paint_clip(edit.before, size, FRAMES)
        wanted, after = paint_clip_after(edit, size, FRAMES)
        inside = may_change(edit, before, after)
        shown = [source]
        made = {"source": source, "codec": through_autoencoder(sd, source)}
        for variant, settings in variants.items():
            made[variant] = edit_video(sd, source, edit.instruction, seed=i, **settings).frames
            shown.append(made[variant])
        for variant, frames in made.items():
            values[variant]["", i, 0] = {
                "as asked": as_asked(judge, edit, frames),
                "error inside": error(frames, wanted, inside),
                "change outside": error(frames, source, ~inside),
                **appearance(frames, after, clip),
            }
        sheet += [strip(*shown, wanted)] if i < 8 else []
    pairs = {
        "edited against source": ("first", "source"),
        '"first" against "own"': ("first", "own"),
        "edited against autoencoder alone": ("first", "codec"),
    }
    return compare(values, pairs), sheet


def may_change(edit, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where an edit may change each frame: bool (m, H, W)."""
    things = np.maximum(before, after) > 0
    return np.minimum(before, after) < 255 if edit.what == "place" else things


def as_asked(judge, edit, frames: np.ndarray) -> float:
    """The share of frames in which the judge sees the colour, thing or place that the instruction names."""
    answer = ASKED[edit.what]
    return float((answers(judge, look_at(frames))[answer] == ANSWERS[answer].index(edit.to)).double().mean())


def error(frames: np.ndarray, others: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference in grey levels over the pixels of bool (m, H, W); 0 if there are none."""
    difference = np.abs(frames.astype(float) - others).mean(axis=-1)
    return float(difference[where].mean()) if where.any() else 0.0


@torch.no_grad()
def through_autoencoder(sd, frames: np.ndarray) -> np.ndarray:
    """Frames encoded and decoded: what the autoencoder alone changes."""
    from t2vz.vae import to_pixels

    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    return np.concatenate([to_pixels(sd.vae.decode(sd.vae.encode(part))).numpy() for part in x.split(4)])


# --- both


def appearance(frames: np.ndarray, masks: np.ndarray, clip) -> dict[str, float]:
    """How alike the frames are: CLIP's consistency, colour histograms, and the colour of the thing itself, by the
    painter's mask (how far its mean colour strays from its mean over the clip, grey levels; lower is better)."""
    scores = metrics.score_video(frames, clip)
    colours = np.stack([frame[mask > 127].mean(axis=0) for frame, mask in zip(frames, masks) if (mask > 127).any()])
    return {
        "CLIP, next frame": scores["consistency_next"],
        "CLIP, first frame": scores["consistency_first"],
        "histograms": scores["histogram_similarity"],
        "thing's colour strays": float(np.abs(colours - colours.mean(axis=0)).mean()),
    }


def compare(values: dict, pairs: dict[str, tuple[str, str]]) -> dict:
    """Means of every variant and measure, and paired differences, with 95 % intervals."""
    measures = next(iter(next(iter(values.values())).values())).keys()
    taken = {v: {m: {place: row[m] for place, row in rows.items()} for m in measures} for v, rows in values.items()}
    means = {v: {m: as_dict(estimate(taken[v][m])) for m in measures} for v in values}
    gaps = {label: {m: as_dict(paired(taken[a][m], taken[b][m])) for m in measures} for label, (a, b) in pairs.items()}
    return {"means": means, "differences": gaps}


def as_dict(found: Estimate) -> dict[str, float | None]:
    """A mean and its interval as plain numbers; an end that cannot be told is None."""
    ends = {"low": found.low, "high": found.high}
    return {"mean": found.mean, **{k: v if v is not None and np.isfinite(v) else None for k, v in ends.items()}}


def strip(*clips: np.ndarray, shown: int = 4) -> np.ndarray:
    """Some frames of several clips side by side, one row: (H, …, 3)."""
    gap = np.full((clips[0].shape[1], 6, 3), 255, np.uint8)
    parts = [part for frames in clips for part in (*frames[:: len(frames) // shown], gap)]
    return np.concatenate(parts[:-1], axis=1)


def report(part: str, found: dict, clips: int) -> str:
    """The figures as tables."""
    variants, measures = list(found["means"]), list(next(iter(found["means"].values())))
    lines = [
        f"\n**{part}**, {clips} clips of {FRAMES} frames: means\n",
        f"| | {' | '.join(variants)} |",
        "|---" * (len(variants) + 1) + "|",
    ]
    for m in measures:
        lines.append(f"| {m} | " + " | ".join(f"{found['means'][v][m]['mean']:.3f}" for v in variants) + " |")
    for label, gaps in found["differences"].items():
        lines += [f"\n{label}: difference, 95 % interval\n", "| | |", "|---|---|"]
        lines += [
            f"| {m} | {g['mean']:+.3f} ({g['low']:+.3f} to {g['high']:+.3f}) |"
            for m, g in gaps.items()
            if g["low"] is not None
        ]
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where the judge is kept")
    parser.add_argument("--parts", nargs="+", choices=["control", "edit"], default=["control", "edit"], metavar="PART")
    parser.add_argument("--clips", type=int, default=24, metavar="N", help="clips of each part (24)")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="write frames of the first clips side by side there")
    parser.add_argument("--markdown", type=Path, metavar="DIR", help="write the tables there: control.md, edit.md")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write all figures")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
