"""Tune-A-Video: one video is learned, and made again from another prompt. The trained baseline of the paper (Fig. 24).

    attention   each frame looks at frame 1 and the one before it ("first_previous"), and each latent cell at itself in
                all frames: temporal attention, which starts at zero (unet/temporal.py)
    tuning      predict the noise in the video's latents (Ho et al. 2020, eq. 14); only queries and temporal attention
                learn, so that most of what the model knows about pictures stays as it is
    start       the video's own latents, inverted (E17): what moves, and where, is already in them

A tuned model makes the video of any prompt with `text_to_video`: settings `TUNED`, and initial_noise "inverted".
Source: Wu et al. 2022 (arXiv 2212.11565), §3.3 and §3.4; TRAINED are the published code's `trainable_modules`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import FailedError, InputError
from ..schedulers import forward_jump
from ..unet.temporal import with_temporal_attention
from ..vae import encode_frames
from .denoise import invert
from .prediction import guided_by_text
from .settings import TuneSettings, check_model
from .source import video_shape

if TYPE_CHECKING:
    from ..model import StableDiffusion

TRAINED = ("attn1.to_q.", "attn2.to_q.", "attn_temp.")  # what learns, by the parameters' names
ATTENTION = "first_previous"  # sparse-causal
TUNED = {"motion": None, "attention": ATTENTION, "initial_noise": "inverted"}  # settings of a tuned model's videos


def tune(
    sd: "StableDiffusion",
    video: Sequence,
    settings: TuneSettings,
    progress: Callable[[int, int, str], None] | None = None,
    on_loss: Callable[[float], None] | None = None,
) -> "StableDiffusion":
    """A copy of `sd` that was tuned on one video, with the video's inverted latents; `sd` stays as it is.

    video: uint8 (m, H, W, 3), sides multiples of 8, an array or a `video.Clip`. settings.prompt: what it shows.
    progress(done, total, stage) is told the work done, on_loss the loss of each step. The copy's defaults are the
    settings for `text_to_video`. Raises InputError for a model that is no text-to-image model in float32 or float64,
    or was tuned before; FailedError if the loss stops being finite.
    """
    _check(sd, video, settings)
    total = settings.steps + settings.inversion_steps + len(video)
    done = iter(range(1, total + 1))
    tell = (lambda stage: progress(next(done), total, stage)) if progress else (lambda stage: None)

    latents = []
    for latent in encode_frames(sd.vae, video):
        latents.append(latent)
        tell("encoding")
    x_0 = torch.cat(latents) * sd.vae.config.scaling_factor
    text = sd.encode_text([settings.prompt])
    unet = with_temporal_attention(sd.unet, settings.seed)
    for loss in learn(unet, x_0, text, sd.schedule.alpha_bar, settings):
        tell("tuning")
        if on_loss is not None:
            on_loss(loss)
    # Inverted with the empty prompt, as published, so that no prompt is written into the noise.
    eps = guided_by_text(unet, sd.encode_text(["", ""]), 1.0, ATTENTION)
    inverted = invert(eps, x_0, settings.inversion_steps, sd.schedule, lambda: tell("inverting"))
    return replace(sd, unet=unet, inverted=inverted.cpu(), defaults=_defaults(sd, video, settings))


def learn(unet: nn.Module, x_0: Tensor, text: Tensor, alpha_bar: Tensor, settings: TuneSettings) -> Iterator[float]:
    """Tune `unet` in place on a video's latents x_0 (m, c, h, w) and its prompt's states (1, tokens, dim); yields the
    loss of each step: the mean square of ε − ε_θ(x_t, t, τ), with one t and fresh noise ε for all frames."""
    trained = [value for name, value in unet.named_parameters() if any(part in name for part in TRAINED)]
    unet.requires_grad_(False)
    for value in trained:
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=1e-2)
    generator = torch.Generator("cpu").manual_seed(settings.seed)
    for step in range(settings.steps):
        t = int(torch.randint(len(alpha_bar), (), generator=generator, device="cpu"))
        noise = torch.randn(x_0.shape, generator=generator, device="cpu").to(x_0)
        x_t = forward_jump(x_0, float(alpha_bar[t]), noise)  # E2 from the clean latents
        loss = (unet(x_t[None], t, text, ATTENTION)[0] - noise).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        if not torch.isfinite(loss):
            raise FailedError(f"the loss became {loss.item()} in step {step + 1}; use a smaller --learning-rate")
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()
    unet.requires_grad_(False)


def _defaults(sd: "StableDiffusion", video: Sequence, settings: TuneSettings) -> dict:
    """The model's own defaults, with the settings that make the video again: those it was inverted with."""
    frames, height, width = video_shape(video)
    fps = {"fps": float(video.fps)} if hasattr(video, "fps") else {}
    size = {"frames": frames, "height": height, "width": width, **fps}
    own = sd.defaults.get("generate", {})
    return {**sd.defaults, "generate": {**own, **TUNED, **size, "steps": settings.inversion_steps}}


def _check(sd: "StableDiffusion", video: Sequence, settings: TuneSettings) -> None:
    """Raise InputError for what cannot be tuned, or on."""
    check_model(sd)
    if not isinstance(settings, TuneSettings):
        raise InputError(f"settings is a {type(settings).__name__}; TuneSettings(prompt, …) makes them")
    frames, height, width = video_shape(video)
    config, factor = sd.unet.config, sd.vae.factor
    if config.in_channels != config.out_channels or config.temporal_attention:
        what = (
            "was tuned on a video before" if config.temporal_attention else "edits videos (its UNet reads 8 channels)"
        )
        raise InputError(f"{sd.path or 'this model'} {what}; give the text-to-image model that is to be tuned")
    if sd.dtype not in (torch.float32, torch.float64):
        raise InputError(f"tuning in {sd.dtype} would round its small steps away; load the model in float32")
    if frames < 2 or height % factor or width % factor:
        raise InputError(
            f"the video has {frames} frames of {width}×{height}; tuning needs at least 2, with sides that are "
            f"multiples of {factor}"
        )
