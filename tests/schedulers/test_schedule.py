"""The noise schedule against plain Python loops, and differences 1 (forward jump) and 3 (step indices)."""

import math

import pytest
from tiny import refused

from t2vz.schedulers import NoiseSchedule


@pytest.fixture
def schedule():
    return NoiseSchedule.stable_diffusion()


def beta(i):
    """β_i of docs/method.md, written out."""
    return (math.sqrt(0.00085) + i / 999 * (math.sqrt(0.012) - math.sqrt(0.00085))) ** 2


def test_alpha_bar_is_the_running_product_of_one_minus_beta(schedule):
    product = 1.0
    for i in range(1000):
        product *= 1.0 - beta(i)
        assert float(schedule.betas[i]) == pytest.approx(beta(i), rel=1e-12)
        assert float(schedule.alphas[i]) == pytest.approx(1.0 - beta(i), rel=1e-14)
        assert schedule.alpha_bar_at(i) == pytest.approx(product, rel=1e-12)
    assert schedule.alpha_bar_at(0) == pytest.approx(0.99915, abs=5e-6)
    assert schedule.alpha_bar_at(999) == pytest.approx(0.0046601, abs=5e-8)


def test_a_schedule_of_other_sizes_is_the_same_formula():
    small = NoiseSchedule(train_steps=5, beta_first=0.01, beta_last=0.25)
    roots = [0.1 + i / 4 * 0.4 for i in range(5)]
    assert small.betas.tolist() == pytest.approx([root**2 for root in roots])


def test_a_step_below_zero_ends_at_the_first_value_of_the_schedule_not_at_one(schedule):
    assert schedule.previous(1, 50) == -19
    assert schedule.alpha_bar_at(-19) == schedule.alpha_bar_at(0) < 1.0


def test_fifty_steps_visit_981_961_to_1(schedule):
    assert schedule.timesteps(50) == list(range(981, 0, -20))


def test_any_number_of_steps_falls_evenly_within_the_schedule(schedule):
    for steps in range(1, 1001):
        grid = schedule.timesteps(steps)
        assert len(grid) == steps
        assert 0 <= grid[-1] and grid[0] <= 999
        assert {a - b for a, b in zip(grid, grid[1:])} <= {1000 // steps}
        assert all(schedule.previous(a, steps) == b for a, b in zip(grid, grid[1:]))
        assert schedule.previous(grid[-1], steps) <= 0


@pytest.mark.parametrize(
    "name, arguments, said",
    [
        *(("timesteps", (steps,), str(steps)) for steps in (0, -3, 1001)),
        *(("jump_ratio", ends, "s={}, t={}".format(*ends)) for ends in ((5, 4), (-1, 3), (0, 1000))),
        ("jump_ratio", (1, 2, "papr"), "papr"),
        ("alpha_bar_at", (1000,), "1000"),
    ],
)
def test_impossible_steps_jumps_and_conventions_are_refused(schedule, name, arguments, said):
    refused(lambda: getattr(schedule, name)(*arguments), said)


def test_snap_takes_the_nearest_timestep_and_the_noisier_of_two(schedule):
    assert [schedule.snap(t, 50) for t in (881, 941, 885, 891, 890, 999, 0)] == [881, 941, 881, 901, 881, 981, 1]
    for steps in (1, 2, 7, 25, 50, 333, 1000):
        grid = schedule.timesteps(steps)
        snapped = [schedule.snap(t, steps) for t in range(0, 1000, 7)]
        for t, near in zip(range(0, 1000, 7), snapped):
            distance = min(abs(g - t) for g in grid)
            assert near == max(g for g in grid if abs(g - t) == distance)
        assert snapped == sorted(snapped)  # so T' ≤ T stays so after snapping


JUMPS = pytest.mark.parametrize("s, t", [(0, 1), (0, 999), (881, 941), (500, 500)])


@JUMPS
def test_difference_1_paper_convention_multiplies_s_plus_1_to_t(schedule, s, t):
    ratio = schedule.jump_ratio(s, t, "paper")
    assert ratio == pytest.approx(math.prod(1.0 - beta(i) for i in range(s + 1, t + 1)), rel=1e-12)
    assert ratio == pytest.approx(schedule.alpha_bar_at(t) / schedule.alpha_bar_at(s), rel=1e-12)


@JUMPS
def test_difference_1_release_convention_multiplies_s_to_t_minus_1(schedule, s, t):
    ratio = schedule.jump_ratio(s, t, "release")
    assert ratio == schedule.jump_ratio(s, t)
    assert ratio == pytest.approx(math.prod(1.0 - beta(i) for i in range(s, t)), rel=1e-12)
    assert s == t or ratio > schedule.jump_ratio(s, t, "paper")  # one step early adds a little less noise


def test_difference_3_public_indices_44_and_47_of_50_steps_are_timesteps_881_and_941(schedule):
    reversed_grid = schedule.timesteps(50)[::-1]
    assert (reversed_grid[44], reversed_grid[47]) == (881, 941)


def test_difference_3_timesteps_mean_the_same_noise_for_any_number_of_steps(schedule):
    """The public code's indices do not: with 100 steps, index 47 is timestep 471, half the noise away."""
    assert schedule.timesteps(100)[::-1][47] == 471
    for steps in (25, 50, 100, 200, 250, 500):
        assert abs(schedule.snap(941, steps) - 941) <= 1000 // steps / 2
        assert abs(schedule.snap(881, steps) - 881) <= 1000 // steps / 2
