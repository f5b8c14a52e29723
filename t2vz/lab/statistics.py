"""What a study found, in numbers: means, 95 % bootstrap intervals, paired differences to the baseline.

Variants are compared on the same prompts and seeds, so their differences are taken pair by pair: what makes one prompt
harder than another cancels. Intervals are bootstrapped (BCa, Efron 1987), which asks for no normal distribution.

The seeds of one prompt are no independent witnesses, so a study of ten prompts and more draws prompts again, each with
the mean of its seeds ("prompts"); with fewer every run stands for itself ("runs"). Fewer than five values say too
little of their spread for any interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from ..errors import library

LEVEL = 0.95
AGREE = 1e-12  # values closer than this, in parts of the largest, differ by rounding
FEWEST = 5  # of two values a bootstrap would say that the truth lies between them, which is right half the time
RESAMPLES = 9999
MANY_PROMPTS = 10  # from here on prompts are drawn again

At = Mapping[tuple, float]  # place, as (video, prompt, seed) -> a measure's value there


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; low and high are None where there are too few values to tell."""

    count: int
    mean: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """+1 or −1 if the interval excludes zero, else 0."""
        if self.low is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def estimate(values: At, resample: str = "runs") -> Estimate | None:
    """Mean and interval of a metric; None if there are no values."""
    numbers = units(values, resample)
    return Estimate(len(numbers), fmean(numbers), *interval(numbers)) if numbers else None


def paired(values: At, baseline: At, resample: str = "runs") -> Estimate | None:
    """Mean and interval of value − baseline over the places that both have."""
    return estimate(minus(values, baseline), resample)


def minus(values: At, baseline: At) -> dict[tuple, float]:
    """value − baseline at every place that both have."""
    return {place: values[place] - baseline[place] for place in values if place in baseline}


def units(values: At, resample: str) -> list[float]:
    """What is drawn again: the values themselves, or for every (video, prompt) the mean over its seeds."""
    groups: dict[tuple, list[float]] = {}
    for place, value in values.items():
        groups.setdefault(place[:-1] if resample == "prompts" else place, []).append(value)
    return [fmean(group) for group in groups.values()]


def interval(values: list[float], level: float = LEVEL, resamples: int = RESAMPLES) -> tuple:
    """The bootstrap interval (low, high) of the mean; (None, None) of fewer than five, the mean itself if all agree.

    Seeded: the same values in the same order give the same interval. Where BCa's correction cannot be computed, it is
    left out: the interval is then the bootstrap's percentiles.
    """
    if len(values) < FEWEST:
        return None, None
    if max(values) - min(values) <= AGREE * max(map(abs, values)):
        return fmean(values), fmean(values)
    bootstrap = library("scipy.stats", "statistics need").bootstrap
    options = {"confidence_level": level, "n_resamples": resamples}
    for method in ("BCa", "percentile"):
        draws = np.random.default_rng(0)
        found = bootstrap((np.asarray(values),), np.mean, method=method, random_state=draws, **options)
        low, high = found.confidence_interval
        if np.isfinite(low + high):
            break
    return float(low), float(high)
