"""Euler-ancestral and three-way guidance (E15) against E4, closed forms and properties; against diffusers' scheduler in
tests/equivalence/test_edit.py."""

import math

import pytest
import torch
from tiny import random, refused

from t2vz.schedulers import (
    NoiseSchedule,
    ddpm_step,
    euler_ancestral_step,
    euler_timesteps,
    image_text_guidance,
    scale_input,
    sigma_at,
)

SCHEDULE = NoiseSchedule.stable_diffusion()
PAIRS = [(981, 961), (999, 0), (500, 499), (1, 0)]  # t, s


def draws(device, *seeds):
    return [random(2, 4, 3, 5, seed=seed, dtype=torch.float64).to(device) for seed in seeds]


@pytest.mark.parametrize("t, s", PAIRS)
def test_a_step_is_e4_s_in_other_letters(device, t, s):
    """z = x/√ᾱ. For the clean latent (σ_s = 0) both give x̂_0."""
    x_t, eps, noise = draws(device, 0, 1, 2)
    for a_s, sigma_s in ((SCHEDULE.alpha_bar_at(s), sigma_at(SCHEDULE, s)), (1.0, 0.0)):
        a_t = SCHEDULE.alpha_bar_at(t)
        z_s = euler_ancestral_step(x_t / math.sqrt(a_t), eps, sigma_at(SCHEDULE, t), sigma_s, noise)
        torch.testing.assert_close(
            scale_input(z_s, sigma_s), ddpm_step(x_t, eps, a_t, a_s, noise), rtol=1e-9, atol=1e-9
        )


def test_sigma_and_its_latents_agree_with_alpha_bar():
    for t in (0, 1, 500, 999):
        a = SCHEDULE.alpha_bar_at(t)
        sigma = sigma_at(SCHEDULE, t)
        assert sigma**2 == pytest.approx((1 - a) / a)
        assert float(scale_input(torch.tensor(1.0).double(), sigma)) == pytest.approx(math.sqrt(a))  # z = x/√ᾱ


def test_sigma_between_two_timesteps_lies_on_their_line():
    low, high = sigma_at(SCHEDULE, 700), sigma_at(SCHEDULE, 701)
    for share in (0.0, 0.25, 0.9):
        assert sigma_at(SCHEDULE, 700 + share) == pytest.approx((1 - share) * low + share * high)


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_the_grid_is_even_and_has_both_ends(steps):
    grid = euler_timesteps(SCHEDULE, steps)
    gaps = [before - after for before, after in zip(grid, grid[1:], strict=False)]
    assert grid[0] == 999 and len(grid) == steps and (steps == 1 or grid[-1] == pytest.approx(0, abs=1e-9))
    assert gaps == pytest.approx([999 / max(steps - 1, 1)] * (steps - 1))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_an_impossible_number_of_steps_is_refused(steps):
    refused(lambda: euler_timesteps(SCHEDULE, steps), f"{steps}")


def test_e15_special_cases(device):
    """s_I = s_T is E5 between nothing and both; s_I = 1 is E5 between the image and both; 0 and 0 ask neither."""
    none, image, both = draws(device, 3, 4, 5)
    torch.testing.assert_close(image_text_guidance(none, image, both, 3.0, 3.0), none + 3.0 * (both - none))
    torch.testing.assert_close(image_text_guidance(none, image, both, 1.0, 7.5), image + 7.5 * (both - image))
    torch.testing.assert_close(image_text_guidance(none, image, both, 1.5, 0.0), none + 1.5 * (image - none))
    torch.testing.assert_close(image_text_guidance(none, image, both, 0.0, 0.0), none)
    torch.testing.assert_close(image_text_guidance(image, image, image, 1.5, 7.5), image)
