"""DDPM: the forward step E1, the forward jump E2, and the ancestral step E4 back.

Source: Ho et al. 2020 (arXiv 2006.11239), eqs. 2, 4, 6 and 7; the jump between noise levels is Text2Video-Zero's E9.
"""

import math

from torch import Tensor

from ..errors import InputError
from .ddim import predict_x0


def forward_step(x: Tensor, beta_t: float, noise: Tensor) -> Tensor:
    """E1: x_t = √(1−β_t)·x_{t−1} + √β_t·ε. x, noise: same shape, any; beta_t in [0, 1]."""
    return math.sqrt(1.0 - beta_t) * x + math.sqrt(beta_t) * noise


def forward_jump(x_s: Tensor, ratio: float, noise: Tensor) -> Tensor:
    """E2: x_t = √r·x_s + √(1−r)·ε with r = ᾱ_t/ᾱ_s: many forward steps s → t at once.

    x_s, noise: same shape, any. ratio in (0, 1]: from `NoiseSchedule.jump_ratio(s, t)`, which knows both conventions.
    Raises InputError for another shape of the noise, which torch might repeat: every element has noise of its own.
    """
    if noise.shape != x_s.shape:
        raise InputError(f"noise {tuple(noise.shape)} for latents {tuple(x_s.shape)}: give noise of the same shape")
    return math.sqrt(ratio) * x_s + math.sqrt(1.0 - ratio) * noise


def posterior(x_t: Tensor, x_0: Tensor, alpha_bar_t: float, alpha_bar_s: float) -> tuple[Tensor, float]:
    """Mean and variance of q(x_s | x_t, x_0), s < t, written with the jump's own α = ᾱ_t/ᾱ_s and β = 1 − α.

    mean = √ᾱ_s·β/(1−ᾱ_t)·x_0 + √α·(1−ᾱ_s)/(1−ᾱ_t)·x_t; variance = (1−ᾱ_s)/(1−ᾱ_t)·β.
    """
    alpha = alpha_bar_t / alpha_bar_s
    beta = 1.0 - alpha
    mean = (
        math.sqrt(alpha_bar_s) * beta / (1.0 - alpha_bar_t) * x_0
        + math.sqrt(alpha) * (1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * x_t
    )
    return mean, (1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * beta


def ddpm_step(x_t: Tensor, eps: Tensor, alpha_bar_t: float, alpha_bar_s: float, noise: Tensor) -> Tensor:
    """E4, ancestral step t → s: a draw from q(x_s | x_t, x̂_0) with x̂_0 from the noise prediction.

    x_t, eps, noise: same shape, any. Pass alpha_bar_s = 1 for the step to the clean latent: its variance is 0.
    """
    mean, variance = posterior(x_t, predict_x0(x_t, eps, alpha_bar_t), alpha_bar_t, alpha_bar_s)
    return mean + math.sqrt(variance) * noise
