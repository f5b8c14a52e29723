"""The KL autoencoder of Stable Diffusion 1.5 at any width: pictures ↔ latents, 8 times smaller each way.

    encoder (SD 1.5)    channels  size            decoder             channels  size
    conv_in             128       512             post_quant_conv,
    down 0              128       512 → 256       conv_in             512       64
    down 1              256       256 → 128       mid                 512       64
    down 2              512       128 → 64        up 0                512       64 → 128
    down 3              512       64              up 1                512       128 → 256
    mid                 512       64              up 2                256       256 → 512
    conv_out,                                     up 3                128       512
    quant_conv          8         64              conv_out            3         512

Every norm has eps 1e-6. Source: Rombach et al. 2022 (arXiv 2112.10752); attribute names of the folder layout.
"""

from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import attention
from ..errors import InputError
from .config import VAEConfig


class Resnet(nn.Module):
    """Norm, SiLU, conv, twice; plus the input (through a 1×1 conv if channels differ). The UNet's, without timestep."""

    def __init__(self, c_in: int, c_out: int, norm_groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(norm_groups, c_out, eps=1e-6)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, kernel_size=1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.conv_shortcut(x)


class Attention(nn.Module):
    """Self-attention with a single head over all pixels, norm before and residual after: (n, c, h, w) -> same."""

    def __init__(self, channels: int, norm_groups: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = rearrange(self.group_norm(x), "n c h w -> n 1 (h w) c")
        out = self.to_out[0](attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)))
        return x + rearrange(out, "n 1 (h w) c -> n c h w", h=x.shape[-2])


class Downsample(nn.Module):
    """Halve the size: pad right and bottom by 1, then a 3×3 conv of stride 2 without padding."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the size: nearest neighbour, then a 3×3 conv."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """One level of the encoder or the decoder: resnets, then its change of size (not the last level)."""

    def __init__(
        self, c_in: int, c_out: int, resnets: int, norm_groups: int, halve: bool = False, double: bool = False
    ):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(c_in if j == 0 else c_out, c_out, norm_groups) for j in range(resnets)])
        self.downsamplers = nn.ModuleList([Downsample(c_out)] if halve else [])
        self.upsamplers = nn.ModuleList([Upsample(c_out)] if double else [])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x = layer(x)
        return x


class MidBlock(nn.Module):
    """Resnet, attention, resnet at the latent's size."""

    def __init__(self, channels: int, norm_groups: int):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(channels, channels, norm_groups) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels, norm_groups)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Images (n, 3, H, W) -> (n, 2·latent channels, H/8, W/8): mean and log-variance, before quant_conv."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        channels, groups = config.block_out_channels, config.norm_groups
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], kernel_size=3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(pairwise((channels[0], *channels))):
            halve = i < len(channels) - 1
            self.down_blocks.append(Level(c_in, c_out, config.layers_per_block, groups, halve=halve))
        self.mid_block = MidBlock(channels[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents after post_quant_conv (n, latent channels, H/8, W/8) -> images (n, 3, H, W)."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        channels, groups = config.block_out_channels[::-1], config.norm_groups
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], kernel_size=3, padding=1)
        self.mid_block = MidBlock(channels[0], groups)
        self.up_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(pairwise((channels[0], *channels))):
            double = i < len(channels) - 1
            self.up_blocks.append(Level(c_in, c_out, config.layers_per_block + 1, groups, double=double))
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[-1], config.in_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAE(nn.Module):
    """Pictures in [−1, 1] ↔ unscaled latents. The UNet's latents are these times `config.scaling_factor`."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, kernel_size=1)
        self.post_quant_conv = nn.Conv2d(channels, channels, kernel_size=1)

    @property
    def factor(self) -> int:
        """How many times smaller a latent's sides are than its picture's: 8 with four levels."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    def encode_moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior q(z | image).

        images (n, 3, H, W) in [−1, 1] -> mean and log-variance, the latter in [−30, 20], each (n, 4, H/8, W/8).
        Raises InputError if H or W is not a multiple of 8.
        """
        if images.ndim != 4 or images.shape[-2] % self.factor or images.shape[-1] % self.factor:
            raise InputError(
                f"the VAE encodes images (n, {self.config.in_channels}, H, W) with H and W multiples of {self.factor}; "
                f"got {tuple(images.shape)}"
            )
        mean, log_variance = self.quant_conv(self.encoder(images)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def encode(self, images: Tensor) -> Tensor:
        """The posterior's mean: images (n, 3, H, W) in [−1, 1] -> latents (n, 4, H/8, W/8), unscaled."""
        return self.encode_moments(images)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, 4, h, w), unscaled -> images (n, 3, 8·h, 8·w), about [−1, 1] (not clamped)."""
        return self.decoder(self.post_quant_conv(latents))


def to_pixels(images: Tensor) -> Tensor:
    """Network range to picture range: clamp(x/2 + ½, 0, 1) · 255, rounded. (n, 3, H, W) -> uint8 (n, H, W, 3)."""
    unit = (images.float() / 2 + 0.5).clamp(0, 1)
    return rearrange((unit * 255).round().to(torch.uint8), "n c h w -> n h w c")


def from_pixels(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Picture range to network range: uint8 (n, H, W, 3) -> (n, 3, H, W) in [−1, 1], in `dtype`."""
    wide = torch.promote_types(dtype, torch.float32)  # half precision would round twice
    return rearrange((frames.to(wide) / 127.5 - 1.0).to(dtype), "n h w c -> n c h w").contiguous()
