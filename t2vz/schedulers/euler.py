"""Euler-ancestral: E4 counted in noise levels σ in place of ᾱ, on a grid of its own; Video Instruct-Pix2Pix uses it.

Divide the latent by √ᾱ and the picture keeps its size while only the noise shrinks ("variance exploding"):

    z_t = x_t/√ᾱ_t = x_0 + σ_t·ε,    σ_t = √((1−ᾱ_t)/ᾱ_t),    x_t = z_t/√(σ_t²+1), what the network reads

A step from σ_t to σ_s goes along ε down to σ_down, below σ_s (Euler's method for dz/dσ = ε), and adds the noise that
brings it back up: σ_down² + σ_up² = σ_s². Written out, z_s = x̂_0 + σ_s²/σ_t²·(z_t − x̂_0) + σ_up·n: a draw from the
posterior, so this is E4, and DDIM (E3) with η = 1, in other letters. What differs is the grid: see `euler_timesteps`.

Sources: Karras et al. 2022 (arXiv 2206.00364), §3, for z and the ODE; Song et al. 2020 (arXiv 2011.13456) for ancestral
sampling; the steps are those of k-diffusion's `sample_euler_ancestral`.
"""

import math

from torch import Tensor

from .schedule import NoiseSchedule


def euler_timesteps(schedule: NoiseSchedule, steps: int) -> list[float]:
    """n timesteps evenly spaced from the schedule's last to its first, both included: 999, 978.6…, …, 0 for 50.

    They need not be whole: the network takes any t. A single step starts at the last. Raises InputError unless
    1 ≤ n ≤ N.
    """
    schedule.check_steps(steps)
    last = schedule.train_steps - 1
    return [last * (1 - i / max(steps - 1, 1)) for i in range(steps)]


def sigma_at(schedule: NoiseSchedule, t: float) -> float:
    """σ_t = √((1−ᾱ_t)/ᾱ_t), on a straight line between whole timesteps. t in [0, N−1]."""
    below = math.floor(t)
    above = min(below + 1, schedule.train_steps - 1)
    low, high = (math.sqrt((1 - a) / a) for a in (schedule.alpha_bar_at(below), schedule.alpha_bar_at(above)))
    return low + (t - below) * (high - low)


def scale_input(z: Tensor, sigma: float) -> Tensor:
    """What the network reads: x = z/√(σ²+1), the latent with the variance it was trained on. Any shape."""
    return z / math.sqrt(sigma**2 + 1)


def ancestral_sigmas(sigma_t: float, sigma_s: float) -> tuple[float, float]:
    """(σ_down, σ_up) of a step σ_t → σ_s ≤ σ_t: σ_down = σ_s²/σ_t, σ_up = σ_s·√(1 − σ_s²/σ_t²)."""
    return sigma_s**2 / sigma_t, sigma_s * math.sqrt(1 - (sigma_s / sigma_t) ** 2)


def euler_ancestral_step(z_t: Tensor, eps: Tensor, sigma_t: float, sigma_s: float, noise: Tensor) -> Tensor:
    """z_s = z_t + (σ_down − σ_t)·ε + σ_up·n: from noise level σ_t > 0 to σ_s ≤ σ_t (0 is the clean latent).

    z_t, eps, noise (n ~ N(0, I)): same shape, any.
    """
    sigma_down, sigma_up = ancestral_sigmas(sigma_t, sigma_s)
    return z_t + (sigma_down - sigma_t) * eps + sigma_up * noise
