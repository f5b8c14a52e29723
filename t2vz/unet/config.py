"""The sizes of a UNet and of a ControlNet: what the checkpoint decides, and nothing else. Defaults: SD 1.5's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetConfig:
    """Tuples have one entry per level, from the full latent size down. Names are diffusers' where it has a good one."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)  # channels of each level
    has_attention: tuple[bool, ...] = (True, True, True, False)  # which levels have transformers; the middle has
    layers_per_block: int = 2  # resnets per level going down; one more going up
    heads: tuple[int, ...] = (8, 8, 8, 8)  # attention heads, the count; the middle uses the last
    context_dim: int = 768  # width of the text states
    norm_groups: int = 32
    temporal_attention: bool = False  # between the frames, at each place: Tune-A-Video's (temporal.py)
    sample_size: int = 64  # side of the latents it was trained on: the size a video gets if none is asked for


@dataclass(frozen=True)
class ControlNetConfig(UNetConfig):
    """The sizes of the UNet it steers (`out_channels` and `sample_size` play no part), and of the stem."""

    condition_channels: int = 3  # of the condition pictures
    condition_out_channels: tuple[int, ...] = (16, 32, 96, 256)  # of the stem; each but the first halves the size
