"""The UNet of Stable Diffusion 1.5 at any width: ε_θ(x_t, t, τ) for a video, frames as an axis.

    rows (SD 1.5)   channels          size   attention
    conv_in         4 → 320           64
    down 0          320               64     yes        then halve
    down 1          640               32     yes        then halve
    down 2          1280              16     yes        then halve
    down 3          1280               8     no
    mid             1280               8     yes
    up 0            1280               8     no         then double
    up 1            1280              16     yes        then double
    up 2            640               32     yes        then double
    up 3            320               64     yes
    conv_out        320 → 4           64

Going down, conv_in, every resnet and every downsampler leave a skip (12 in all); going up, each resnet reads one.
Source: Rombach et al. 2022 (arXiv 2112.10752); attribute names are those of the folder layout's checkpoints.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import AttentionRecord, FrameMemory, FrameView
from ..errors import InputError
from .blocks import DownBlock, MidBlock, UpBlock
from .config import UNetConfig
from .embedding import TimestepMLP, timestep_embedding


class UNet(nn.Module):
    """ε_θ. Sizes from a UNetConfig; weights are whatever the modules hold until a checkpoint fills them."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths, levels, groups = config.widths, len(config.widths), config.norm_groups
        time_dim = 4 * widths[0]

        def transformer(level: int, layer: str) -> dict | None:
            return {"width": widths[level], "context_dim": config.context_dim, "heads": config.heads[level],
                    "norm_groups": groups, "layer": layer}

        self.conv_in = nn.Conv2d(config.in_channels, widths[0], kernel_size=3, padding=1)
        self.time_embedding = TimestepMLP(widths[0])

        skips = [widths[0]]  # channels of the skips, in the order they are left
        self.down_blocks = nn.ModuleList()
        for i in range(levels):
            path = [widths[max(i - 1, 0)]] + [widths[i]] * config.resnets
            attends = transformer(i, f"down_blocks.{i}") if config.attention[i] else None
            halve = i < levels - 1
            self.down_blocks.append(DownBlock(path, time_dim, groups, attends, halve))
            skips += [widths[i]] * (config.resnets + halve)

        self.mid_block = MidBlock(widths[-1], time_dim, groups, transformer(levels - 1, "mid_block"))

        self.up_blocks = nn.ModuleList()
        width = widths[-1]
        for i, level in enumerate(reversed(range(levels))):
            c_ins = []
            for _ in range(config.resnets + 1):
                c_ins.append(width + skips.pop())
                width = widths[level]
            attends = transformer(level, f"up_blocks.{i}") if config.attention[level] else None
            self.up_blocks.append(UpBlock(c_ins, width, time_dim, groups, attends, upsample=level > 0))

        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, kernel_size=3, padding=1)

    def forward(
        self,
        x: Tensor,
        t: int | float | Tensor,
        context: Tensor,
        attention: str = "own",
        *,
        start: int = 0,
        memory: FrameMemory | None = None,
        record: AttentionRecord | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Predict the noise in x.

        x (b, f, c, h, w) noisy latents, any h, w ≥ 1; t timestep, a number or (b,); context (b, tokens, dim) text
        states -> ε (b, f, c, h, w). attention: which frames a frame looks at (attention.VARIANTS). For a video in
        chunks: start is the index of x's first frame, memory what earlier chunks of this timestep left. record:
        collects text attention maps. residuals: ControlNet's (E14), one (b·f, c, h, w) per skip and one for the
        middle, last.
        Raises InputError if the shapes do not fit the network.
        """
        self._check(x, t, context)
        b, f = x.shape[:2]
        view = FrameView(attention, start, memory, record)
        time = self.embed_time(t, b, f, x)
        x = self.conv_in(rearrange(x, "b f c h w -> (b f) c h w"))
        skips = [x]
        for block in self.down_blocks:
            x, left = block(x, time, context, view)
            skips += left
        x = self.mid_block(x, time, context, view)
        if residuals is not None:
            *for_skips, for_middle = residuals
            _check_residuals(residuals, [*skips, x])
            skips = [skip + residual for skip, residual in zip(skips, for_skips, strict=True)]
            x = x + for_middle
        for block in self.up_blocks:
            x = block(x, skips, time, context, view)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return rearrange(x, "(b f) c h w -> b f c h w", b=b)

    def embed_time(self, t: int | float | Tensor, b: int, f: int, like: Tensor) -> Tensor:
        """The timestep's embedding for each of b·f maps: (b·f, 4·width), in the type and on the device of `like`."""
        t = torch.as_tensor(t, device=like.device).reshape(-1).expand(b)
        sinusoids = timestep_embedding(t, self.config.widths[0]).to(like.dtype)
        return self.time_embedding(sinusoids).repeat_interleave(f, dim=0)

    def _check(self, x: Tensor, t: int | float | Tensor, context: Tensor) -> None:
        if x.ndim != 5 or x.shape[2] != self.config.in_channels:
            raise InputError(
                f"the UNet reads latents (batch, frames, {self.config.in_channels}, height, width); "
                f"got {tuple(x.shape)}"
            )
        if context.ndim != 3 or context.shape[0] != x.shape[0] or context.shape[2] != self.config.context_dim:
            raise InputError(
                f"the UNet reads text states (batch {x.shape[0]}, tokens, {self.config.context_dim}); "
                f"got {tuple(context.shape)}"
            )
        if isinstance(t, Tensor) and t.numel() != 1 and t.shape != (x.shape[0],):
            raise InputError(
                f"the UNet reads one timestep, or one for each of a batch of {x.shape[0]}; got {tuple(t.shape)}"
            )


def _check_residuals(residuals: Sequence[Tensor], maps: list[Tensor]) -> None:
    expected, given = [tuple(m.shape) for m in maps], [tuple(r.shape) for r in residuals]
    if given != expected:
        raise InputError(f"the UNet adds {len(expected)} residuals of shapes {expected}; got {len(given)}: {given}")
