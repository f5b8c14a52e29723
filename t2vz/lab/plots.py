"""A report's plots: one small picture a measure, a dot and an interval for every variant; SVG that belongs to the page.

Colours are the page's own (style.css), so that a plot is right in light and dark; text is text.
"""

import io
import re

from ..errors import InputError
from ..metrics.motion import in_512ths
from ..motion.flow import RELEASE_FIELD
from .costs import MEASURES
from .results import Results
from .statistics import Estimate

WIDTH, ROW, TOP = 3.7, 0.3, 0.42  # inches; a row holds a variant's name and, below it, its interval
INCH = 96  # CSS pixels
MOTION = ("motion_x", "motion_y")
COLOURS = {"good": "--good", "accent": "--accent", "clear": "--soft", "soft": "--soft"}
ROLES = {"--ink": "#010101", "--soft": "#020202", "--line": "#030303", "--good": "#040404", "--accent": "#050505"}


def interval_plot(results: Results, metric: str) -> str:
    """All variants on one measure: mean and interval, the baseline's mean as a dashed line. Returns an <svg>."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plots need matplotlib; pip install 't2vz[lab]'") from error
    shown = [c for c in results.comparisons if c.metric == metric]
    height = TOP + ROW * len(shown)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.02, 0.32 / height, 0.96, 1 - 0.36 / height))
    base = results.of(results.study.baseline, metric)
    if base is not None:
        axes.axvline(base.value.mean, color=ROLES["--soft"], linewidth=0.8, linestyle=(0, (3, 3)))
    for row, comparison in enumerate(shown):
        value = comparison.value
        colour = ROLES["--ink" if comparison is base else COLOURS[judge(metric, comparison.difference)]]
        asked = _asked(results, metric, comparison.variant)
        if asked is not None:
            axes.plot([asked, asked], [row - 0.25, row + 0.25], color=ROLES["--ink"], linewidth=0.9)
        if value.low is not None:
            axes.plot([value.low, value.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([value.mean], [row], "o", color=colour, markersize=4.5)
        axes.annotate(
            comparison.variant,
            (0, row),
            (0, 5),
            ("axes fraction", "data"),
            "offset points",
            fontsize=7.5,
            color=ROLES["--ink"] if comparison is base else ROLES["--soft"],
        )
    axes.set_ylim(len(shown) - 0.6, -0.95)
    axes.margins(x=0.06)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=7.5, colors=ROLES["--soft"], length=3, width=0.6)
    axes.locator_params(axis="x", nbins=5)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(ROLES["--line"])
    return _svg(figure, f"{metric}: mean and 95 % interval of every variant")


def judge(metric: str, difference: Estimate | None) -> str:
    """ "good" clearly better, "accent" clearly worse, "clear" clearly other (neither end is better), "soft" unclear."""
    sign = difference.sign if difference else 0
    if not sign:
        return "soft"
    wanted = {"higher": 1, "lower": -1}.get(MEASURES[metric].best)
    return "clear" if wanted is None else "good" if sign == wanted else "accent"


def _asked(results: Results, metric: str, variant: str) -> float | None:
    """The camera's motion that a variant asks for, pixels a frame; None for other measures, and other tasks."""
    if metric not in MOTION or results.study.task != "generate":
        return None
    settings = next(record["settings"] for trial, record in results.runs if trial.variant.name == variant)
    axis, sides = MOTION.index(metric), (settings["width"], settings["height"])
    motion = in_512ths(settings["motion"] or (0, 0), settings["flow_convention"], *reversed(sides))
    return motion[axis] * sides[axis] / RELEASE_FIELD


def _svg(figure, title: str) -> str:
    """A figure as inline SVG: sized by the page, coloured by the page, with a title for those who cannot see it."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg, count=2)
    svg = re.sub(r"<svg ", f'<svg role="img" aria-label="{title}" ', svg, count=1)
    prefix = re.sub(r"\W+", "-", title.partition(":")[0])
    svg = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{prefix}-", svg)  # names must be the page's only ones
    for name, colour in ROLES.items():
        svg = svg.replace(colour, f"var({name})")
    return svg
