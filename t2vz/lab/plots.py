"""A report's plots, one for each measure: a dot and an interval for every variant. report.html draws them."""

from dataclasses import dataclass

from ..errors import library
from ..metrics.motion import asked_motion
from ..motion.flow import RELEASE_FIELD
from .results import Results, judge

WIDTH = 256  # of the axis; the page scales it
MARGIN = 0.06  # of the axis that is left free at either end
MOTION = ("motion_x", "motion_y")


@dataclass(frozen=True)
class Row:
    """One variant. mean, low, high, asked: places on the axis, 0 to WIDTH; None where there is nothing to draw.

    role: its colour, as `judge` says. asked: the camera's motion that was asked for.
    """

    name: str
    role: str
    mean: float
    low: float | None
    high: float | None
    asked: float | None


@dataclass(frozen=True)
class Plot:
    """The rows, top to bottom, and what stands at the axis: (place, number)."""

    rows: list[Row]
    ticks: list[tuple[float, float]]


def interval_plot(results: Results, metric: str) -> Plot:
    """All variants on one measure: mean and interval on a common axis."""
    found = {variant: means[metric] for variant, means in results.means.items() if metric in means}
    lines = {name: (one.mean, one.low, one.high, _asked(results, metric, name)) for name, one in found.items()}
    numbers = [number for line in lines.values() for number in line if number is not None]
    margin = MARGIN * (max(numbers) - min(numbers)) or 1.0
    left, right = min(numbers) - margin, max(numbers) + margin
    ticks = library("matplotlib.ticker", "plots need").MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(left, right)

    def place(number: float | None) -> float | None:
        return None if number is None else round(WIDTH * (number - left) / (right - left), 1)

    roles = {name: judge(metric, results.differences.get(name, {}).get(metric)) for name in found}
    rows = [Row(name, roles[name], *map(place, line)) for name, line in lines.items()]
    return Plot(rows, [(place(tick), float(tick)) for tick in ticks if left <= tick <= right])


def _asked(results: Results, metric: str, variant: str) -> float | None:
    """The camera's motion that a variant asks for, pixels a frame; None for other measures, and other tasks."""
    if metric not in MOTION or results.study.task != "generate":
        return None
    settings = next(record["settings"] for trial, record in results.runs if trial.variant.name == variant)
    axis, motion = MOTION.index(metric), asked_motion(settings)
    return motion and motion[axis] * (settings["width"], settings["height"])[axis] / RELEASE_FIELD
