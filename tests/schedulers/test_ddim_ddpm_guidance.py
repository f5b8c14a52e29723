"""E1–E5 against composed coefficients, the closed form of a trajectory, and Bayes' rule."""

import math

import pytest
import torch
from tiny import random, refused

from t2vz.schedulers import (
    NoiseSchedule,
    classifier_free_guidance,
    ddim_inversion_step,
    ddim_sigma,
    ddim_step,
    ddpm_step,
    euler_ancestral_step,
    forward_jump,
    forward_step,
    image_text_guidance,
    posterior,
    predict_x0,
    scale_input,
)

SCHEDULE = NoiseSchedule.stable_diffusion()
PAIRS = [(981, 961), (941, 881), (500, 499), (1, 0), (999, 0)]  # t, s


def draws(device, *seeds, dtype=torch.float64):
    return [random(2, 4, 3, 5, seed=seed, dtype=dtype).to(device) for seed in seeds]


def levels(t, s):
    return SCHEDULE.alpha_bar_at(t), SCHEDULE.alpha_bar_at(s)


@pytest.mark.parametrize("s, t", [(0, 1), (100, 140), (881, 941), (0, 999)])
def test_e1_steps_iterated_equal_the_e2_jump(device, s, t):
    """x_s and every fresh noise are unit vectors of their own: the result's entries are the coefficients of each."""
    identity = torch.eye(t - s + 1, dtype=torch.float64, device=device)
    x = identity[0]
    for step, i in enumerate(range(s + 1, t + 1), start=1):
        x = forward_step(x, float(SCHEDULE.betas[i]), identity[step])
    ratio = SCHEDULE.jump_ratio(s, t, "paper")
    jump = forward_jump(torch.tensor([1.0, 0.0]).double(), ratio, torch.tensor([0.0, 1.0]).double())
    assert float(x[0]) == pytest.approx(float(jump[0]), rel=1e-12)  # the same mean for the same x_s
    assert float(x[1:].norm()) == pytest.approx(float(jump[1]), rel=1e-12)  # the same standard deviation


def test_e2_jumps_compose(device):
    once, first, second = (SCHEDULE.jump_ratio(*ends, "paper") for ends in ((200, 700), (200, 450), (450, 700)))
    assert first * second == pytest.approx(once, rel=1e-12)


@pytest.mark.parametrize("t, s", PAIRS)
def test_e3_with_the_true_noise_stays_on_the_trajectory(device, t, s):
    x_0, eps = draws(device, 0, 1)
    a_t, a_s = levels(t, s)
    x_t = math.sqrt(a_t) * x_0 + math.sqrt(1 - a_t) * eps
    torch.testing.assert_close(predict_x0(x_t, eps, a_t), x_0, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ddim_step(x_t, eps, a_t, a_s), math.sqrt(a_s) * x_0 + math.sqrt(1 - a_s) * eps)


def test_e3_on_gaussian_data_arrives_at_the_data_s_variance(device):
    """For data N(0, σ²) the best prediction is linear in x, so DDIM's whole descent is one factor, known
    in the limit."""
    variance = 0.25
    x = torch.ones(1, dtype=torch.float64, device=device)

    def marginal(t):
        return SCHEDULE.alpha_bar_at(t) * variance + 1 - SCHEDULE.alpha_bar_at(t)

    for t in SCHEDULE.timesteps(1000):
        a_t, a_s = levels(t, SCHEDULE.previous(t, 1000))
        x = ddim_step(x, math.sqrt(1 - a_t) * x / marginal(t), a_t, a_s)
    assert float(x) == pytest.approx(math.sqrt(marginal(0) / marginal(999)), rel=5e-3)


@pytest.mark.parametrize("t, s", PAIRS)
def test_e3_sigma_at_eta_1_is_the_posterior_s_standard_deviation(t, s):
    a_t, a_s = levels(t, s)
    variance = 1 / (1 / (1 - a_s) + (a_t / a_s) / (1 - a_t / a_s))  # two Gaussians' precisions add
    assert ddim_sigma(a_t, a_s, 1.0) == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert ddim_sigma(a_t, a_s, 0.3) == pytest.approx(0.3 * math.sqrt(variance), rel=1e-9)
    assert ddim_sigma(a_t, a_s, 0.0) == 0.0


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_e3_keeps_the_marginal_variance_for_every_eta(device, eta):
    """x_0 and ε as unit vectors: given x_0, x_s has mean √ᾱ_s·x_0 and variance 1 − ᾱ_s, whatever η."""
    x_0, eps, z = torch.eye(3, dtype=torch.float64, device=device)
    a_t, a_s = levels(941, 881)
    x_s = ddim_step(math.sqrt(a_t) * x_0 + math.sqrt(1 - a_t) * eps, eps, a_t, a_s, eta, z)
    assert float(x_s[0]) == pytest.approx(math.sqrt(a_s))
    assert float(x_s[1:].square().sum()) == pytest.approx(1 - a_s)


def test_e3_eta_without_noise_is_refused(device):
    x, eps = draws(device, 0, 1)
    refused(lambda: ddim_step(x, eps, *levels(941, 881), eta=0.5), "0.5")


def test_e3_at_the_end_of_the_schedule_adds_no_noise_and_needs_none(device):
    """1000 steps end at t = 0, which already has ᾱ_0: σ = 0, and x does not move."""
    x, eps = draws(device, 0, 1)
    a = SCHEDULE.alpha_bar_at(0)
    torch.testing.assert_close(ddim_step(x, eps, a, a, eta=1.0), x)


@pytest.mark.parametrize("t, s", PAIRS)
def test_e4_posterior_is_bayes_rule_of_two_gaussians(device, t, s):
    """q(x_s | x_0) = N(√ᾱ_s·x_0, 1−ᾱ_s) as prior, q(x_t | x_s) = N(√α·x_s, 1−α) as likelihood."""
    x_t, x_0 = draws(device, 2, 3)
    a_t, a_s = levels(t, s)
    alpha = a_t / a_s
    variance = 1 / (1 / (1 - a_s) + alpha / (1 - alpha))
    mean = variance * (math.sqrt(a_s) * x_0 / (1 - a_s) + math.sqrt(alpha) * x_t / (1 - alpha))
    ours_mean, ours_variance = posterior(x_t, x_0, a_t, a_s)
    torch.testing.assert_close(ours_mean, mean, rtol=1e-9, atol=1e-9)
    assert ours_variance == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("t, s", PAIRS)
def test_e4_step_equals_e3_at_eta_1(device, t, s):
    x_t, eps, z = draws(device, 4, 5, 6)
    a_t, a_s = levels(t, s)
    torch.testing.assert_close(
        ddpm_step(x_t, eps, a_t, a_s, z), ddim_step(x_t, eps, a_t, a_s, 1.0, z), rtol=1e-8, atol=1e-8
    )


def test_e4_last_step_to_the_clean_latent_is_the_prediction_itself(device):
    x_t, eps, z = draws(device, 4, 5, 6)
    a_t = SCHEDULE.alpha_bar_at(0)
    torch.testing.assert_close(ddpm_step(x_t, eps, a_t, 1.0, z), (x_t - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t))


def test_e5_guidance_at_0_1_and_beyond(device):
    negative, text = draws(device, 7, 8)
    assert torch.equal(classifier_free_guidance(negative, text, 0.0), negative)
    torch.testing.assert_close(classifier_free_guidance(negative, text, 1.0), text)
    torch.testing.assert_close(classifier_free_guidance(negative, text, 7.5), 7.5 * text - 6.5 * negative)
    torch.testing.assert_close(classifier_free_guidance(text, text, 7.5), text)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_step_keeps_type_and_device_and_leaves_its_inputs_alone(device, dtype):
    x, eps, z = (tensor.to(dtype) for tensor in draws(device, 9, 10, 11))
    before = [tensor.clone() for tensor in (x, eps, z)]
    a_t, a_s = levels(941, 881)
    results = [
        forward_step(x, 0.01, z),
        forward_jump(x, 0.6, z),
        ddim_step(x, eps, a_t, a_s, 0.5, z),
        ddpm_step(x, eps, a_t, a_s, z),
        classifier_free_guidance(x, eps, 7.5),
        euler_ancestral_step(x, eps, 9.0, 4.0, z),
        scale_input(x, 3.0),
        image_text_guidance(x, eps, z, 1.5, 7.5),
    ]
    assert all(result.dtype == dtype and result.device == x.device and result.shape == x.shape for result in results)
    assert all(torch.equal(a, b) for a, b in zip(before, (x, eps, z)))


def test_e17_inversion_is_undone_by_e3_with_the_same_noise_prediction():
    x_s, eps = draws("cpu", 1, 2)
    x_t = ddim_inversion_step(x_s, eps, 0.9, 0.3)
    torch.testing.assert_close(ddim_step(x_t, eps, 0.3, 0.9), x_s, atol=1e-13, rtol=0)
    # The formula written out, the two shares of the picture and of the noise:
    x_0 = (x_s - 0.1**0.5 * eps) / 0.9**0.5
    torch.testing.assert_close(x_t, 0.3**0.5 * x_0 + 0.7**0.5 * eps, atol=1e-13, rtol=0)
