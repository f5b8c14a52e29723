"""How good the embedded model is at its default settings: its pictures, its autoencoder, the paper's two claims on it.

    python benchmarks/embedded_quality.py --cache DIR                          # all parts; DIR keeps what was made
    python benchmarks/embedded_quality.py --cache DIR --sheet docs/embedded-sheet.png --out quality.json
    python benchmarks/embedded_quality.py --cache DIR --parts pictures --prompts 20 --weights PATH

Parts: "judge" (how far its answers can be trusted), "pictures" (does a picture show the thing, the colour and the place
its caption names), "autoencoder", "claims" (cross-frame attention keeps the appearance; the background moves as asked).
Everything made is kept in DIR under the weights' hash: an interrupted run continues, and measuring again is quick.
Needs `pip install -e '.[test]'`.
"""

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: threads wait for each other longer than they work

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import machine  # noqa: E402
from judge import ANSWERS, accuracy, answers, blur, labels_of, look_at, painted, scene_of, trained_judge  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from tqdm import tqdm  # noqa: E402

from t2vz import StableDiffusion, metrics, text_to_video  # noqa: E402
from t2vz.files import atomic_path, write_bytes, write_json  # noqa: E402
from t2vz.lab.measure import find_foreground  # noqa: E402
from t2vz.lab.statistics import Estimate, estimate, paired  # noqa: E402
from t2vz.motion import global_motion, translation_flow  # noqa: E402
from t2vz.vae import to_pixels  # noqa: E402
from training.pictures import paint_pictures  # noqa: E402
from training.vae import measure_psnr  # noqa: E402

STRENGTH = 12.0  # λ, the default, in 1/512ths of the frame
DIRECTIONS = [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
VARIANTS = {
    "paper": 'motion, attention "first"',
    "own": 'motion, attention "own"',  # the same noise and motion, every frame by itself
    "independent": 'independent noise, "first"',  # motion off: frames start from noise of their own
    "neither": 'independent noise, "own"',
}
LABELS = {
    "consistency_next": "CLIP, each frame with the next (what is shown)",
    "consistency_first": "CLIP, each frame with the first (what is shown)",
    "histogram_similarity": "colour histograms, each with the next (which colours)",
    "judge_agreement": "frames that the judge calls as it calls frame 1",
    "same_thing": "videos in which the judge sees frame 1's thing in all frames",
    "warp_error": "warp error after the measured motion (lower is better)",
    "warp_error_moved": "warp error after the latents' own motion (lower is better)",
}


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    sd = StableDiffusion.load(options.weights)
    folder = options.cache / f"{sd.hash()[:12]}"
    judge = trained_judge(options.cache) if set(options.parts) & {"judge", "pictures", "claims"} else None
    parts = {
        "judge": lambda: judge_part(sd, judge, folder),
        "pictures": lambda: pictures_part(sd, judge, folder, options),
        "autoencoder": lambda: autoencoder_part(sd, options),
        "claims": lambda: claims_part(sd, judge, folder, options),
    }
    found, tables = {}, []
    for name in options.parts:
        found[name] = parts[name]()
        tables.append(REPORTS[name](found[name]))
        print(tables[-1], flush=True)
    if options.markdown:
        write_bytes(options.markdown / "quality.md", ("\n".join(tables) + "\n").encode())
    if options.out:
        facts = {"weights": sd.hash(), "size": sd.default_size, **sd.defaults.get("generate", {})}
        write_json(options.out, {"machine": machine("cpu"), "settings": facts, **found})


# --- the judge, and the pictures it judges


def judge_part(sd, judge, folder: Path, count: int = 500) -> dict:
    """How often the judge is right on unseen paintings: as painted, blurred, and through this model's autoencoder."""
    images, scenes = painted("unseen", count, sd.default_size)
    seen = look_at(images)
    again = kept(folder / f"reconstructions-{count}.npy", lambda: reconstructions(sd.vae, images))
    shown = {"painted": seen, "blurred": blur(seen, 1.0), "reconstructed": look_at(again)}
    return {"count": count, **{name: accuracy(judge, pictures, scenes) for name, pictures in shown.items()}}


@torch.no_grad()
def reconstructions(vae, images: np.ndarray) -> np.ndarray:
    """Pictures uint8 (n, H, W, 3), encoded and decoded."""
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    parts = tqdm(pictures.split(4), "reconstructing", leave=False)
    return np.concatenate([to_pixels(vae.decode(vae.encode(part))).numpy() for part in parts])


def pictures_part(sd, judge, folder: Path, options) -> dict:
    """One picture for each of some captions never trained on; the share of right things, colours, places, and all."""
    scenes = [scene_of("captions", i, held_out=True) for i in range(options.prompts)]

    def picture(i: int) -> np.ndarray:
        return text_to_video(sd, scenes[i].caption, frames=1, seed=i, motion=None).frames

    frames = np.concatenate(
        [
            kept(folder / "pictures" / f"{i:04d}.npy", lambda i=i: picture(i))
            for i in tqdm(range(len(scenes)), "pictures")
        ]
    )
    if options.sheet:
        write_sheet(options.sheet, frames[:64], [scene.caption for scene in scenes[:64]])
    given, wanted = answers(judge, look_at(frames)), labels_of(scenes)
    right = {name: given[name] == wanted[name] for name in ANSWERS}
    right["all"] = torch.stack(list(right.values())).all(dim=0)
    return {"count": len(scenes), **{name: share(int(is_right.sum()), len(scenes)) for name, is_right in right.items()}}


def share(right: int, count: int, z: float = 1.96) -> dict[str, float]:
    """A share and its 95 % interval (Wilson 1927), which stays inside 0 to 1 also near its ends."""
    p, wide = right / count, z * z / count
    middle, reach = (p + wide / 2) / (1 + wide), z * math.sqrt(p * (1 - p) / count + wide / (4 * count)) / (1 + wide)
    return {"share": p, "low": middle - reach, "high": middle + reach}


def write_sheet(path: Path, frames: np.ndarray, captions: list[str], columns: int = 8, width: int = 160) -> None:
    """Pictures in rows, each above its caption, as one PNG."""
    font, line, side = ImageFont.load_default(11), 14, frames.shape[1]
    shown = min(side, width - 8)
    cell = shown + 8 + 3 * line
    sheet = Image.new("RGB", (columns * width, -(-len(frames) // columns) * cell), (250, 250, 248))
    draw = ImageDraw.Draw(sheet)
    for i, (frame, caption) in enumerate(zip(frames, captions)):
        x, y = i % columns * width, i // columns * cell
        picture = Image.fromarray(frame).resize((shown, shown), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (width - shown) // 2, y + 4))
        for row, text in enumerate(broken(caption, font, width - 8)[:3]):
            draw.text((x + width / 2, y + shown + 8 + row * line), text, (60, 60, 60), font, anchor="ma")
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG", optimize=True)


def broken(text: str, font, width: float) -> list[str]:
    """The words of a text in lines no wider than `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def autoencoder_part(sd, options, count: int = 256) -> dict:
    """PSNR of the reconstructions of unseen scenes, in dB."""
    pictures = paint_pictures(options.cache / "unseen", count, sd.default_size, seed=7, stream="unseen", processes=1)
    return {"count": count, "psnr": measure_psnr(sd.vae, pictures)}


# --- the paper's two claims


def claims_part(sd, judge, folder: Path, options) -> dict:
    """Videos of every prompt, seed and variant; attention "first" against "own", and measured against asked motion.

    values[variant][measure] and shifts[variant] are keyed by (video, prompt, seed), as t2vz.lab.statistics has them.
    """
    clip = metrics.load_clip(Path(sd.path) / "clip" if (Path(sd.path) / "clip").is_dir() else None)
    places = [(v, i, seed) for i in range(options.videos) for seed in range(options.seeds) for v in VARIANTS]
    videos = "-".join(map(str, ("videos", *sd.defaults.get("generate", {}).values())))
    values = {v: {measure: {} for measure in LABELS} for v in VARIANTS}
    shifts = {where: {v: {} for v in VARIANTS} for where in ("frame", "background")}
    for variant, i, seed in tqdm(places, "videos"):
        path = folder / videos / f"{i:03d}-{seed}-{variant}.npz"
        frames, masks = kept_video(path, sd, variant, i, seed)
        for measure, value in appearance(frames, i, sd, clip, judge).items():
            values[variant][measure]["", i, seed] = value
        for where, mask in (("frame", None), ("background", masks)):  # the camera's
            shifts[where][variant]["", i, seed] = -metrics.measured_motion(frames, mask).pixels.numpy()
    return {
        "prompts": options.videos,
        "seeds": options.seeds,
        "frames": len(frames),
        "strength": STRENGTH,
        "appearance": {measure: compared(values["paper"][measure], values["own"][measure]) for measure in LABELS},
        "motion": {w: {v: motion_figures(shifts[w][v], sd.default_size) for v in VARIANTS} for w in shifts},
    }


def compared(first: dict, own: dict) -> dict:
    """Both means, and the mean of the differences on the same prompt and seed, each with its interval."""
    return {
        "first": as_dict(estimate(first, "prompts")),
        "own": as_dict(estimate(own, "prompts")),
        "difference": as_dict(paired(first, own, "prompts")),
    }


def settings_of(variant: str, i: int) -> dict:
    """What a variant changes of text_to_video's defaults for prompt i."""
    moves = variant in ("paper", "own")
    return {"motion": motion_of(i) if moves else None, "attention": "own" if variant in ("own", "neither") else "first"}


def kept_video(path: Path, sd, variant: str, i: int, seed: int) -> tuple[np.ndarray, torch.Tensor | None]:
    """Frames and foreground masks of one video, made if they are not in `path` yet."""
    if not path.is_file():
        caption = scene_of("captions", i, held_out=True).caption
        video = text_to_video(sd, caption, seed=1000 * seed + i, **settings_of(variant, i))
        masks = find_foreground(sd, video)
        masks = np.zeros((0,)) if masks is None else masks.numpy()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, frames=video.frames, masks=masks.astype(np.uint8))
    with np.load(path) as stored:
        masks = torch.from_numpy(stored["masks"]).float()
        return stored["frames"], masks if masks.numel() else None


def appearance(frames: np.ndarray, i: int, sd, clip, judge) -> dict[str, float]:
    """The measures of LABELS for one video of prompt i."""
    scores = metrics.score_video(frames, clip)
    found = answers(judge, look_at(frames))
    named = torch.stack(list(found.values()))  # (3, m)
    moved = camera_offsets(motion_of(i), len(frames), sd.default_size, sd.vae.factor)
    taken = ("consistency_next", "consistency_first", "histogram_similarity", "warp_error")
    return {
        **{name: scores[name] for name in taken},
        "judge_agreement": float((named[:, 1:] == named[:, :1]).all(dim=0).double().mean()),
        "same_thing": float((found["object"] == found["object"][0]).all()),
        "warp_error_moved": metrics.warp_error(frames, moved),
    }


def motion_of(i: int) -> tuple[float, float]:
    """λ·δ of prompt i: the eight directions take turns."""
    x, y = DIRECTIONS[i % len(DIRECTIONS)]
    return STRENGTH * x, STRENGTH * y


def camera_offsets(motion: tuple[float, float], frames: int, size: int, factor: int) -> torch.Tensor:
    """By how many pixels the warp E8 moves the latents, frame by frame (m, 2): whole cells."""
    flow = translation_flow(global_motion(motion, frames), size // factor, size // factor)[:, :, 0, 0]
    return factor * torch.floor(flow + 0.5)


def motion_figures(shifts: dict[tuple, np.ndarray], size: int) -> dict:
    """Measured against requested motion. shifts: (video, prompt, seed) -> the camera's, (m−1, 2) pixels, from frame 1.

    slope: of the measured on the requested displacement, along the request, through 0 (1: as asked, 0: not at all), and
    of x and y alone where they were asked for; error: mean distance of measured and asked, as a share of the side;
    correlation: over all frames and both axes; near: share of frames within one latent cell of the request; steadiness:
    how much better one velocity explains a video's shifts than the same shifts in another order (0: by chance).
    """
    slopes, errors, steady, near, asked_all, found_all, ways = {}, {}, {}, [], [], [], {}
    along = {"x": {}, "y": {}}
    for place, found in shifts.items():
        asked = metrics.requested_motion(motion_of(place[1]), len(found) + 1, size, size).numpy()
        slopes[place] = float((found * asked).sum() / (asked * asked).sum())
        errors[place] = float(np.linalg.norm(found - asked, axis=1).mean()) / size
        for axis, slope in enumerate(along.values()):
            if asked[:, axis].any():
                slope[place] = float((found * asked)[:, axis].sum() / (asked[:, axis] ** 2).sum())
        orders = [explained(found[list(order)]) for order in shuffled(len(found))]
        steady[place] = orders[0] - float(np.mean(orders))
        near += (np.linalg.norm(found - asked, axis=1) <= 8).tolist()
        asked_all.append(asked)
        found_all.append(found)
        way = DIRECTIONS[place[1] % len(DIRECTIONS)]
        ways.setdefault(way, []).append((-metrics.motion_per_frame(torch.from_numpy(-found))).numpy())
    return {
        "slope": as_dict(estimate(slopes, "prompts")),
        "slope x": as_dict(estimate(along["x"], "prompts")),
        "slope y": as_dict(estimate(along["y"], "prompts")),
        "error": as_dict(estimate(errors, "prompts")),
        "steadiness": as_dict(estimate(steady, "prompts")),
        "correlation": float(np.corrcoef(np.concatenate(asked_all).ravel(), np.concatenate(found_all).ravel())[0, 1]),
        "near": float(np.mean(near)),
        "directions": [
            {
                "asked": [STRENGTH * size / 512 * part for part in way],
                "measured": np.mean(found, axis=0).round(3).tolist(),
                "videos": len(found),
            }
            for way, found in ways.items()
        ],
    }


def shuffled(n: int, count: int = 200) -> list[np.ndarray]:
    """0 … n − 1 in order, and then in some random orders."""
    rng = np.random.default_rng(0)
    return [np.arange(n), *(rng.permutation(n) for _ in range(count))]


def explained(shifts: np.ndarray) -> float:
    """The share of shifts (m−1, 2) against frame 1 that the best constant velocity explains, 0 to 1."""
    k = np.arange(1, len(shifts) + 1)[:, None]
    velocity = (k * shifts).sum(axis=0) / (k * k).sum()
    return 1 - float(((shifts - k * velocity) ** 2).sum() / max((shifts**2).sum(), 1e-9))


def as_dict(found: Estimate) -> dict[str, float | None]:
    """A mean and its interval as plain numbers."""
    return {"mean": found.mean, "low": found.low, "high": found.high}


def kept(path: Path, make) -> np.ndarray:
    """The array in `path`, or what `make()` returns, which is then kept there."""
    if not path.is_file():
        array = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.save(temporary, array)
    return np.load(path)


# --- what is printed


def judge_report(found: dict) -> str:
    rows = [
        f"| {name} | " + " | ".join(f"{100 * found[name][answer]:.1f} %" for answer in ANSWERS) + " |"
        for name in ("painted", "blurred", "reconstructed")
    ]
    return "\n".join(
        [
            f"\n**The judge** on {found['count']} unseen paintings\n",
            "| | object | colour | background |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def pictures_report(found: dict) -> str:
    rows = [
        f"| {name} | {100 * found[name]['share']:.1f} % | {100 * found[name]['low']:.1f} to "
        f"{100 * found[name]['high']:.1f} % |"
        for name in (*ANSWERS, "all")
    ]
    return "\n".join(
        [
            f"\n**Pictures** of {found['count']} captions never trained on\n",
            "| | right | 95 % interval |",
            "|---|---|---|",
            *rows,
        ]
    )


def autoencoder_report(found: dict) -> str:
    return f"\n**Autoencoder**: {found['psnr']:.2f} dB PSNR on {found['count']} unseen scenes"


def claims_report(found: dict) -> str:
    lines = [
        f"\n**Appearance** with cross-frame attention and without: {found['prompts']} prompts × {found['seeds']} "
        f"seeds, {found['frames']} frames\n",
        '| | "first" | "own" | difference, 95 % interval |',
        "|---|---|---|---|",
    ]
    for name, label in LABELS.items():
        first, own, gap = (found["appearance"][name][key] for key in ("first", "own", "difference"))
        lines.append(f"| {label} | {first['mean']:.3f} | {own['mean']:.3f} | {span(gap, '+.3f')} |")
    for where, figures in found["motion"].items():
        lines += [
            f"\n**Motion** of the {where} against what was asked, the same videos\n",
            "| | slope | in x | in y | error, of the side | within 8 pixels | steadiness |",
            "|---|---|---|---|---|---|---|",
        ]
        for variant, label in VARIANTS.items():
            row = figures[variant]
            spans = [span(row[name], ".2f") for name in ("slope", "slope x", "slope y")]
            rest = f"{span(row['error'], '.1%')} | {100 * row['near']:.0f} % | {span(row['steadiness'], '+.2f')}"
            lines.append(f"| {label} | {' | '.join(spans)} | {rest} |")
    lines += [
        "\nThe camera's motion by direction, (right, down) in pixels a frame, of the whole frame\n",
        "| asked | " + " | ".join(VARIANTS.values()) + " |",
        "|---" * (len(VARIANTS) + 1) + "|",
    ]
    for rows in zip(*(found["motion"]["frame"][variant]["directions"] for variant in VARIANTS)):
        pairs = [rows[0]["asked"], *(row["measured"] for row in rows)]
        lines.append("| " + " | ".join("({:+.1f}, {:+.1f})".format(*pair) for pair in pairs) + " |")
    return "\n".join(lines)


def span(found: dict, form: str) -> str:
    """A mean with its interval, if there are prompts enough for one: "+0.10 (+0.05 to +0.15)"."""
    if found["low"] is None:
        return f"{found['mean']:{form}}"
    return f"{found['mean']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


REPORTS = {
    "judge": judge_report,
    "pictures": pictures_report,
    "autoencoder": autoencoder_report,
    "claims": claims_report,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where what was made is kept")
    parser.add_argument("--weights", metavar="PATH", help="a checkpoint folder of `python -m training` (embedded)")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=list(REPORTS),
        default=list(REPORTS),
        metavar="PART",
        help=f"which of: {', '.join(REPORTS)} (all)",
    )
    parser.add_argument("--prompts", type=int, default=200, metavar="N", help="captions of the part pictures (200)")
    parser.add_argument("--videos", type=int, default=32, metavar="N", help="prompts of the part claims (32)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds for each of them (2)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write the first 64 pictures with their captions")
    parser.add_argument("--markdown", type=Path, metavar="DIR", help="write the tables there: quality.md")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write all figures")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
