"""A report's plots: one small picture a measure, a dot and an interval for every variant; SVG that belongs to the page.

Colours are the page's own (style.css), so that a plot is right in light and dark; text is text.
"""

import io
import re

from ..errors import library
from ..metrics.motion import asked_motion
from ..motion.flow import RELEASE_FIELD
from .results import Results, judge

WIDTH, ROW, TOP = 3.7, 0.3, 0.42  # inches; a row holds a variant's name and, below it, its interval
MOTION = ("motion_x", "motion_y")
COLOURS = {"good": "--good", "accent": "--accent", "clear": "--soft", "soft": "--soft"}
ROLES = {"--ink": "#010101", "--soft": "#020202", "--line": "#030303", "--good": "#040404", "--accent": "#050505"}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def interval_plot(results: Results, metric: str) -> str:
    """All variants on one measure: mean and interval, the baseline's mean as a dashed line. Returns an <svg>."""
    shown = {name: found[metric] for name, found in results.means.items() if metric in found}
    baseline = results.study.baseline
    height = TOP + ROW * len(shown)
    figure = library("matplotlib.figure", "plots need").Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.02, 0.32 / height, 0.96, 1 - 0.36 / height))
    if baseline in shown:
        axes.axvline(shown[baseline].mean, color=ROLES["--soft"], linewidth=0.8, linestyle=(0, (3, 3)))
    for row, (variant, value) in enumerate(shown.items()):
        role = judge(metric, results.differences.get(variant, {}).get(metric))
        colour = ROLES["--ink" if variant == baseline else COLOURS[role]]
        asked = _asked(results, metric, variant)
        if asked is not None:
            axes.plot([asked, asked], [row - 0.25, row + 0.25], color=ROLES["--ink"], linewidth=0.9)
        if value.low is not None:
            axes.plot([value.low, value.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([value.mean], [row], "o", color=colour, markersize=4.5)
        above = {"xytext": (0, 5), "textcoords": "offset points", "fontsize": 7.5}
        ink = ROLES["--ink" if variant == baseline else "--soft"]
        axes.annotate(variant, (0, row), xycoords=("axes fraction", "data"), color=ink, **above)
    axes.set_ylim(len(shown) - 0.6, -0.95)
    axes.margins(x=0.06)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=7.5, colors=ROLES["--soft"], length=3, width=0.6)
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(ROLES["--line"])
    return _svg(figure, f"{metric}: mean and 95 % interval of every variant")


def _asked(results: Results, metric: str, variant: str) -> float | None:
    """The camera's motion that a variant asks for, pixels a frame; None for other measures, and other tasks."""
    if metric not in MOTION or results.study.task != "generate":
        return None
    settings = next(record["settings"] for trial, record in results.runs if trial.variant.name == variant)
    axis, motion = MOTION.index(metric), asked_motion(settings)
    return motion and motion[axis] * (settings["width"], settings["height"])[axis] / RELEASE_FIELD


def _svg(figure, title: str) -> str:
    """A figure as inline SVG: sized by the page, coloured by the page, with a title for those who cannot see it."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg, count=2)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    prefix = title.partition(":")[0]
    svg = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{prefix}-", svg)  # names must be the page's only ones
    for name, colour in ROLES.items():
        svg = svg.replace(colour, f"var({name})")
    return svg
