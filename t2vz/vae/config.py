"""The sizes of a VAE: what its checkpoint decides, and nothing else. Defaults: Stable Diffusion 1.5's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VAEConfig:
    """`block_out_channels` has one entry per level, from the picture's size down; each level but the last halves it."""

    in_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2  # resnets per level of the encoder; one more in the decoder
    norm_groups: int = 32
    scaling_factor: float = 0.18215  # a latent handed to the UNet is the VAE's latent times this
