"""E8 and E9 together: motion dynamics, and the marginal variance after the jump."""

import math
from functools import partial

import pytest
import tiny
import torch
from tiny import refused

from t2vz.motion import global_motion, translation_flow, warp
from t2vz.schedulers import NoiseSchedule, forward_jump

SCHEDULE = NoiseSchedule.stable_diffusion()


random = partial(tiny.random, dtype=torch.float64)


def motion_dynamics(x_T, x_T_prime, flow, ratio, noise):
    """E8 and E9 as Algorithm 1 has them."""
    return torch.cat([x_T, forward_jump(warp(x_T_prime, flow), ratio, noise)])


def test_e9_is_warp_then_jump_and_frame_1_stays_as_it_is(device):
    x_T, x_T_prime, noise = random(1, 4, 16, 16), random(1, 4, 16, 16, seed=1), random(3, 4, 16, 16, seed=2)
    flow = translation_flow(global_motion((12.0, 12.0), 4), 16, 16)
    frames = motion_dynamics(x_T.to(device), x_T_prime.to(device), flow[1:], 0.6, noise.to(device)).cpu()
    assert torch.equal(frames[:1], x_T)
    for k in (1, 2, 3):
        expected = math.sqrt(0.6) * warp(x_T_prime, flow[k : k + 1])[0] + math.sqrt(0.4) * noise[k - 1]
        torch.testing.assert_close(frames[k], expected)


def test_e9_frames_do_not_depend_on_how_many_follow(device):
    x_T, x_T_prime, noise = (random(n, 4, 16, 16, seed=n).to(device) for n in (1, 1, 5))
    flow = translation_flow(global_motion((12.0, 12.0), 6), 16, 16)
    many = motion_dynamics(x_T, x_T_prime, flow[1:], 0.6, noise)
    few = motion_dynamics(x_T, x_T_prime, flow[1:3], 0.6, noise[:2])
    assert torch.equal(many[:3], few)


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (2, 4, 8, 9), (2, 3, 8, 8), (1, 4, 8, 8)])
def test_forward_noise_of_another_shape_is_refused(device, shape):
    x = torch.zeros(1, 4, 8, 8, device=device)
    refused(lambda: motion_dynamics(x, x, torch.zeros(2, 2, 8, 8), 0.6, torch.zeros(shape, device=device)), "noise")


@pytest.mark.parametrize("variance", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("t_prime, t", [(881, 941), (481, 941), (1, 981)])
def test_e9_marginal_variance_after_the_jump_is_the_schedule_s_closed_form(variance, t_prime, t):
    """Var x_T' = ᾱ_T'·v + 1 − ᾱ_T' for data of variance v; E9 must make it ᾱ_T·v + 1 − ᾱ_T."""
    a_prime, a = SCHEDULE.alpha_bar_at(t_prime), SCHEDULE.alpha_bar_at(t)
    ratio = SCHEDULE.jump_ratio(t_prime, t, "paper")
    signal, fresh = forward_jump(torch.eye(2).double()[0], ratio, torch.eye(2).double()[1]).tolist()
    after = signal**2 * (a_prime * variance + 1 - a_prime) + fresh**2
    assert after == pytest.approx(a * variance + 1 - a, rel=1e-12)
