"""ControlNet, E14: residuals s·C_i(x, t, τ, c) that steer the UNet by a condition picture c per frame.

    rows (SD 1.5)     channels                    size   leaves
    condition c       3 → 16, 32, 96, 256 → 320   512 → 64
    conv_in + c       4 → 320                     64     C_0
    down 0 … down 3   as the UNet's               64 → 8 C_1 … C_11, one per resnet and downsampler
    mid               as the UNet's               8      C_12

It is a trained copy of the UNet's half that goes down (unet.py, `Encoder`), plus a small stem that brings the condition
to the latent's size, plus one 1×1 "zero convolution" per residual: zero before training, so that a new ControlNet
changes nothing. Frames are an axis here too, with the same cross-frame attention (E12) as in the UNet.
Source: Zhang et al. 2023 (arXiv 2302.05543); attribute names are those of the folder layout's checkpoints.
"""

from dataclasses import asdict
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import FrameView, KeyValueCache
from ..errors import InputError
from .config import ControlNetConfig
from .temporal import is_temporal
from .transformer import name_layers
from .unet import Encoder, UNet, rows


class ConditionStem(nn.Module):
    """Condition pictures (n, 3, H, W) -> maps (n, c_out, H/8, W/8): 3×3 convs, pairs of which halve the size."""

    def __init__(self, channels: tuple[int, ...], c_out: int):
        """channels: of the pictures, then of each size's maps."""
        super().__init__()
        c_in, *sizes = channels
        self.conv_in = nn.Conv2d(c_in, sizes[0], kernel_size=3, padding=1)
        self.blocks = nn.ModuleList()
        for large, small in pairwise(sizes):
            self.blocks.append(nn.Conv2d(large, large, kernel_size=3, padding=1))
            self.blocks.append(nn.Conv2d(large, small, kernel_size=3, padding=1, stride=2))
        self.conv_out = _zero(nn.Conv2d(sizes[-1], c_out, kernel_size=3, padding=1))

    def forward(self, condition: Tensor) -> Tensor:
        c = F.silu(self.conv_in(condition))
        for conv in self.blocks:
            c = F.silu(conv(c))
        return self.conv_out(c)


class ControlNet(Encoder):
    """C of E14. Sizes from a ControlNetConfig; a new one gives residuals of zero."""

    def __init__(self, config: ControlNetConfig):
        super().__init__(config)
        down, middle, _ = rows(config)
        stem = config.condition_channels, *config.condition_out_channels
        self.controlnet_cond_embedding = ConditionStem(stem, down[0].c_out)
        self.controlnet_down_blocks = nn.ModuleList(
            [_zero(nn.Conv2d(row.c_out, row.c_out, kernel_size=1)) for row in down]
        )
        self.controlnet_mid_block = _zero(nn.Conv2d(middle.c_out, middle.c_out, kernel_size=1))
        name_layers(self)

    @classmethod
    def from_unet(cls, unet: UNet, **stem) -> "ControlNet":
        """Where training begins: a UNet's weights going down, zero convolutions after them.

        stem: condition_channels and condition_out_channels, if not the usual ones. The ControlNet has the UNet's float
        type and device and a copy of its weights; its residuals are zero.
        """
        controlnet = cls(ControlNetConfig(**asdict(unet.config) | {"temporal_attention": False}, **stem))
        weight = unet.conv_in.weight
        controlnet.to(weight.device, weight.dtype)
        for part in ("conv_in", "time_embedding", "down_blocks", "mid_block"):
            weights = getattr(unet, part).state_dict()
            weights = {name: value for name, value in weights.items() if not is_temporal(name)}
            getattr(controlnet, part).load_state_dict(weights)
        return controlnet

    @property
    def factor(self) -> int:
        """How many times larger a condition picture's sides are than a latent's: 8 with four widths."""
        return 2 ** (len(self.config.condition_out_channels) - 1)

    def forward(
        self,
        x: Tensor,
        t: int | float | Tensor,
        context: Tensor,
        condition: Tensor,
        attention: str = "own",
        *,
        first_frame: int = 0,
        cache: KeyValueCache | None = None,
        scale: float = 1.0,
    ) -> list[Tensor]:
        """The residuals that `UNet.forward` adds: one (b·f, c, h, w) for each skip and one for the middle, last.

        x (b, f, c, h, w) noisy latents; t timestep, a number or (b,); context (b, tokens, dim) text states; condition
        (b or 1, f, 3, 8·h, 8·w) pictures in [0, 1], 1 for the same in the whole batch. attention, first_frame, cache:
        as in UNet.forward; the cache is this network's own, the UNet needs another. scale: s, how strongly to steer.
        Raises InputError if the shapes do not fit the network.
        """
        self.check_inputs(x, t, context)
        self._check_condition(x, condition)
        b, f = x.shape[:2]
        view = FrameView(attention, f, first_frame, cache)
        time = self.embed_time(t, b, f, x)
        x = self.conv_in(rearrange(x, "b f c h w -> (b f) c h w"))
        hints = self.controlnet_cond_embedding(rearrange(condition, "b f c h w -> (b f) c h w"))
        x = x + (hints.repeat(b, 1, 1, 1) if len(hints) < b * f else hints)
        skips, middle = self.go_down(x, time, context, view)
        residuals = [conv(skip) for conv, skip in zip(self.controlnet_down_blocks, skips, strict=True)]
        return [scale * residual for residual in (*residuals, self.controlnet_mid_block(middle))]

    def _check_condition(self, x: Tensor, condition: Tensor) -> None:
        b, f, _, h, w = x.shape
        sizes = (f, self.config.condition_channels, self.factor * h, self.factor * w)
        if condition.ndim != 5 or condition.shape[0] not in (1, b) or condition.shape[1:] != torch.Size(sizes):
            raise InputError(
                f"the ControlNet reads condition pictures ({b} or 1, {', '.join(map(str, sizes))}) for "
                f"latents {tuple(x.shape)}; got {tuple(condition.shape)}"
            )


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias of zero: it says nothing until it is trained."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv
