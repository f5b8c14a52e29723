"""The two halves of every denoising loop: predict the noise (over chunks of frames), and step to less of it (E3, E4).

`denoise` and `denoise_ancestral` know nothing of videos, prompts or guidance: they are handed a function ε(x, t).
`NoisePredictor` is that function for a prompt: both halves of the guidance batch (E5), cross-frame attention, chunks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention import KeyValueCache, Look
from ..errors import FailedError
from ..schedulers import (
    NoiseSchedule,
    classifier_free_guidance,
    ddim_step,
    euler_ancestral_step,
    euler_timesteps,
    predict_x0,
    scale_input,
    sigma_at,
)
from .trace import watched

Predict = Callable[[Tensor, float], Tensor]


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
    noise: Callable[[int], Tensor] | None = None,
) -> Iterator[Step]:
    """DDIM (E3) along `timesteps`, a stretch of the `steps`-step grid, noisiest first; yields every step.

    x (m, c, h, w) at timesteps[0]. The last step ends one grid stride below timesteps[-1]. noise(t) gives z for η > 0.
    Raises FailedError at the first step that is not finite, and names it.
    """
    for t in timesteps:
        s = schedule.previous(t, steps)
        alpha_bar_t, alpha_bar_s = schedule.alpha_bar_at(t), schedule.alpha_bar_at(s)
        eps = predict(x, t)
        x_s = ddim_step(x, eps, alpha_bar_t, alpha_bar_s, eta, noise(t) if eta > 0 else None)
        check_finite(x_s, f"{stage}, timestep {t}")
        yield Step(stage, t, s, x, eps, x_s, predict_x0(x, eps, alpha_bar_t))
        x = x_s


def denoise_ancestral(
    predict: Predict,
    x: Tensor,
    steps: int,
    schedule: NoiseSchedule,
    noise: Callable[[int, float], Tensor],
    stage: str = "denoise",
) -> Iterator[Step]:
    """Euler-ancestral from pure noise x (m, c, h, w) to the clean latent, on a grid of its own; yields every step.

    noise(i, t): the fresh noise n of step i = 0 … steps − 1, from timestep t; the last one's has weight 0. The latents
    of a Step are those the network reads, x = z/√(σ²+1). Raises FailedError as `denoise`.
    """
    timesteps = euler_timesteps(schedule, steps)
    sigmas = [sigma_at(schedule, t) for t in timesteps] + [0.0]
    z = sigmas[0] * x
    for i, t in enumerate(timesteps):
        sigma_t, sigma_s = sigmas[i], sigmas[i + 1]
        x_t = scale_input(z, sigma_t)
        eps = predict(x_t, t)
        z_s = euler_ancestral_step(z, eps, sigma_t, sigma_s, noise(i, t))
        check_finite(z_s, f"{stage}, timestep {t:.0f}")
        yield Step(stage, t, (*timesteps, -1)[i + 1], x_t, eps, scale_input(z_s, sigma_s), z - sigma_t * eps)
        z = z_s


def check_finite(x: Tensor, where: str, first: int = 0) -> None:
    """Raise FailedError if x (f, …) holds a NaN or an infinity: which frame, at which step, and what to do.

    first: index in the video of x's first frame.
    """
    finite = torch.isfinite(x).flatten(1).all(dim=1)
    if not bool(finite.all()):
        frame = first + int((~finite).nonzero()[0])
        raise FailedError(
            f"frame {frame + 1} is not finite (NaN or Inf) at: {where}; nothing was written. Half precision may have "
            "overflowed: use --dtype bfloat16 or float32 (or the checkpoint itself is broken)"
        )


class FramePredictor:
    """ε(x, t) over chunks of frames, with one KeyValueCache per timestep. A subclass says what goes in and comes out.

    unet: a t2vz.unet.UNet, or what is called like one. context (b, tokens, dim): text states of the guidance batch.
    attention: one of attention.VARIANTS. chunk: frames per UNet call, or None for all; it changes memory, never the
    result.
    """

    def __init__(self, unet, context: Tensor, attention: str = "first", chunk: int | None = None):
        self.unet = unet
        self.context = context
        self.attention = attention
        self.chunk = None if attention == "all" else chunk

    @torch.no_grad()
    def __call__(self, x: Tensor, t: float, look: Look | None = None) -> Tensor:
        """x (m, c, h, w) -> ε (m, c, h, w) in x's type; the UNet computes in its own. look: a hook."""
        look = watched(look, t, *x.shape[-2:])
        cache = KeyValueCache(len(x)) if self.chunk and self.chunk < len(x) else None
        size = self.chunk or len(x)
        return torch.cat([self._chunk(x[i : i + size], t, i, cache, look) for i in range(0, len(x), size)])

    def _chunk(self, x: Tensor, t: float, first_frame: int, cache: KeyValueCache | None, look: Look | None) -> Tensor:
        batch = self.batch(x, first_frame).to(self.context.dtype)
        eps = self.unet(batch, t, self.context, self.attention, first_frame=first_frame, cache=cache, look=look)
        return self.guided(eps.to(x.dtype))

    def batch(self, x: Tensor, start: int) -> Tensor:
        """What the UNet reads for frames x (f, c, h, w), the first of them being frame `start`: (b, f, …, h, w)."""
        return x.expand(len(self.context), *x.shape)  # the same frames for every prompt

    def guided(self, eps: Tensor) -> Tensor:
        """The batch's predictions (b, f, c, h, w) joined to one (f, c, h, w)."""
        raise NotImplementedError


class NoisePredictor(FramePredictor):
    """ε(x, t) for a negative prompt and a prompt, guided by E5.

    context (2, tokens, dim): negative first. guidance_scale: w of E5; 1 asks the prompt alone and saves half the work.
    The other arguments are FramePredictor's.
    """

    def __init__(
        self, unet, context: Tensor, guidance_scale: float, attention: str = "first", chunk: int | None = None
    ):
        super().__init__(unet, context if guidance_scale != 1.0 else context[1:], attention, chunk)
        self.guidance_scale = guidance_scale

    def guided(self, eps: Tensor) -> Tensor:
        return classifier_free_guidance(eps[0], eps[1], self.guidance_scale) if len(eps) == 2 else eps[0]
