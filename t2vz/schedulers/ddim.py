"""DDIM, E3 and E17: the deterministic (η = 0) to stochastic (η = 1) step from x_t to the less noisy x_s.

Source: Song et al. 2020 (arXiv 2010.02502), eqs. 12 and 16, in Stable Diffusion's ᾱ notation; Text2Video-Zero §3.1.
"""

import math

from torch import Tensor

from ..errors import InputError


def predict_x0(x_t: Tensor, eps: Tensor, alpha_bar_t: float) -> Tensor:
    """The clean latent a noise prediction implies: x̂_0 = (x_t − √(1−ᾱ_t)·ε) / √ᾱ_t.

    x_t, eps: same shape, any. alpha_bar_t in (0, 1]. E3, first half. Nothing is clipped, as in SD 1.5.
    """
    return (x_t - math.sqrt(1.0 - alpha_bar_t) * eps) / math.sqrt(alpha_bar_t)


def ddim_sigma(alpha_bar_t: float, alpha_bar_s: float, eta: float) -> float:
    """σ = η·√((1−ᾱ_s)/(1−ᾱ_t))·√(1 − ᾱ_t/ᾱ_s): the fresh noise of a step t → s; 0 for η = 0."""
    if eta == 0.0:
        return 0.0
    variance = (1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * (1.0 - alpha_bar_t / alpha_bar_s)
    return eta * math.sqrt(max(variance, 0.0))


def ddim_step(
    x_t: Tensor, eps: Tensor, alpha_bar_t: float, alpha_bar_s: float, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """E3: x_s = √ᾱ_s·x̂_0 + √(1−ᾱ_s−σ²)·ε + σ·z.

    x_t, eps, noise (z ~ N(0, I), needed if η > 0): same shape, any. alpha_bar_s ≥ alpha_bar_t, both in (0, 1); E17 goes
    the other way. eta: 0 is DDIM, 1 has the variance of DDPM's posterior. Returns x_s. Raises InputError if η > 0 comes
    without noise.
    """
    sigma = ddim_sigma(alpha_bar_t, alpha_bar_s, eta)
    direction = math.sqrt(max(1.0 - alpha_bar_s - sigma**2, 0.0))
    x_s = math.sqrt(alpha_bar_s) * predict_x0(x_t, eps, alpha_bar_t) + direction * eps
    if sigma == 0.0:
        return x_s
    if noise is None:
        raise InputError(f"a DDIM step with eta = {eta} adds noise: pass noise of x_t's shape, or eta = 0")
    return x_s + sigma * noise


def ddim_inversion_step(x_s: Tensor, eps: Tensor, alpha_bar_s: float, alpha_bar_t: float) -> Tensor:
    """E17: E3 (η = 0) the other way, from x_s to the noisier x_t: x_t = √ᾱ_t·x̂_0(x_s, ε) + √(1−ᾱ_t)·ε.

    x_s, eps: same shape, any; ε is predicted from x_s, for x_t is not known yet. With the same ε, E3 leads back to x_s
    exactly; along a path ε changes a little from step to step, so the more steps, the nearer it comes back.
    alpha_bar_s ≥ alpha_bar_t, both in (0, 1). Source: Song et al. 2020 (arXiv 2010.02502), §4.3; Tune-A-Video §3.4.
    """
    return ddim_step(x_s, eps, alpha_bar_s, alpha_bar_t)
