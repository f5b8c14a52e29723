"""The report of a study: one HTML file that needs nothing but itself (templates/report.html).

Tables with the best marked, plots with intervals, differences to the baseline, the videos side by side at the same
seed, every setting that differs in words, and how all of it was made.
"""

import base64
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import write_bytes
from ..pipelines.settings import in_words
from ..video import read_video
from .costs import MEASURES
from .execute import words_for
from .make import VIDEO
from .page import render
from .pictures import small, strip
from .plots import interval_plot, judge
from .results import Results
from .runs import RunFolder
from .statistics import LEVEL, Estimate
from .tasks import TASKS
from .words import measure_in_words

BUDGET = 2.6 * 2**20  # bytes of videos and strips, before base64; the whole page stays under 4 MiB
STRIP_SIDE = 144  # pixels of a frame in a film strip
QUALITY = 82  # of the strips' WebP
ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def write_report(results: Results, made: dict, store: RunFolder, keys: list[str], path: Path) -> None:
    """Write the page. made: how the results came about; keys: of results.runs, in the same order."""
    study = results.study
    page = render(
        "report.html",
        study=study,
        made=made,
        task=TASKS[study.task],
        level=f"{100 * LEVEL:.0f} %",
        measures=[_measure(results, name) for name in results.metrics],
        effects=_effects(results),
        means=_means(results),
        differences=_differences(results),
        films=_films(results, store, keys),
        variants=_variants(results),
        common=_common(results),
        notes=_notes(results),
        time=words_for(made["seconds"]),
        count=len(results.runs),
    )
    write_bytes(path, page.encode("utf-8"))


def _measure(results: Results, name: str) -> dict:
    """A measure as the page shows it: label, an arrow that says which way is better, meaning, plot."""
    measure = MEASURES[name]
    return {
        "name": name,
        "label": measure.label,
        "arrow": ARROWS[measure.best],
        "words": measure_in_words(name),
        "plot": interval_plot(results, name),
    }


def _means(results: Results) -> list[dict]:
    """One column a variant: its means, the best marked."""
    columns = []
    for variant in results.study.variants:
        cells = {name: c.value for name in results.metrics if (c := results.of(variant.name, name))}
        baseline = variant.name == results.study.baseline
        columns.append({"name": variant.name, "under": "baseline" if baseline else "", "cells": cells})
    _show(columns, results.metrics, signed=False)
    for column in columns:
        for name, cell in column["cells"].items():
            if cell and column["name"] in results.best(name):
                cell.update(best=True, role="best")
    return columns


def _differences(results: Results) -> list[dict]:
    """One column a variant but the baseline: its paired differences to it."""
    columns = []
    for variant in results.study.variants:
        if variant.name != results.study.baseline:
            found = {name: results.of(variant.name, name) for name in results.metrics}
            cells = {name: c.difference for name, c in found.items() if c and c.difference}
            columns.append({"name": variant.name, "under": "", "cells": cells})
    return _show(columns, results.metrics, signed=True)


def _effects(results: Results) -> list[dict]:
    """One column an effect: what a setting does over all settings of the others."""
    columns: dict[tuple, dict] = {}
    for effect in results.effects:
        name, under = f"{effect.axis.replace('_', ' ')} {effect.value}", f"against {effect.against}"
        column = columns.setdefault((effect.axis, effect.value), {"name": name, "under": under, "cells": {}})
        column["cells"][effect.metric] = effect.difference
    return _show(list(columns.values()), results.metrics, signed=True)


def _show(columns: list[dict], metrics: tuple[str, ...], signed: bool) -> list[dict]:
    """A table's estimates as text, None where there is none; all of a measure with the same number of decimals.

    role: of a difference (signed), clearly better, clearly worse, a clear change that is neither, or unclear.
    """
    for metric in metrics:
        places = _places([column["cells"][metric] for column in columns if metric in column["cells"]])
        for column in columns:
            found = column["cells"].get(metric)
            column["cells"][metric] = found and {
                "mean": number(found.mean, places, signed),
                "interval": _interval(found, places, signed),
                "role": judge(metric, found) if signed else "",
                "best": False,
            }
    return columns


def _places(found: list[Estimate]) -> int:
    """As many decimals as the intervals allow: the last is worth a thirtieth to a third of half a usual one."""
    widths = [one.high - one.low for one in found if one.low is not None and one.high > one.low]
    return max(0, -math.floor(math.log10(sum(widths) / len(widths) / 6))) if widths else 3


def _interval(found: Estimate, places: int, signed: bool) -> str:
    if found.low is None:
        return ""
    return f"{number(found.low, places, signed)}\u00a0… {number(found.high, places, signed)}"


def number(value: float, places: int, signed: bool) -> str:
    """A number with so many decimals, a real minus sign, and no sign before a zero."""
    text = f"{value:{'+' if signed else ''}.{places}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _films(results: Results, store: RunFolder, keys: list[str]) -> list[dict]:
    """The first prompts' videos at the first seed, all variants, as far as the budget allows; at least one prompt."""
    study, films, spent = results.study, [], 0
    for prompt in study.prompts[: study.show]:
        place = (study.videos[0], prompt, study.seeds[0])
        shown = [
            _film(trial.variant.name, store.path(key) / VIDEO)
            for (trial, _), key in zip(results.runs, keys, strict=True)
            if trial.place == place
        ]
        spent += sum(film["bytes"] for film in shown)
        if films and spent > BUDGET:
            break
        films.append({"prompt": prompt, "seed": study.seeds[0], "variants": shown})
    return films


def _film(name: str, path: Path) -> dict:
    """A video as data, and its frames in one row."""
    video = read_video(path)
    row = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(strip(small(video.frames, STRIP_SIDE)))).save(row, "WEBP", quality=QUALITY)
    data = path.read_bytes()
    m, height, width, _ = video.frames.shape
    return {
        "name": name,
        "video": _uri("video/mp4", data),
        "strip": _uri("image/webp", row.getvalue()),
        "frames": m,
        "width": width,
        "height": height,
        "bytes": len(data) + len(row.getvalue()),
    }


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _variants(results: Results) -> list[dict]:
    """Every variant's own settings, in words: those that are not the same for all."""
    rows = []
    for variant in results.study.variants:
        settings = next(record["settings"] for trial, record in results.runs if trial.variant is variant)
        rows.append({"name": variant.name, "settings": settings})
    differing = [
        name for name in rows[0]["settings"] if any(row["settings"][name] != rows[0]["settings"][name] for row in rows)
    ]
    settings = TASKS[results.study.task].settings
    return [
        {"name": row["name"], "words": [in_words(name, row["settings"][name], settings) for name in differing]}
        for row in rows
    ]


def _common(results: Results) -> list[tuple[str, str]]:
    """The settings that are the same in all runs, as (name, value)."""
    every = [record["settings"] for _, record in results.runs]
    same = [name for name in every[0] if all(settings[name] == every[0][name] for settings in every)]
    return [(name.replace("_", " "), _plain(every[0][name])) for name in same]


def _plain(value) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(results: Results) -> list[str]:
    """The pipeline's remarks, each once."""
    return list(dict.fromkeys(note for _, record in results.runs for note in record["notes"]))
