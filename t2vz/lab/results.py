"""From finished runs to tables: one row a run, one row a variant and metric; as CSV and JSON.

The tables hold nothing that depends on who did which run, or when: any number of workers writes the same bytes.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import write_bytes, write_json
from .costs import MEASURES
from .statistics import Estimate, estimate, paired
from .study import Study, Trial

DIGITS = 6  # significant digits in the tables
Values = dict[str, dict[str, dict[tuple, float]]]  # variant -> metric -> place (video, prompt, seed) -> value


@dataclass(frozen=True)
class Comparison:
    """One variant on one metric. difference: to the baseline, pair by pair; None for the baseline itself."""

    variant: str
    metric: str
    value: Estimate
    difference: Estimate | None


@dataclass(frozen=True)
class Effect:
    """What one value of a grid's axis changes against the axis' first value, all other settings the same."""

    axis: str
    value: str
    against: str
    metric: str
    difference: Estimate


@dataclass(frozen=True)
class Results:
    """All that a finished study found. metrics: those with a value, in MEASURES' order."""

    study: Study
    runs: Sequence[tuple[Trial, dict]]  # with the record of each
    metrics: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    effects: tuple[Effect, ...]

    def of(self, variant: str, metric: str) -> Comparison | None:
        """The comparison of a variant on a metric, None if it has none."""
        found = (c for c in self.comparisons if (c.variant, c.metric) == (variant, metric))
        return next(found, None)

    def best(self, metric: str) -> set[str]:
        """The variants with the best mean as the tables show it; none for a metric that is neither good nor bad."""
        better = MEASURES[metric].best
        means = {c.variant: _rounded(c.value.mean) for c in self.comparisons if c.metric == metric}
        if not better or len(means) < 2:
            return set()
        top = (max if better == "higher" else min)(means.values())
        return {variant for variant, mean in means.items() if mean == top}


def collect(study: Study, runs: Sequence[tuple[Trial, dict]]) -> Results:
    """Statistics over the records of all runs, in the study's order."""
    values: Values = {variant.name: {} for variant in study.variants}
    for trial, record in runs:
        for metric, value in record["metrics"].items():
            if metric in MEASURES and (not study.metrics or metric in study.metrics):
                values[trial.variant.name].setdefault(metric, {})[trial.place] = value
    metrics = tuple(name for name in MEASURES if any(name in found for found in values.values()))
    return Results(
        study, runs, metrics, tuple(_comparisons(study, values, metrics)), tuple(_effects(study, values, metrics))
    )


def write_results(results: Results, folder: Path, made: dict) -> None:
    """results.csv (runs), summary.csv (variants × metrics) and results.json (both, and how it was made) in `folder`."""
    rows, summary = run_rows(results), summary_rows(results)
    write_bytes(folder / "results.csv", _csv(rows))
    write_bytes(folder / "summary.csv", _csv(summary))
    study = results.study
    write_json(
        folder / "results.json",
        {
            "study": {
                "name": study.name,
                "title": study.title,
                "about": study.about,
                "task": study.task,
                "settings": study.settings,
                "baseline": study.baseline,
                "resample": study.resample,
                "variants": [asdict(variant) for variant in study.variants],
            },
            "made": made,
            "summary": summary,
            "effects": [
                {
                    "setting": e.axis,
                    "value": e.value,
                    "against": e.against,
                    "metric": e.metric,
                    **_numbers("difference", e.difference),
                }
                for e in results.effects
            ],
            "runs": rows,
        },
    )


def run_rows(results: Results) -> list[dict]:
    """One row a run: its variant, the grid's axes, its place, every metric."""
    axes, several = list(results.study.axes), len(results.study.videos) > 1
    rows = []
    for trial, record in results.runs:
        row = {"variant": trial.variant.name, **{axis: trial.variant.axes.get(axis) for axis in axes}}
        row |= {"video": trial.video} if several else {}
        row |= {"prompt": trial.prompt, "seed": trial.seed}
        rows.append(row | {name: _rounded(record["metrics"].get(name)) for name in results.metrics})
    return rows


def summary_rows(results: Results) -> list[dict]:
    """One row a variant and metric: number of units, mean, interval, paired difference to the baseline, interval."""
    return [
        {
            "variant": c.variant,
            "metric": c.metric,
            "better": MEASURES[c.metric].best,
            "count": c.value.count,
            **_numbers("mean", c.value),
            **_numbers("difference", c.difference),
        }
        for c in results.comparisons
    ]


def _comparisons(study: Study, values: Values, metrics: Sequence[str]):
    for variant in study.variants:
        for metric in metrics:
            own = values[variant.name].get(metric)
            if own is None:
                continue
            base = values[study.baseline].get(metric, {}) if variant.name != study.baseline else {}
            yield Comparison(variant.name, metric, estimate(own, study.resample), paired(own, base, study.resample))


def _effects(study: Study, values: Values, metrics: Sequence[str]):
    """For every axis of a grid of two axes or more: its further values against its first, averaged over the others."""
    for axis, named in study.axes.items() if len(study.axes) > 1 else ():
        first, *others = named
        for value in others:
            for metric in metrics:
                changed = _where(study, values, metric, axis, value)
                base = _where(study, values, metric, axis, first)
                places: dict[tuple, list[float]] = {}
                for rest, place in changed:
                    if (rest, place) in base:
                        places.setdefault(place, []).append(changed[rest, place] - base[rest, place])
                means = {place: sum(numbers) / len(numbers) for place, numbers in places.items()}
                if means:  # every place counts once, however many combinations the other axes have
                    yield Effect(axis, value, first, metric, estimate(means, study.resample))


def _where(study: Study, values: Values, metric: str, axis: str, value: str) -> dict[tuple, float]:
    """{(values of the other axes, place): number} of the variants that have this value on the axis."""
    found = {}
    for variant in study.variants:
        if variant.axes.get(axis) == value:
            rest = tuple(item for item in variant.axes.items() if item[0] != axis)
            for place, number in values[variant.name].get(metric, {}).items():
                found[rest, place] = number
    return found


def _numbers(name: str, found: Estimate | None) -> dict:
    parts = (found.mean, found.low, found.high) if found else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(_rounded, parts)))


def _rounded(value: float | None) -> float | None:
    """The number as the tables show it."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _csv(rows: list[dict]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")
