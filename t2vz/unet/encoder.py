"""The half of the UNet that goes down: conv_in, the timestep, the levels, the middle. ControlNet (E14) is a copy of it.

Attribute names are those of the folder layout's checkpoints, so both networks inherit from `Encoder`.
"""

import torch
from torch import Tensor, nn

from ..attention import FrameView
from ..errors import InputError
from .blocks import DownBlock, MidBlock
from .config import UNetConfig
from .embedding import TimestepMLP, timestep_embedding


class Encoder(nn.Module):
    """conv_in, time_embedding, down_blocks and mid_block of a UNetConfig, and what is done with them."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths, levels = config.block_out_channels, len(config.block_out_channels)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], kernel_size=3, padding=1)
        self.time_embedding = TimestepMLP(widths[0])
        self.down_blocks = nn.ModuleList()
        for i in range(levels):
            path = [widths[max(i - 1, 0)]] + [widths[i]] * config.layers_per_block
            attends = self.transformer(i, f"down_blocks.{i}") if config.has_attention[i] else None
            halve = i < levels - 1
            self.down_blocks.append(DownBlock(path, 4 * widths[0], config.norm_groups, attends, halve))
        middle = self.transformer(levels - 1, "mid_block")
        self.mid_block = MidBlock(widths[-1], 4 * widths[0], config.norm_groups, middle)

    def transformer(self, level: int, layer: str) -> dict:
        """The arguments of a level's transformers; layer: the block's place in the checkpoint."""
        config = self.config
        return {
            "width": config.block_out_channels[level],
            "context_dim": config.context_dim,
            "heads": config.heads[level],
            "norm_groups": config.norm_groups,
            "layer": layer,
        }

    @property
    def skip_widths(self) -> list[int]:
        """Channels of the skips in the order they are left: conv_in's, each resnet's, each downsampler's."""
        config, last = self.config, len(self.config.block_out_channels) - 1
        levels = ([width] * (config.layers_per_block + (i < last)) for i, width in enumerate(config.block_out_channels))
        return [config.block_out_channels[0], *(width for level in levels for width in level)]

    def go_down(self, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> tuple[list[Tensor], Tensor]:
        """From conv_in's maps x (b·f, c, h, w) to all skips, x the first of them, and the middle's maps."""
        skips = [x]
        for block in self.down_blocks:
            x, left = block(x, time, context, view)
            skips += left
        return skips, self.mid_block(x, time, context, view)

    def embed_time(self, t: int | float | Tensor, b: int, f: int, like: Tensor) -> Tensor:
        """The timestep's embedding for each of b·f maps: (b·f, 4·width), in the type and on the device of `like`."""
        t = torch.as_tensor(t, device=like.device).reshape(-1).expand(b)
        sinusoids = timestep_embedding(t, self.config.block_out_channels[0]).to(like.dtype)
        return self.time_embedding(sinusoids).repeat_interleave(f, dim=0)

    def check_inputs(self, x: Tensor, t: int | float | Tensor, context: Tensor) -> None:
        """Raise InputError unless latents, timestep and text states fit the network."""
        name = f"the {type(self).__name__}"
        if x.ndim != 5 or x.shape[2] != self.config.in_channels:
            raise InputError(
                f"{name} reads latents (batch, frames, {self.config.in_channels}, height, width); got {tuple(x.shape)}"
            )
        if context.ndim != 3 or context.shape[0] != x.shape[0] or context.shape[2] != self.config.context_dim:
            raise InputError(
                f"{name} reads text states (batch {x.shape[0]}, tokens, {self.config.context_dim}); "
                f"got {tuple(context.shape)}"
            )
        if isinstance(t, Tensor) and t.numel() != 1 and t.shape != (x.shape[0],):
            raise InputError(
                f"{name} reads one timestep, or one for each of a batch of {x.shape[0]}; got {tuple(t.shape)}"
            )
