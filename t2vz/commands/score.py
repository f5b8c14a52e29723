"""`t2vz score`: measures of any video, and sets of videos compared; as a table or as JSON."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError, library
from ..files import write_csv
from ..lab.sets import compare_sets, give_prompts, measure_film, over_prompts, pair, read_set, run_file_of
from ..lab.statistics import FEWEST
from ..metrics import MEASURES, load_clip
from .inputs import choose_machine

NEEDS = {"prompt": "--prompt", "motion": "--motion", "masks": "--masks", "frames": "a second frame"}


def run(args: argparse.Namespace) -> None:
    """Take every measure that can be taken of every video; print a table of one video, of several the means."""
    sets = [read_set(name) for name in args.videos]
    films, notes = [film for one in sets for film in one.films], [note for one in sets for note in one.notes]
    alone = len(films) == 1 and args.prompts is None
    _check_arguments(args, sets, alone)
    if args.prompts is not None:
        give_prompts(sets, args.prompts)
    if alone and ((films[0].prompt and args.prompt is None) or (films[0].motion and not hasattr(args, "motion"))):
        notes.append(f"prompt and motion are those of {run_file_of(films[0].path)}, where not given")
    for film in films:
        film.prompt = film.prompt if args.prompt is None else args.prompt
        film.motion = getattr(args, "motion", film.motion)
    notes += pair(sets)
    clip = load_clip(args.clip, choose_machine(args.device)[0])
    with tqdm(films, unit="video", disable=True if alone else None, leave=False, file=sys.stderr) as bar:
        notes += [note for film in bar for note in measure_film(film, clip, args.masks)]
    if len({film.shape[1:] for film in films}) > 1:
        notes.append("the videos differ in size, and motion is in pixels of each: compare it with care")
    found = compare_sets(sets)
    if args.csv:
        write_csv(args.csv, [_row(one, film) for one in sets for film in one.films])
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if args.json:
        of_all = {"clip": args.clip or "embedded", **_as_json(sets, found)}
        print(json.dumps(of_all, indent=2, ensure_ascii=False))
    else:
        print(_table(args, films[0]) if alone else _comparison(args, sets, found))


def _check_arguments(args: argparse.Namespace, sets: list, alone: bool) -> None:
    """Raise InputError for what does not go together, before the work."""
    if args.masks and not alone:
        raise InputError("--masks are for a single video; score them one by one")
    if args.csv and Path(args.csv).exists():
        raise InputError(f"{args.csv} exists already; choose another name")
    if max(len(one.films) for one in sets) >= FEWEST:
        library("scipy", "intervals need")


def _table(args: argparse.Namespace, film) -> str:
    """One line for each measure that was taken of a video, then what the others need."""
    m, height, width = film.shape
    lines = [f"{m} frames of {width}×{height}; CLIP: {args.clip or 'embedded'}"]
    missing = {}
    given = {"prompt": film.prompt, "motion": film.motion, "masks": args.masks, "frames": m > 1 or None}
    for name, measure in MEASURES.items():
        if film.measures[name] is not None:
            lines.append(f"  {measure.label:<40} {film.measures[name]:>9.3f}   {_scale(measure)}")
        else:
            needs = [need for need in measure.needs if given[need] is None]
            what = NEEDS[needs[0]] if needs else "anything in common with frame 1"
            missing.setdefault(what, []).append(measure.label)
    lines += [f"  not measured without {what}: {'; '.join(labels)}" for what, labels in missing.items()]
    return "\n".join(lines)


def _comparison(args: argparse.Namespace, sets: list, found: dict) -> str:
    """For every measure one line a set: its mean, and how far it is from the first set's."""
    width = max(len(one.label) for one in sets)
    over = "prompts" if over_prompts(sets) else "videos"
    lines = [f"{one.label:<{width}}   {_sizes(one.films)}" for one in sets]
    lines += [f"CLIP: {args.clip or 'embedded'}; [95 % intervals] over {over}"]
    for name, estimates in found.items():
        lines += ["", f"{MEASURES[name].label}: {_scale(MEASURES[name])}"]
        for one, (own, difference) in zip(sets, estimates):
            line = f"  {one.label:<{width}}   {_number(own) if own else 'not measured'}"
            if difference:
                line += f"   {_number(difference, '+')} against {sets[0].label}, {difference.count} pairs"
            lines.append(line)
    missing = [one.label for name, one in MEASURES.items() if name not in found and "masks" not in one.needs]
    if missing:
        lines += ["", f"not measured, for want of prompts (--prompts), motions or frames: {'; '.join(missing)}"]
    return "\n".join(lines)


def _scale(measure) -> str:
    return f"{measure.scale}, {measure.best} is better" if measure.best else measure.scale


def _sizes(films: list) -> str:
    """ "24 videos, 8 frames of 128×128"; of unlike videos the smallest and the largest number of frames."""
    shapes = {film.shape for film in films}
    least, height, width = min(shapes)
    size = f"{least} frames of {width}×{height}" if len(shapes) == 1 else f"{least} to {max(shapes)[0]} frames"
    return f"{len(films)} video{'s' * (len(films) > 1)}, {size}"


def _number(one, sign: str = "") -> str:
    """An Estimate as "31.190 [30.812, 31.544]"; without the interval where there are too few values."""
    mean, low, high = (None if x is None else round(x, 3) + 0.0 for x in (one.mean, one.low, one.high))  # no "-0.000"
    return f"{mean:{sign}9.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _as_json(sets: list, found: dict) -> dict:
    """Everything that was measured: of one video its measures; of several all of theirs, the means, the differences."""
    if [len(one.films) for one in sets] == [1]:
        return _record(sets[0].films[0])
    compared = {
        name: [
            {"set": one.label, "mean": mean and asdict(mean), "difference": difference and asdict(difference)}
            for one, (mean, difference) in zip(sets, estimates)
        ]
        for name, estimates in found.items()
    }
    return {"sets": [{"set": one.label, "videos": list(map(_record, one.films))} for one in sets], "compared": compared}


def _record(film) -> dict:
    """What was measured of a video, and what it was measured against."""
    asked = {"frames": film.shape[0], "prompt": film.prompt, "motion": film.motion}
    return {"video": str(film.path), **asked, "measures": film.measures}


def _row(one, film) -> dict:
    """A video's row of the table: its set, its name and prompt, and all measures."""
    return {"set": one.label, "video": film.path.name, "prompt": film.prompt, **film.measures}
