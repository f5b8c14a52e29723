"""The two halves of every denoising loop: predict the noise (E5 over chunks of frames), and step to less of it (E3).

`denoise` knows nothing of videos, prompts or guidance: it is handed a function ε(x, t). `NoisePredictor` is that
function for a prompt: both halves of the guidance batch, cross-frame attention, chunks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention import AttentionRecord, FrameMemory
from ..errors import FailedError
from ..schedulers import NoiseSchedule, classifier_free_guidance, ddim_step, predict_x0
from .trace import watched

Predict = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Step:
    """What one denoising step saw and made. All tensors (m, c, h, w)."""

    stage: str  # which loop of the pipeline this is
    t: int  # timestep of x_t
    s: int  # timestep of x_s; below 0 stands for ᾱ_0
    x_t: Tensor
    eps: Tensor
    x_s: Tensor
    x_0: Tensor  # x̂_0, what the prediction says the clean latent is


def denoise(
    predict: Predict, x: Tensor, timesteps: list[int], steps: int, schedule: NoiseSchedule, stage: str = "denoise",
    eta: float = 0.0, noise: Callable[[int], Tensor] | None = None,
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


class NoisePredictor:
    """ε(x, t) for a negative prompt and a prompt: the UNet over chunks of frames, guided by E5.

    unet: a t2vz.unet.UNet. context (2, tokens, dim): text states, negative first. guidance_scale: w of E5; 1 asks the
    prompt alone and saves half the work. attention: one of attention.VARIANTS. chunk: frames per UNet call, or None for
    all; it changes memory, never the result.
    """

    def __init__(
        self, unet, context: Tensor, guidance_scale: float, attention: str = "first", chunk: int | None = None
    ):
        self.unet = unet
        self.context = context if guidance_scale != 1.0 else context[1:]
        self.guidance_scale = guidance_scale
        self.attention = attention
        self.chunk = None if attention == "all" else chunk

    @torch.no_grad()
    def __call__(self, x: Tensor, t: int, record: AttentionRecord | None = None) -> Tensor:
        """x (m, c, h, w) -> ε (m, c, h, w) in x's type; the UNet computes in its own. record: of text attention."""
        record = watched(record, t, *x.shape[-2:])
        memory = FrameMemory() if self.chunk and self.chunk < len(x) else None
        size = self.chunk or len(x)
        return torch.cat([self._chunk(x[i : i + size], t, i, memory, record) for i in range(0, len(x), size)])

    def _chunk(
        self, x: Tensor, t: int, start: int, memory: FrameMemory | None, record: AttentionRecord | None
    ) -> Tensor:
        both = x.to(self.context.dtype).expand(len(self.context), *x.shape)  # the same frames for both prompts
        eps = self.unet(both, t, self.context, self.attention, start=start, memory=memory, record=record)
        eps = eps.to(x.dtype)
        return classifier_free_guidance(eps[0], eps[1], self.guidance_scale) if len(eps) == 2 else eps[0]
