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

Going down, conv_in, every resnet and every downsampler leave a skip (12 in all); going up, each resnet reads one. The
rows down to mid are in encoder.py, which ControlNet shares.
Source: Rombach et al. 2022 (arXiv 2112.10752); attribute names are those of the folder layout's checkpoints.
"""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import AttentionRecord, FrameMemory, FrameView
from ..errors import InputError
from .blocks import UpBlock
from .config import UNetConfig
from .encoder import Encoder


class UNet(Encoder):
    """ε_θ. Sizes from a UNetConfig; weights are whatever the modules hold until a checkpoint fills them."""

    def __init__(self, config: UNetConfig):
        super().__init__(config)  # conv_in, the timestep, down and mid
        widths, levels, groups = config.block_out_channels, len(config.block_out_channels), config.norm_groups
        skips, width = self.skip_widths, widths[-1]
        self.up_blocks = nn.ModuleList()
        for i, level in enumerate(reversed(range(levels))):
            c_ins = []
            for _ in range(config.layers_per_block + 1):
                c_ins.append(width + skips.pop())
                width = widths[level]
            attends = self.transformer(level, f"up_blocks.{i}") if config.has_attention[level] else None
            self.up_blocks.append(UpBlock(c_ins, width, 4 * widths[0], groups, attends, upsample=level > 0))
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
        self.check_inputs(x, t, context)
        b, f = x.shape[:2]
        view = FrameView(attention, start, memory, record)
        time = self.embed_time(t, b, f, x)
        skips, x = self.go_down(self.conv_in(rearrange(x, "b f c h w -> (b f) c h w")), time, context, view)
        if residuals is not None:
            *for_skips, for_middle = residuals
            _check_residuals(residuals, [*skips, x])
            skips = [skip + residual for skip, residual in zip(skips, for_skips, strict=True)]
            x = x + for_middle
        for block in self.up_blocks:
            x = block(x, skips, time, context, view)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return rearrange(x, "(b f) c h w -> b f c h w", b=b)


def _check_residuals(residuals: Sequence[Tensor], maps: list[Tensor]) -> None:
    expected, given = [tuple(m.shape) for m in maps], [tuple(r.shape) for r in residuals]
    if given != expected:
        raise InputError(f"the UNet adds {len(expected)} residuals of shapes {expected}; got {len(given)}: {given}")
