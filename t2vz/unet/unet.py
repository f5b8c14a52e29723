"""The UNet of Stable Diffusion 1.5 at any width: ε_θ(x_t, t, τ) for a video, frames as an axis.

    row                          channels    heads  size (SD 1.5)
    conv_in                         4 →  320    –   64
    down_blocks.0.resnets.0       320 →  320    8   64
    down_blocks.0.resnets.1       320 →  320    8   64
    down_blocks.0.downsamplers.0  320 →  320    –   64 → 32
    down_blocks.1.resnets.0       320 →  640    8   32
    down_blocks.1.resnets.1       640 →  640    8   32
    down_blocks.1.downsamplers.0  640 →  640    –   32 → 16
    down_blocks.2.resnets.0       640 → 1280    8   16
    down_blocks.2.resnets.1      1280 → 1280    8   16
    down_blocks.2.downsamplers.0 1280 → 1280    –   16 → 8
    down_blocks.3.resnets.0      1280 → 1280    –   8
    down_blocks.3.resnets.1      1280 → 1280    –   8
    mid_block                    1280 → 1280    8   8
    up_blocks.0.resnets.0        2560 → 1280    –   8
    up_blocks.0.resnets.1        2560 → 1280    –   8
    up_blocks.0.resnets.2        2560 → 1280    –   8 → 16
    up_blocks.1.resnets.0        2560 → 1280    8   16
    up_blocks.1.resnets.1        2560 → 1280    8   16
    up_blocks.1.resnets.2        1920 → 1280    8   16 → 32
    up_blocks.2.resnets.0        1920 →  640    8   32
    up_blocks.2.resnets.1        1280 →  640    8   32
    up_blocks.2.resnets.2         960 →  640    8   32 → 64
    up_blocks.3.resnets.0         960 →  320    8   64
    up_blocks.3.resnets.1         640 →  320    8   64
    up_blocks.3.resnets.2         640 →  320    8   64

Each of the 12 rows going down leaves a skip; each of the 12 going up reads the maps and, behind them, the last skip
that is left. `rows` is this table for any config, and the network is built from it. A norm, SiLU and a convolution
from 320 to 4 channels come last.
Source: Rombach et al. 2022 (arXiv 2112.10752); attribute names are those of the folder layout's checkpoints.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import FrameView, KeyValueCache, Look
from ..errors import InputError
from .blocks import DownBlock, MidBlock, Row, UpBlock
from .config import UNetConfig
from .embedding import TimestepMLP, timestep_embedding
from .temporal import add_temporal_attention
from .transformer import name_layers


class Rows(NamedTuple):
    """The UNet's table: the rows going down (each leaves a skip), the middle's, the rows going up (each reads one)."""

    down: list[Row]
    middle: Row
    up: list[Row]


def rows(config: UNetConfig) -> Rows:
    """The UNet's table for a config: 12 + 1 + 12 rows for Stable Diffusion 1.5."""
    levels = list(zip(config.block_out_channels, config.has_attention, config.heads, strict=True))
    down = [Row("conv_in", config.in_channels, config.block_out_channels[0])]
    for i, (c, attends, heads) in enumerate(levels):
        for j in range(config.layers_per_block):
            down.append(Row(f"down_blocks.{i}.resnets.{j}", down[-1].c_out, c, heads if attends else 0))
        if i < len(levels) - 1:
            down.append(Row(f"down_blocks.{i}.downsamplers.0", c, c, resample="halve"))
    middle = Row("mid_block", c, c, heads)
    skips, up, width = [row.c_out for row in down], [], c
    for i, (c, attends, heads) in enumerate(reversed(levels)):
        for j in range(config.layers_per_block + 1):
            doubles = "double" if j == config.layers_per_block and i < len(levels) - 1 else ""
            up.append(Row(f"up_blocks.{i}.resnets.{j}", width + skips.pop(), c, heads if attends else 0, doubles))
            width = c
    return Rows(down, middle, up)


class Encoder(nn.Module):
    """The half of the UNet that goes down: conv_in, the timestep, the levels, the middle. ControlNet copies it."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        (conv_in, *down), middle, _ = rows(config)
        self.conv_in = nn.Conv2d(conv_in.c_in, conv_in.c_out, kernel_size=3, padding=1)
        self.time_embedding = TimestepMLP(conv_in.c_out)
        sizes = 4 * conv_in.c_out, config.context_dim, config.norm_groups
        self.down_blocks = nn.ModuleList([DownBlock(block, *sizes) for block in _by_block(down)])
        self.mid_block = MidBlock(middle, *sizes)

    def go_down(self, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> tuple[list[Tensor], Tensor]:
        """From conv_in's maps x (b·f, c, h, w) to all skips, x the first of them, and the middle's maps."""
        skips = [x]
        for block in self.down_blocks:
            x, left = block(x, time, context, view)
            skips += left
        return skips, self.mid_block(x, time, context, view)

    def embed_time(self, t: int | float | Tensor, b: int, f: int, like: Tensor) -> Tensor:
        """The timestep's embedding for each of b·f maps: (b·f, 4·c), in the type and on the device of `like`."""
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


class UNet(Encoder):
    """ε_θ. Sizes from a UNetConfig; weights are whatever the modules hold until a checkpoint fills them."""

    def __init__(self, config: UNetConfig):
        super().__init__(config)  # conv_in, the timestep, down and mid
        c, groups = config.block_out_channels[0], config.norm_groups
        up = _by_block(rows(config).up)
        self.up_blocks = nn.ModuleList([UpBlock(block, 4 * c, config.context_dim, groups) for block in up])
        self.conv_norm_out = nn.GroupNorm(groups, c, eps=1e-5)
        self.conv_out = nn.Conv2d(c, config.out_channels, kernel_size=3, padding=1)
        if config.temporal_attention:
            add_temporal_attention(self)
        name_layers(self)

    def forward(
        self,
        x: Tensor,
        t: int | float | Tensor,
        context: Tensor,
        attention: str = "own",
        *,
        first_frame: int = 0,
        cache: KeyValueCache | None = None,
        look: Look | None = None,
        residuals: Sequence[Tensor] | None = None,
        merge: float = 0.0,
        shift: float = 0.0,
    ) -> Tensor:
        """Predict the noise in x.

        x (b, f, c, h, w) noisy latents, any h, w ≥ 1; t timestep, a number or (b,); context (b, tokens, dim) text
        states -> ε (b, f, c, h, w). attention: which frames a frame looks at (attention.VARIANTS). For a video in
        chunks: first_frame is the index of x's first frame, cache what earlier chunks of this timestep left. look: a
        hook that each attention layer calls (attention.Look). residuals: ControlNet's (E14), one (b·f, c, h, w) per
        skip and one for the middle, last. merge: the share of tokens that token merging leaves out, 0 is exact.
        shift: the share of channels that come from the neighbouring frames (shift.py), 0 is the network as trained.
        Raises InputError if the shapes do not fit the network.
        """
        maps, time = self.begin(x, t, context)
        view = self.view(x, attention, first_frame, cache, look, merge, shift)
        skips, maps = self.go_down(maps, time, context, view)
        if residuals is not None:
            skips, maps = add_residuals(skips, maps, residuals)
        for block in self.up_blocks:
            maps = block(maps, skips, time, context, view)
        return self.end(maps, len(x))

    def begin(self, x: Tensor, t: int | float | Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`'s inputs, checked -> conv_in's maps (b·f, c, h, w) and the timestep's embedding (b·f, 4·c)."""
        self.check_inputs(x, t, context)
        b, f = x.shape[:2]
        return self.conv_in(rearrange(x, "b f c h w -> (b f) c h w")), self.embed_time(t, b, f, x)

    def view(
        self,
        x: Tensor,
        attention: str = "own",
        first_frame: int = 0,
        cache: KeyValueCache | None = None,
        look: Look | None = None,
        merge: float = 0.0,
        shift: float = 0.0,
    ) -> FrameView:
        """What the layers are told about x's frames; the arguments of `forward`. Raises InputError for a chunk that
        needs frames of another."""
        if self.config.temporal_attention and (first_frame > 0 or cache is not None):
            raise InputError("temporal attention looks at all frames at once: give the whole video in one chunk")
        return FrameView(attention, x.shape[1], first_frame, cache, look, merge, shift, x.shape[-2:])

    def end(self, maps: Tensor, b: int) -> Tensor:
        """The last row's maps (b·f, c, h, w) -> ε (b, f, c, h, w)."""
        eps = self.conv_out(F.silu(self.conv_norm_out(maps)))
        return rearrange(eps, "(b f) c h w -> b f c h w", b=b)


def add_residuals(skips: list[Tensor], middle: Tensor, residuals: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """E14: one residual added to each skip and, the last, to the middle. Raises InputError if they do not fit."""
    maps = [*skips, middle]
    expected, given = [tuple(m.shape) for m in maps], [tuple(r.shape) for r in residuals]
    if given != expected:
        raise InputError(f"the UNet adds {len(expected)} residuals of shapes {expected}; got {len(given)}: {given}")
    *skips, middle = (m + r for m, r in zip(maps, residuals, strict=True))
    return skips, middle


def _by_block(table: list[Row]) -> list[list[Row]]:
    """Rows of the same block together: "down_blocks.0.resnets.0" and "down_blocks.0.downsamplers.0" …"""
    return [list(block) for _, block in groupby(table, key=lambda row: row.name.split(".")[1])]
