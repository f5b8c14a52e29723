"""Which timestep? The sinusoidal embedding of t and the two-layer network after it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """[cos(t·ω_i), sin(t·ω_i)] with ω_i = 10000^(−i / (width/2)), i = 0 … width/2 − 1.

    t (b,) timesteps; width even -> (b, width) in float32, whatever the network's type: t reaches 1000, where
    an angle in float16 is off by up to ¼ radian, in bfloat16 by 2. Cosines come first, as in Stable Diffusion.
    Source: Vaswani et al. 2017, §3.5.
    """
    half = width // 2
    # Multiplied first, then divided, as the originals do: float32 rounds the other order to other frequencies, and t
    # enlarges the difference (to about 1e-6 of the prediction, for widths that are no power of two).
    exponents = -math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    frequencies = torch.exp(exponents)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepMLP(nn.Module):
    """Linear, SiLU, Linear: (b, width) -> (b, 4·width)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear_1 = nn.Linear(width, 4 * width)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))
