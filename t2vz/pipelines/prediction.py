"""ε_θ of a video: the UNet, asked about chunks of frames, and how its predictions are combined (E5).

`InChunks` knows frames and no guidance; `guided_by_text` knows guidance and no chunks. E15's guidance, by a picture and
a text, is in edit.py; E14's residuals, of ControlNets, are in control.py.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..attention import KeyValueCache, Look, looks_ahead
from ..schedulers import classifier_free_guidance
from ..unet import DeepCache, UNet
from .settings import Settings
from .trace import watched

# ε(x, t): x (m, c, h, w), a timestep -> the noise predicted in x, alike. A third argument is a hook (attention.Look).
Predict = Callable[..., Tensor]


def with_ingredients(unet: UNet, settings: Settings) -> Callable:
    """The UNet with what the settings add to the method, called like it; by default nothing.

    Approximations: token merging and DeepCache. Others' ingredients: Latent-Shift's temporal shift.
    """
    eps = DeepCache(unet, settings.deep_cache) if settings.deep_cache > 1 else unet
    given = {"merge": settings.token_merging, "shift": settings.temporal_shift}
    given = {name: value for name, value in given.items() if value}
    return partial(eps, **given) if given else eps


def needs_later_frames(unet: UNet, settings: Settings) -> str:
    """What of a request looks at later frames, so that a video is made whole and `chunk` is ignored; "" if nothing."""
    if unet.config.temporal_attention:
        return "this model's temporal attention"
    if settings.temporal_shift > 0:
        return f"temporal_shift = {settings.temporal_shift:g}"
    return f'attention "{settings.attention}"' if looks_ahead(settings.attention, settings.frames) else ""


def chunk_of(unet: UNet, settings: Settings) -> int | None:
    """Frames per call of the UNet: the setting `chunk`; None, all at once, where frames need later ones."""
    return None if needs_later_frames(unet, settings) else settings.chunk


class InChunks:
    """A UNet asked about a few frames at a time, with the answers it would give if it were asked about all at once.

    unet: a t2vz.unet.UNet, or what is called like one. context (b, tokens, dim): the text states of its batch.
    attention: one of attention.VARIANTS. chunk: frames per call (None: all), which changes memory and never the result.
    frames: x's frames by their index in the video, for example [0, 5, 6, 7] (None: 0 … m − 1).
    beside (b, m, c', h, w): what the UNet reads as further channels after the latents' own (E15), or None.
    """

    def __init__(
        self,
        unet: Callable,
        context: Tensor,
        attention: str = "first",
        chunk: int | None = None,
        frames: Sequence[int] | None = None,
        beside: Tensor | None = None,
    ):
        self.unet, self.context, self.attention, self.beside = unet, context, attention, beside
        self.chunk, self.frames = chunk, frames

    @torch.no_grad()
    def __call__(self, x: Tensor, t: float, look: Look | None = None) -> Tensor:
        """x (b, m, c, h, w) -> ε, the same shape and type; the UNet computes in its own. look: see attention.Look."""
        frames = range(x.shape[1]) if self.frames is None else self.frames[: x.shape[1]]
        chunks = self._chunks(frames)
        cache = KeyValueCache(frames[-1] + 1) if len(chunks) > 1 else None  # what later chunks of this timestep need
        look = watched(look, t, *x.shape[-2:])
        parts = []
        for places in chunks:
            part = x[:, places]
            if self.beside is not None:
                part = torch.cat([part, self.beside[:, places].to(x)], dim=2)
            part, first = part.to(self.context.dtype), frames[places.start]
            eps = self.unet(part, t, self.context, self.attention, first_frame=first, cache=cache, look=look)
            parts.append(eps.to(x.dtype))
        return torch.cat(parts, dim=1)

    def _chunks(self, frames: Sequence[int]) -> list[slice]:
        """The chunks' places among the frames."""
        m = len(frames)
        size = self.chunk or m
        alone = 1 if frames[-1] >= m else 0  # a gap after frame 1, other ranks' frames: it goes alone
        starts = [*range(alone), *range(alone, m, size)]
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], m], strict=True)]


def guided_by_text(
    unet: Callable,
    texts: Tensor,
    guidance_scale: float,
    attention: str = "first",
    chunk: int | None = None,
    frames: Sequence[int] | None = None,
) -> Predict:
    """ε(x, t) for a negative prompt and a prompt, joined by E5.

    texts (2, tokens, dim): their states, the negative one's first.
    guidance_scale: w of E5; 1 asks about the prompt alone, which is half the work. The rest: see `InChunks`.
    """
    eps = InChunks(unet, texts if guidance_scale != 1.0 else texts[1:], attention, chunk, frames)

    def predict(x: Tensor, t: float, look: Look | None = None) -> Tensor:
        *negative, text = eps(x.expand(len(eps.context), *x.shape), t, look)
        return classifier_free_guidance(negative[0], text, guidance_scale) if negative else text  # E5

    return predict
