"""What the UNet is built of: residual blocks, resamplers, and the rows of its table (down, middle, up).

Maps are (b·f, c, h, w): convolutions see every frame by itself. Attribute names are those of the folder layout.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import FrameView
from .transformer import Transformer


class Resnet(nn.Module):
    """Norm, SiLU, conv; add the timestep; norm, SiLU, conv; plus the input (through a 1×1 conv if widths differ)."""

    def __init__(self, c_in: int, c_out: int, time_dim: int, norm_groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, c_in, eps=1e-5)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, c_out)
        self.norm2 = nn.GroupNorm(norm_groups, c_out, eps=1e-5)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, padding=1)
        if c_in != c_out:
            self.conv_shortcut = nn.Conv2d(c_in, c_out, kernel_size=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Downsample(nn.Module):
    """Halve the size: a 3×3 conv of stride 2, padded by 1 on all sides. An odd size rounds up."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest neighbour to the given size (twice its own, or one less where the way down rounded up), then 3×3 conv."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class DownBlock(nn.Module):
    """One level down: resnets, each followed by a transformer where there is attention; then halve (not the last)."""

    def __init__(self, widths: list[int], time_dim: int, norm_groups: int, transformer: dict | None, downsample: bool):
        """widths: c_in, then the width after each resnet. transformer: Transformer's arguments, or None."""
        super().__init__()
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.resnets = nn.ModuleList([Resnet(c_in, c_out, time_dim, norm_groups) for c_in, c_out in pairs])
        if transformer is not None:
            self.attentions = _transformers(len(pairs), transformer)
        if downsample:
            self.downsamplers = nn.ModuleList([Downsample(widths[-1])])

    def forward(self, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> tuple[Tensor, list[Tensor]]:
        """Returns the maps and the skips: one after each resnet (and transformer), one after the downsampler."""
        skips = []
        for j, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if hasattr(self, "attentions"):
                x = self.attentions[j](x, context, view)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """The smallest level: resnet, transformer, resnet."""

    def __init__(self, width: int, time_dim: int, norm_groups: int, transformer: dict):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(width, width, time_dim, norm_groups) for _ in range(2)])
        self.attentions = _transformers(1, transformer)

    def forward(self, x: Tensor, time: Tensor, context: Tensor, view: FrameView) -> Tensor:
        x = self.resnets[0](x, time)
        x = self.attentions[0](x, context, view)
        return self.resnets[1](x, time)


class UpBlock(nn.Module):
    """One level up: each resnet reads the maps and one skip behind them; then double the size, except the last."""

    def __init__(
        self, c_ins: list[int], width: int, time_dim: int, norm_groups: int, transformer: dict | None, upsample: bool
    ):
        """c_ins: channels each resnet reads (maps plus skip). transformer: Transformer's arguments, or None."""
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(c_in, width, time_dim, norm_groups) for c_in in c_ins])
        if transformer is not None:
            self.attentions = _transformers(len(c_ins), transformer)
        if upsample:
            self.upsamplers = nn.ModuleList([Upsample(width)])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor, view: FrameView) -> Tensor:
        """skips: all that are left; this block pops its own off the end."""
        for j, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), time)
            if hasattr(self, "attentions"):
                x = self.attentions[j](x, context, view)
        if hasattr(self, "upsamplers"):
            x = self.upsamplers[0](x, size=skips[-1].shape[-2:])
        return x


def _transformers(count: int, arguments: dict) -> nn.ModuleList:
    """`count` transformers; each is told its own place, arguments["layer"] + ".attentions.j"."""
    where = arguments["layer"]
    return nn.ModuleList([Transformer(**{**arguments, "layer": f"{where}.attentions.{j}"}) for j in range(count)])
