"""What a study found, in numbers: means, 95 % bootstrap intervals, paired differences to the baseline.

Variants are compared on the same prompts and seeds, so their differences are taken pair by pair: what makes one prompt
harder than another cancels. Intervals are bootstrapped (BCa, Efron 1987), which asks for no normal distribution.

The seeds of one prompt are no independent witnesses, so a study of ten prompts and more draws prompts again, each with
the mean of its seeds ("prompts"); with fewer every run stands for itself ("runs"). Fewer than five values say too
little of their spread for any interval.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

LEVEL = 0.95
AGREE = 1e-12  # values closer than this, in parts of the largest, differ by rounding
FEWEST = 5  # of two values a bootstrap would say that the truth lies between them, which is right half the time
RESAMPLES = 9999


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


def estimate(values: Mapping[tuple, float], resample: str = "runs") -> Estimate | None:
    """Mean and interval of a metric. values: {(video, prompt, seed): value}; None if there are none."""
    numbers = units(values, resample)
    if not numbers:
        return None
    low, high = interval(numbers)
    return Estimate(len(numbers), math.fsum(numbers) / len(numbers), low, high)


def paired(values: Mapping[tuple, float], baseline: Mapping[tuple, float], resample: str = "runs") -> Estimate | None:
    """Mean and interval of value − baseline over the places (video, prompt, seed) that both have."""
    return estimate({place: values[place] - baseline[place] for place in values if place in baseline}, resample)


def units(values: Mapping[tuple, float], resample: str) -> list[float]:
    """What is drawn again: the values themselves, or for every (video, prompt) the mean over its seeds."""
    if resample == "runs":
        return list(values.values())
    groups: dict[tuple, list[float]] = {}
    for place, value in values.items():
        groups.setdefault(place[:-1], []).append(value)
    return [math.fsum(group) / len(group) for group in groups.values()]


def interval(values: list[float], level: float = LEVEL, resamples: int = RESAMPLES) -> tuple:
    """The bootstrap interval (low, high) of the mean; (None, None) of fewer than five, the mean itself if all agree.

    Seeded: the same values in the same order give the same interval. Where BCa's correction cannot be computed, it is
    left out: the interval is then the bootstrap's percentiles.
    """
    if len(values) < FEWEST:
        return None, None
    if max(values) - min(values) <= AGREE * max(map(abs, values)):
        mean = math.fsum(values) / len(values)
        return mean, mean
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise InputError("statistics need scipy; pip install 't2vz[lab]'") from error
    for method in ("BCa", "percentile"):
        found = bootstrap(
            (np.asarray(values),),
            np.mean,
            confidence_level=level,
            n_resamples=resamples,
            method=method,
            random_state=np.random.default_rng(0),
        ).confidence_interval
        if np.isfinite(found).all():
            break
    return float(found.low), float(found.high)
