"""From finished runs to tables: means, differences to the baseline, effects of a grid's axes; as CSV and JSON.

The tables hold nothing that depends on who did which run, or when: any number of workers writes the same bytes.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from ..files import write_csv, write_json
from .measure import MEASURES
from .statistics import Estimate, estimate, minus
from .study import Study, Trial

DIGITS = 6  # significant digits in the tables
Columns = dict[Hashable, dict[tuple, float]]  # what is compared -> place (video, prompt, seed) -> a metric's value
Table = dict[Hashable, dict[str, Estimate]]  # what is compared -> metric -> estimate


class Effect(NamedTuple):
    """One value of a grid's axis, against the axis' first, all other settings the same."""

    setting: str
    value: str
    against: str


@dataclass(frozen=True)
class Results:
    """All that a finished study found. metrics: those with a value, in MEASURES' order.

    means: of every variant. differences: of every variant but the baseline, to it, pair by pair. effects: by `Effect`,
    if the grid has two axes or more.
    """

    study: Study
    runs: Sequence[tuple[Trial, dict]]  # with the record of each, as `RunFolder.read`
    metrics: tuple[str, ...]
    means: Table
    differences: Table
    effects: Table

    def best(self, metric: str) -> set[str]:
        """The variants with the best mean as the tables show it; none for a metric that is neither good nor bad."""
        better = MEASURES[metric].best
        means = {name: _rounded(found[metric].mean) for name, found in self.means.items() if metric in found}
        if not better or len(means) < 2:
            return set()
        top = (max if better == "higher" else min)(means.values())
        return {name for name, mean in means.items() if mean == top}


def judge(metric: str, difference: Estimate | None) -> str:
    """ "good" clearly better, "accent" clearly worse, "clear" clearly other (neither end is better), "soft" unclear."""
    sign = difference.sign if difference else 0
    if not sign:
        return "soft"
    wanted = {"higher": 1, "lower": -1}.get(MEASURES[metric].best)
    return "clear" if wanted is None else "good" if sign == wanted else "accent"


def collect(study: Study, runs: Sequence[tuple[Trial, dict]]) -> Results:
    """Statistics over the records of all runs, in the study's order."""
    values: dict[str, Columns] = {name: {one.name: {} for one in study.variants} for name in study.metrics or MEASURES}
    for trial, record in runs:
        for metric in values.keys() & record["metrics"].keys():
            values[metric][trial.variant.name][trial.place] = record["metrics"][metric]
    values = {name: values[name] for name in MEASURES if any(values.get(name, {}).values())}

    def table(columns_of: Callable[[Columns], Columns]) -> Table:
        """Column -> measure -> estimate, of the numbers that columns_of makes of each measure's."""
        found = {}
        for metric, of_variants in values.items():
            for column, numbers in columns_of(of_variants).items():
                cells = found.setdefault(column, {})
                if numbers:
                    cells[metric] = estimate(numbers, study.resample)
        return found

    tables = table(dict), table(partial(_differences, study.baseline)), table(partial(_effects, study))
    return Results(study, runs, tuple(values), *tables)


def _differences(baseline: str, values: Columns) -> Columns:
    """Every variant but the baseline, minus the baseline."""
    return {name: minus(found, values[baseline]) for name, found in values.items() if name != baseline}


def _effects(study: Study, values: Columns) -> Columns:
    """For every axis of a grid of two axes or more: its further values against its first.

    At each place the mean over what the other axes may be: so every place counts once.
    """
    found = {}
    named = {tuple(variant.axes.items()): variant.name for variant in study.variants}
    for axis, (first, *others) in study.axes.items() if len(study.axes) > 1 else ():
        for value in others:
            changes: dict[tuple, list[float]] = {}
            for variant in study.variants:
                if variant.axes.get(axis) == value:
                    against = named[tuple({**variant.axes, axis: first}.items())]
                    for place, change in minus(values[variant.name], values[against]).items():
                        changes.setdefault(place, []).append(change)
            found[Effect(axis, value, first)] = {place: fmean(numbers) for place, numbers in changes.items()}
    return found


def write_results(results: Results, folder: Path, made: dict) -> None:
    """results.csv (runs), summary.csv (variants × metrics) and results.json (both, and how it was made) in `folder`."""
    rows, summary, study = run_rows(results), summary_rows(results), results.study
    write_csv(folder / "results.csv", rows)
    write_csv(folder / "summary.csv", summary)
    told = ("name", "title", "about", "task", "settings", "baseline", "resample")
    effects = [
        {**effect._asdict(), "metric": metric, **_numbers("difference", difference)}
        for effect, found in results.effects.items()
        for metric, difference in found.items()
    ]
    whole = {
        "study": {name: getattr(study, name) for name in told} | {"variants": [asdict(one) for one in study.variants]},
        "made": made,
        "summary": summary,
        "effects": effects,
        "runs": rows,
    }
    write_json(folder / "results.json", whole)


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
            "variant": variant,
            "metric": metric,
            "better": MEASURES[metric].best,
            "count": mean.count,
            **_numbers("mean", mean),
            **_numbers("difference", results.differences.get(variant, {}).get(metric)),
        }
        for variant, means in results.means.items()
        for metric, mean in means.items()
    ]


def _numbers(name: str, found: Estimate | None) -> dict:
    parts = (found.mean, found.low, found.high) if found else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(_rounded, parts)))


def _rounded(value: float | None) -> float | None:
    """The number as the tables show it."""
    return None if value is None else float(f"{value:.{DIGITS}g}")
