"""The sizes of a VAE: what its checkpoint decides, and nothing else. Defaults: Stable Diffusion 1.5's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VAEConfig:
    """`widths` has one entry per level, from the image's size down; each level but the last halves it."""

    in_channels: int = 3
    latent_channels: int = 4
    widths: tuple[int, ...] = (128, 256, 512, 512)  # channels of each level
    resnets: int = 2  # per level of the encoder; resnets + 1 in the decoder
    norm_groups: int = 32
    scaling_factor: float = 0.18215  # a latent handed to the UNet is the VAE's latent times this
