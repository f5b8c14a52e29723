"""`t2vz score`: measures of any video, and sets of videos compared; as a table or as JSON."""

import argparse
import csv
import importlib.util
import io
import json
import sys
from dataclasses import fields
from pathlib import Path

from ..errors import InputError
from ..files import write_bytes
from ..pipelines.settings import Settings
from .flags import path, typed
from .machine import choose_machine

MOTION = next(one for one in fields(Settings) if one.name == "motion")
DESCRIPTION = """Measure a video: CLIP score against a prompt (E16), frame consistency, the camera's motion, warp error,
and how still the background is. Prompt and motion are taken from the run file beside a video that t2vz made
(NAME.json), unless they are given. What cannot be measured is listed with what it needs.
Of a folder of videos, or several, every video is measured: means with 95 % intervals, and the differences to the first
folder, video by video; videos of one name are a pair."""
EXAMPLES = """examples:
  t2vz score a-red-ball-on-a-green-meadow.mp4                 prompt and motion from its .json
  t2vz score clip.gif --prompt "a blue fish on the sea" --motion 20,0
  t2vz score frames/ --prompt "a horse galloping" --clip openai/clip-vit-large-patch14
  t2vz score clip.mp4 --masks masks/ --json                   for a program to read
  t2vz score ours/ theirs/                                    two folders of videos, prompts from their .json
  t2vz score ours/ theirs/ --prompts prompts.txt              a line for each video, in the order of their names
  t2vz score ours/ theirs/ --prompts prompts.csv --csv all.csv    columns video,prompt; every number into a table
"""
NEEDS = {"prompt": "--prompt", "motion": "--motion", "masks": "--masks", "frames": "a second frame"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of score's arguments."""
    add = parser.add_argument
    add(
        "videos",
        nargs="+",
        type=path,
        metavar="VIDEO",
        help="a video file, a GIF or picture, a folder of pictures, or a folder of such videos; several are compared",
    )
    add("--prompt", metavar="TEXT", help="what the video should show, for the CLIP score; of several: all of them")
    add(
        "--prompts",
        type=path,
        metavar="FILE",
        help="a prompt for each video: one a line, or a .csv with the columns video,prompt",
    )
    add(
        "--clip",
        type=path,
        metavar="PATH",
        help="a CLIP folder, or a hub id such as openai/clip-vit-large-patch14 (embedded: it "
        "knows only the picture world)",
    )
    add(
        "--motion",
        type=typed(MOTION),
        default=argparse.SUPPRESS,
        metavar="DX,DY",
        help="the motion asked for, in 1/512ths of the frame a frame, as t2vz generate takes it; off: none",
    )
    add(
        "--masks",
        type=path,
        metavar="PATH",
        help="foreground masks, white is foreground: a folder of pictures, or a video",
    )
    add("--json", action="store_true", help="print one JSON object in place of the table")
    add("--csv", type=path, metavar="FILE", help="of several videos: write every measure of every video to a table")
    add("--device", default="cpu", help="where CLIP runs: cpu, cuda, mps, auto (cpu)")


def run(args: argparse.Namespace) -> None:
    """Score one video, or compare sets of them."""
    from ..lab.sets import is_set

    several = len(args.videos) > 1 or args.prompts is not None or is_set(Path(args.videos[0]))
    (_compare_sets if several else _score_one)(args)


def _score_one(args: argparse.Namespace) -> None:
    """Read the video, take every measure that can be taken, print them."""
    from ..lab.sets import asked_for
    from ..metrics import load_clip, score_video
    from ..video import read_masks, read_video

    if args.csv:
        raise InputError("--csv is for several videos; of one, --json prints every measure")
    (name,) = args.videos
    video = read_video(name)
    prompt, motion, beside = asked_for(Path(name))
    taken = (args.prompt is None and prompt) or (not hasattr(args, "motion") and motion)
    prompt, motion = prompt if args.prompt is None else args.prompt, getattr(args, "motion", motion)
    masks = read_masks(args.masks, *video.frames.shape[:3]) if args.masks else None
    clip = load_clip(args.clip, choose_machine(args.device, "float32")[0])
    found = score_video(video.frames, clip, prompt, motion, masks)
    for note in video.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.json:
        given = {"video": name, "frames": len(video), "prompt": prompt, "motion": motion}
        _print_json({**given, "clip": args.clip or "embedded", "measures": found})
        return
    if taken:
        print(f"prompt and motion are {beside}'s", file=sys.stderr)
    given = {"prompt": prompt is not None, "motion": motion is not None, "masks": masks is not None}
    print(_table(video, given, args.clip, found))


def _table(video, given: dict[str, bool], clip: str | None, found: dict) -> str:
    """One line for each measure that was taken, then what the others need."""
    from ..metrics import MEASURES

    m, height, width, _ = video.frames.shape
    lines = [f"{m} frames of {width}×{height}; CLIP: {clip or 'embedded'}"]
    missing = {}
    for name, measure in MEASURES.items():
        if found[name] is not None:
            lines.append(f"  {measure.label:<40} {found[name]:>9.3f}   {_scale(measure)}")
        else:
            needs = [need for need in measure.needs if not {**given, "frames": m > 1}[need]]
            what = NEEDS[needs[0]] if needs else "anything in common with frame 1"
            missing.setdefault(what, []).append(measure.label)
    lines += [f"  not measured without {what}: {'; '.join(labels)}" for what, labels in missing.items()]
    return "\n".join(lines)


def _scale(measure) -> str:
    return f"{measure.scale}, {measure.best} is better" if measure.best else measure.scale


def _compare_sets(args: argparse.Namespace) -> None:
    """Score every video of every set, print means and paired differences."""
    from tqdm import tqdm

    from ..lab import sets as lab
    from ..lab.statistics import FEWEST
    from ..metrics import load_clip

    if args.masks:
        raise InputError("--masks are for a single video; score them one by one")
    if args.prompt is not None and args.prompts is not None:
        raise InputError("give --prompt, one for all videos, or --prompts, a file with one for each")
    if args.csv and Path(args.csv).exists():
        raise InputError(f"{args.csv} exists already; choose another name")
    sets = [lab.read_set(path) for path in args.videos]
    if args.prompts is not None:
        lab.give_prompts(sets, args.prompts)
    films = [film for one in sets for film in one.films]
    for film in films:
        film.prompt = film.prompt if args.prompt is None else args.prompt
        film.motion = getattr(args, "motion", film.motion)
    if max(len(one.films) for one in sets) >= FEWEST and importlib.util.find_spec("scipy") is None:
        raise InputError("intervals need scipy, which is not installed; run: pip install 't2vz[lab]'")
    keys, notes = lab.pair(sets)
    clip = load_clip(args.clip, choose_machine(args.device, "float32")[0])
    with tqdm(total=len(films), unit="video", disable=None, leave=False, file=sys.stderr) as bar:
        scores = [lab.score_set(one, clip, tell=lambda film: bar.update()) for one in sets]
    for note in [*notes, *(note for one in sets for note in one.notes)]:
        print(f"note: {note}", file=sys.stderr)
    found = lab.compare_sets(keys, scores)
    if args.csv:
        _write_csv(args.csv, sets, scores)
    if args.json:
        _print_json(_as_json(sets, scores, found, args.clip))
    else:
        print(_comparison(sets, found, args.clip, lab.over_prompts(keys)))


def _comparison(sets: list, found: dict, clip: str | None, over_prompts: bool) -> str:
    """For every measure one line a set: its mean, and how far it is from the first set's."""
    from ..metrics import MEASURES

    width = max(len(one.label) for one in sets)
    lines = [f"{one.label:<{width}}   {_described(one.films)}" for one in sets]
    lines += [f"CLIP: {clip or 'embedded'}; [95 % intervals] over {'prompts' if over_prompts else 'videos'}"]
    for name, estimates in found.items():
        lines += ["", f"{MEASURES[name].label}: {_scale(MEASURES[name])}"]
        for one, (own, difference) in zip(sets, estimates):
            line = f"  {one.label:<{width}}   {_number(own) if own else 'not measured'}"
            if difference:
                line += f"   {_number(difference, '+')} against {sets[0].label}, {difference.count} pairs"
            lines.append(line)
    missing = [
        measure.label for name, measure in MEASURES.items() if name not in found and "masks" not in measure.needs
    ]
    if missing:
        lines += ["", f"not measured, for want of prompts (--prompts), motions or frames: {'; '.join(missing)}"]
    return "\n".join(lines)


def _described(films: list) -> str:
    """ "24 videos, 8 frames of 128×128 each"; of unlike videos the smallest and the largest number."""
    (m, height, width), (most, *_) = (extreme(film.shape for film in films) for extreme in (min, max))
    several = f"{len(films)} videos" if len(films) > 1 else "1 video"
    if len({film.shape for film in films}) == 1:
        return f"{several}, {m} frames of {width}×{height}"
    return f"{several} of several sizes, {m} to {most} frames"


def _number(one, sign: str = "") -> str:
    """An Estimate as "31.190 [30.812, 31.544]"; without the interval where there are too few values."""
    mean, low, high = (None if x is None else round(x, 3) + 0.0 for x in (one.mean, one.low, one.high))  # no "-0.000"
    return f"{mean:{sign}9.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _as_json(sets: list, scores: list, found: dict, clip: str | None) -> dict:
    """Everything that was measured: every video, then the means and differences."""
    videos = [
        {
            "set": one.label,
            "videos": [
                {"video": str(film.path), "prompt": film.prompt, "motion": film.motion, "measures": score}
                for film, score in zip(one.films, of_set)
            ],
        }
        for one, of_set in zip(sets, scores)
    ]
    compared = {
        name: [{"set": one.label, "mean": _plain(own), "difference": _plain(by)} for one, (own, by) in zip(sets, pairs)]
        for name, pairs in found.items()
    }
    return {"clip": clip or "embedded", "sets": videos, "compared": compared}


def _plain(one) -> dict | None:
    return None if one is None else {"count": one.count, "mean": one.mean, "low": one.low, "high": one.high}


def _write_csv(file: str, sets: list, scores: list) -> None:
    """A row for every video: set, video, prompt, and all measures; empty where one was not taken."""
    from ..metrics import MEASURES

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["set", "video", "prompt", *MEASURES])
    for one, of_set in zip(sets, scores):
        table.writerows(
            [one.label, film.path.name, film.prompt, *score.values()] for film, score in zip(one.films, of_set)
        )
    write_bytes(file, text.getvalue().encode())


def _print_json(value: dict) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
