"""The sizes of a UNet: what its checkpoint decides, and nothing else. The defaults are Stable Diffusion 1.5's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetConfig:
    """One entry per level in `widths`, `attention` and `heads`, from the full latent size down to the smallest."""

    in_channels: int = 4
    out_channels: int = 4
    widths: tuple[int, ...] = (320, 640, 1280, 1280)  # channels of each level
    attention: tuple[bool, ...] = (True, True, True, False)  # which levels have transformers; the middle has
    resnets: int = 2  # per level going down; resnets + 1 going up
    heads: tuple[int, ...] = (8, 8, 8, 8)  # attention heads (the count, not the size); the middle uses the last
    context_dim: int = 768  # width of the text states
    norm_groups: int = 32
    sample_size: int = 64  # side of the latents it was trained on: the size a video gets if none is asked for
