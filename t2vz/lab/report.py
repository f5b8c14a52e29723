"""The report of a study: one HTML file that needs nothing but itself (templates/report.html).

Tables with the best marked, plots with intervals, differences to the baseline, the videos side by side at the same
seed, every setting that differs in words, and how all of it was made.
"""

import math
from pathlib import Path

from ..errors import library
from ..files import write_bytes
from ..metrics.motion import asked_motion, requested_motion
from ..pipelines.settings import in_words
from ..pipelines.values import as_typed
from ..video import read_video
from .make import VIDEO
from .measure import MEASURES
from .page import render
from .pictures import data_uri, picture_uri, small, strip
from .results import Results, Table, judge
from .statistics import LEVEL
from .tasks import TASKS

BUDGET = 3.5 * 2**20  # letters of videos and strips in base64; the whole page stays under 4 MiB
STRIP_SIDE = 144  # pixels of a frame in a film strip
QUALITY = 82  # of the strips' WebP
AXIS = 256  # the length of a plot's axis; the page scales it
MARGIN = 0.06  # of the axis, left free at either end
MOTION = ("motion_x", "motion_y")


def write_report(results: Results, made: dict, path: Path) -> None:
    """Write the page. made: how the results came about."""
    variants, common = _settings(results)
    page = render(
        "report.html",
        results=results,
        study=results.study,
        made=made,
        task=TASKS[results.study.task],
        level=f"{100 * LEVEL:.0f} %",
        measures={name: MEASURES[name] for name in results.metrics},
        plots={name: _plot(results, name) for name in results.metrics},
        places=places,
        number=number,
        judge=judge,
        films=_films(results),
        variants=variants,
        common=common,
        notes=list(dict.fromkeys(note for _, record in results.runs for note in record["notes"])),
        time=words_for(made["seconds"]),
    )
    write_bytes(path, page.encode("utf-8"))


def places(table: Table, metric: str) -> int:
    """How many decimals all of a metric have: the last is worth a thirtieth to a third of half a usual interval."""
    found = [column[metric] for column in table.values() if metric in column]
    widths = [one.high - one.low for one in found if one.low is not None and one.high > one.low]
    return max(0, -math.floor(math.log10(sum(widths) / len(widths) / 6))) if widths else 3


def number(value: float, places: int, signed: bool) -> str:
    """A number with so many decimals, a real minus sign, and no sign before a zero."""
    text = f"{value:{'+' if signed else ''}.{places}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _films(results: Results) -> list[dict]:
    """The first prompts' videos at the first seed, all variants, as far as the budget allows; at least one prompt."""
    study, films, spent = results.study, [], 0
    for prompt in study.prompts[: study.show]:
        place = (study.videos[0], prompt, study.seeds[0])
        shown = [
            _film(trial.variant.name, record["folder"] / VIDEO)
            for trial, record in results.runs
            if trial.place == place
        ]
        spent += sum(len(film["video"]) + len(film["strip"]) for film in shown)
        if films and spent > BUDGET:
            break
        films.append({"prompt": prompt, "seed": study.seeds[0], "variants": shown})
    return films


def _film(name: str, path: Path) -> dict:
    """A video as data, and its frames in one row."""
    frames = read_video(path).frames
    m, height, width, _ = frames.shape
    row = picture_uri(strip(small(frames, STRIP_SIDE)), "WEBP", quality=QUALITY)
    video = data_uri("video/mp4", path.read_bytes())
    return {"name": name, "video": video, "strip": row, "frames": m, "width": width, "height": height}


def _plot(results: Results, metric: str) -> dict:
    """A plot of all variants on one measure: each one's mean, interval and colour (`judge`), and what was asked for.

    All but the ticks' names are places on the axis, 0 to AXIS; None where there is nothing to draw.
    """
    found = {variant: means[metric] for variant, means in results.means.items() if metric in means}
    lines = {name: (one.mean, one.low, one.high, _asked(results, metric, name)) for name, one in found.items()}
    numbers = [number for line in lines.values() for number in line if number is not None]
    margin = MARGIN * (max(numbers) - min(numbers)) or 1.0
    left, right = min(numbers) - margin, max(numbers) + margin
    ticks = library("matplotlib.ticker", "plots need").MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(left, right)

    def place(number: float | None) -> float | None:
        return None if number is None else round(AXIS * (number - left) / (right - left), 1)

    rows = [
        {"name": name, "colour": judge(metric, results.differences.get(name, {}).get(metric))}
        | dict(zip(("mean", "low", "high", "asked"), map(place, line)))
        for name, line in lines.items()
    ]
    return {"rows": rows, "ticks": [(place(tick), f"{tick:g}") for tick in ticks if left <= tick <= right]}


def _asked(results: Results, metric: str, variant: str) -> float | None:
    """The camera's motion that a variant asks for, pixels a frame; None for other measures, and other tasks."""
    if metric not in MOTION or results.study.task != "generate":
        return None
    settings = next(record["settings"] for trial, record in results.runs if trial.variant.name == variant)
    motion = asked_motion(settings)
    return motion and float(requested_motion(motion, 2, settings["height"], settings["width"])[0, MOTION.index(metric)])


def _settings(results: Results) -> tuple[list[dict], list[tuple[str, str]]]:
    """Every variant's own settings, those that differ, in words; and (name, value) of those that all runs share."""
    every = [record["settings"] for _, record in results.runs]
    first = {trial.variant.name: record["settings"] for trial, record in reversed(results.runs)}

    def shared(name: str, by: list[dict]) -> bool:
        return all(settings[name] == by[0][name] for settings in by)

    differing = [name for name in every[0] if not shared(name, list(first.values()))]
    declared = TASKS[results.study.task].settings
    variants = [
        {"name": variant, "words": [in_words(name, first[variant][name], declared) for name in differing]}
        for variant in results.means
    ]
    return variants, [
        (name.replace("_", " "), as_typed(every[0][name]) or "none") for name in every[0] if shared(name, every)
    ]


def words_for(seconds: float) -> str:
    """A time in words: "40 s", "14 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
