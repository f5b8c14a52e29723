"""Means, bootstrap intervals and paired differences, against closed forms, scipy itself and loops written out."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from t2vz.lab.statistics import Estimate, estimate, interval, paired, units


def at_places(numbers, prompts, seeds):
    """{(video, prompt, seed): number}."""
    places = itertools.product([None], [f"p{i}" for i in range(prompts)], range(seeds))
    return dict(zip(places, map(float, numbers), strict=True))


@pytest.mark.parametrize("draw", ["normal", "exponential", "uniform"])
def test_the_interval_is_scipys_bca(draw):
    values = getattr(np.random.default_rng(3), draw)(size=40)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9999, random_state=np.random.default_rng(0))
    assert interval(values.tolist()) == tuple(theirs.confidence_interval)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(5), 0
    for _ in range(200):
        low, high = interval(rng.normal(1.0, 2.0, 30).tolist(), resamples=499)
        hits += low <= 1.0 <= high
    assert 0.89 <= hits / 200 <= 0.985  # 95 %, give or take three standard deviations of 200 trials, a little less


def test_values_that_say_nothing_of_their_spread():
    assert estimate({}) is None
    assert estimate(at_places([2.5], 1, 1)) == Estimate(1, 2.5, None, None)
    assert estimate(at_places([1, 2, 3, 4], 4, 1)) == Estimate(4, 2.5, None, None)  # too few
    assert estimate(at_places([2.5] * 6, 3, 2)) == Estimate(6, 2.5, 2.5, 2.5)
    assert estimate(at_places([2.5] * 10, 5, 2), "prompts") == Estimate(5, 2.5, 2.5, 2.5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("value", [1.0, -1.0, 1e-9, 3e5])
def test_values_that_differ_by_rounding_agree(value, seed):
    steps = np.random.default_rng(seed).integers(-1, 2, 12)
    values = [value, *(value + steps * np.spacing(value)).tolist()]
    found = estimate(at_places(values, len(values), 1))
    assert found.low == found.high == found.mean == pytest.approx(value)
    assert found.sign == math.copysign(1, value)


@pytest.mark.filterwarnings("ignore")  # scipy's of the cubes that underflow
def test_where_bca_gives_no_numbers_the_percentiles_are_the_interval():
    values = 1e-150 * np.random.default_rng(3).normal(0, 1, 20)
    low, high = interval(values.tolist())
    assert values.min() < low < values.mean() < high < values.max()


def test_prompts_are_drawn_with_the_mean_of_their_seeds():
    numbers = np.random.default_rng(7).normal(size=(12, 3))
    found = units(at_places(numbers.ravel(), 12, 3), "prompts")
    assert found == pytest.approx(numbers.mean(axis=1).tolist())
    assert units(at_places(numbers.ravel(), 12, 3), "runs") == numbers.ravel().tolist()


def test_seeds_that_repeat_each_other_do_not_narrow_the_interval():
    """Three equal seeds a prompt are one witness: the interval over prompts stays, that over runs shrinks by √3."""
    once = np.random.default_rng(8).normal(size=50)
    thrice = at_places(np.repeat(once, 3), 50, 3)
    alone = estimate(at_places(once, 50, 1), "prompts")
    by_prompt, by_run = estimate(thrice, "prompts"), estimate(thrice, "runs")
    assert (by_prompt.low, by_prompt.high) == pytest.approx((alone.low, alone.high))
    assert by_run.high - by_run.low == pytest.approx((alone.high - alone.low) / math.sqrt(3), rel=0.1)


def test_paired_differences_cancel_what_pairs_share():
    rng = np.random.default_rng(9)
    hard = rng.normal(0, 10, 60)  # some prompts are much harder than others
    base = at_places(hard, 30, 2)
    values = {place: value + 0.5 + 0.1 * rng.normal() for place, value in base.items()}
    found = paired(values, base)
    differences = [values[place] - base[place] for place in base]
    assert found.mean == pytest.approx(sum(differences) / len(differences))
    assert (found.low, found.high) == interval(differences)
    t_test = stats.ttest_rel(list(values.values()), list(base.values())).confidence_interval()
    assert (found.low, found.high) == pytest.approx((t_test.low, t_test.high), abs=0.01)
    assert found.sign == 1 and paired(base, values).sign == -1
    apart = estimate(values).low - estimate(base).high
    assert apart < 0  # the means' own intervals overlap widely


def test_only_places_that_both_have_are_paired():
    base, values = at_places([1, 2, 3], 3, 1), at_places([2, 4, 6, 8], 4, 1)
    assert paired(values, base).mean == pytest.approx(2.0) and paired(values, base).count == 3
    assert paired(values, {}) is None


@pytest.mark.parametrize(
    "low, high, sign",
    [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.2, 0), (0.0, 0.2, 0), (None, None, 0), (math.nan, math.nan, 0)],
)
def test_clear_is_an_interval_without_zero(low, high, sign):
    assert Estimate(5, 0.1, low, high).sign == sign
