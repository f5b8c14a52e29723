"""The sizes of a UNet: what its checkpoint decides, and nothing else. Defaults: Stable Diffusion 1.5's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetConfig:
    """`widths`, `attention` and `heads` have one entry per level, from the full latent size down."""

    in_channels: int = 4
    out_channels: int = 4
    widths: tuple[int, ...] = (320, 640, 1280, 1280)  # channels of each level
    attention: tuple[bool, ...] = (True, True, True, False)  # which levels have transformers; the middle has
    resnets: int = 2  # per level going down; resnets + 1 going up
    heads: tuple[int, ...] = (8, 8, 8, 8)  # attention heads, the count; the middle uses the last
    context_dim: int = 768  # width of the text states
    norm_groups: int = 32
    sample_size: int = 64  # side of the latents it was trained on: the size a video gets if none is asked for
