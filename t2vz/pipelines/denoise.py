"""The denoising loops, DDIM (E3) and Euler-ancestral (E4): predict the noise, step to less of it, again.

They know nothing of videos, prompts or guidance: they are handed a function ε(x, t) (see prediction.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ..finite import check_finite
from ..schedulers import (
    NoiseSchedule,
    ddim_inversion_step,
    ddim_step,
    euler_ancestral_step,
    predict_x0,
    scale_input,
    sigma_at,
)
from .prediction import Predict


@dataclass(frozen=True)
class Step:
    """What one denoising step saw and made. All tensors (m, c, h, w)."""

    stage: str  # which loop of the pipeline this is
    t: float  # timestep of x_t; whole with DDIM
    s: float  # timestep of x_s; below 0 stands for ᾱ_0 with DDIM, for the clean latent with Euler-ancestral
    x_t: Tensor
    eps: Tensor
    x_s: Tensor
    x_0: Tensor  # x̂_0, what the prediction says the clean latent is


def denoise(
    predict: Predict,
    x: Tensor,
    timesteps: list[int],
    steps: int,
    schedule: NoiseSchedule,
    stage: str = "denoise",
    eta: float = 0.0,
    fresh: Callable[[int], Tensor] | None = None,
) -> Iterator[Step]:
    """DDIM (E3) along `timesteps`, a stretch of the `steps`-step grid, noisiest first; yields every step.

    x (m, c, h, w) at timesteps[0]. The last step ends one grid stride below timesteps[-1]. fresh(t) gives z for η > 0.
    """
    for t in timesteps:
        s = schedule.previous(t, steps)
        alpha_bar_t, alpha_bar_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
        eps = predict(x, t)
        x_s = ddim_step(x, eps, alpha_bar_t, alpha_bar_s, eta, fresh(t) if eta > 0 else None)
        yield Step(stage, t, s, x, eps, x_s, predict_x0(x, eps, alpha_bar_t))
        x = x_s


def invert(
    predict: Predict, x: Tensor, steps: int, schedule: NoiseSchedule, tell: Callable[[], None] | None = None
) -> Tensor:
    """DDIM inversion (E17) of clean latents x (m, c, h, w) along the n-step grid, up to its first timestep.

    From there `denoise` leads back. Each step asks for ε_θ(x_s, t), the cleaner latent at the noisier timestep: so
    `denoise` undoes it. tell() is called after each step. Raises FailedError as `denoise`.
    """
    for t in reversed(schedule.timesteps(steps)):
        s = schedule.previous(t, steps)
        x = ddim_inversion_step(x, predict(x, t), schedule.alpha_bar_at(s), schedule.alpha_bar_at(t))
        check_finite(x, f"inversion, timestep {t}", range(len(x)))
        if tell is not None:
            tell()
    return x


def denoise_ancestral(
    predict: Predict,
    x: Tensor,
    timesteps: list[float],
    schedule: NoiseSchedule,
    fresh: Callable[[float], Tensor],
    stage: str = "denoise",
) -> Iterator[Step]:
    """Euler-ancestral from pure noise x (m, c, h, w) to the clean latent; yields every step.

    timesteps: a grid of `schedulers.euler_timesteps`; of none there are no steps. fresh(t): the noise n that the step
    from timestep t adds; the last one's has weight 0. The latents of a Step are those the network reads, x = z/√(σ²+1).
    """
    sigmas = [sigma_at(schedule, t) for t in timesteps] + [0.0]
    z = sigmas[0] * x
    for i, t in enumerate(timesteps):
        sigma_t, sigma_s = sigmas[i], sigmas[i + 1]
        x_t = scale_input(z, sigma_t)
        eps = predict(x_t, t)
        z_s = euler_ancestral_step(z, eps, sigma_t, sigma_s, fresh(t))
        yield Step(stage, t, (*timesteps, -1)[i + 1], x_t, eps, scale_input(z_s, sigma_s), z - sigma_t * eps)
        z = z_s
