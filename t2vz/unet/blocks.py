"""What the UNet is built of: residual blocks, resamplers, and its levels (down, middle, up).

Maps are (b·f, c, h, w): convolutions see every frame by itself. Attribute names are those of the folder layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import FrameView
from .shift import temporal_shift
from .transformer import Transformer


@dataclass(frozen=True)
class Row:
    """One row of the UNet's table (unet.py): a resnet, a transformer where there are heads, a change of size."""

    name: str  # its place in the checkpoint
    c_in: int
    c_out: int
    heads: int = 0  # of the transformer's attention; 0: there is no transformer
    resample: str = ""  # "halve" (a row of its own) or "double" (after the resnet and the transformer)


class Resnet(nn.Module):
    """Norm, SiLU, conv; add the timestep; norm, SiLU, conv; plus the input (through a 1×1 conv if channels differ)."""

    def __init__(self, c_in: int, c_out: int, time_dim: int, norm_groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, c_in, eps=1e-5)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, c_out)
        self.norm2 = nn.GroupNorm(norm_groups, c_out, eps=1e-5)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, kernel_size=1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, view: FrameView) -> Tensor:
        h = temporal_shift(F.silu(self.norm1(x)), view.frames, view.shift)  # without a shift: as it is
        h = self.conv1(h)
        h = h + self.time_emb_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.conv_shortcut(x)


class Downsample(nn.Module):
    """Halve the size: a 3×3 conv of stride 2, padded by 1 on all sides. An odd size rounds up."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest neighbour to the given size (twice its own, or one less where the way down rounded up), then 3×3 conv."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Level(nn.Module):
    """Resnets, each followed by a transformer where the level has attention: what down, middle and up share."""

    def __init__(self, rows: Sequence[Row], time_dim: int, context_dim: int, norm_groups: int):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(row.c_in, row.c_out, time_dim, norm_groups) for row in rows])
        attends = [row for row in rows if row.heads]  # all or none
        self.attentions = nn.ModuleList([Transformer(r.c_out, context_dim, r.heads, norm_groups) for r in attends])

    def layer(self, j: int, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> Tensor:
        """Resnet j, and its transformer."""
        x = self.resnets[j](x, time, view)
        return self.attentions[j](x, context, view) if self.attentions else x


class DownBlock(Level):
    """One level going down: resnets and transformers; then halve the size (not the last level)."""

    def __init__(self, rows: Sequence[Row], time_dim: int, context_dim: int, norm_groups: int):
        super().__init__([row for row in rows if not row.resample], time_dim, context_dim, norm_groups)
        self.downsamplers = nn.ModuleList([Downsample(row.c_out) for row in rows if row.resample])

    def forward(self, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> tuple[Tensor, list[Tensor]]:
        """Returns the maps and the skips: each row leaves one."""
        skips = []
        for j in range(len(self.resnets)):
            x = self.layer(j, x, time, context, view)
            skips.append(x)
        for halve in self.downsamplers:
            x = halve(x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """The smallest level, one row: resnet, transformer, resnet."""

    def __init__(self, row: Row, time_dim: int, context_dim: int, norm_groups: int):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(row.c_in, row.c_out, time_dim, norm_groups) for _ in range(2)])
        self.attentions = nn.ModuleList([Transformer(row.c_out, context_dim, row.heads, norm_groups)])

    def forward(self, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> Tensor:
        x = self.resnets[0](x, time, view)
        x = self.attentions[0](x, context, view)
        return self.resnets[1](x, time, view)


class UpBlock(Level):
    """One level going up: each row reads the maps and one skip behind them; then double the size (not the last)."""

    def __init__(self, rows: Sequence[Row], time_dim: int, context_dim: int, norm_groups: int):
        super().__init__(rows, time_dim, context_dim, norm_groups)
        self.upsamplers = nn.ModuleList([Upsample(row.c_out) for row in rows if row.resample])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor, view: FrameView) -> Tensor:
        """skips: all that are left; this block pops its own off the end."""
        for j in range(len(self.resnets)):
            x = self.row(j, x, skips, time, context, view)
        for double in self.upsamplers:
            x = double(x, size=skips[-1].shape[-2:])
        return x

    def row(self, j: int, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor, view: FrameView) -> Tensor:
        """Row j, before any change of size: it reads the maps and the last skip."""
        return self.layer(j, torch.cat([x, skips.pop()], dim=1), time, context, view)
