"""Temporal channel shift, an ablation: frames exchange channels, without a new weight (Latent-Shift, arXiv 2304.08477).

In every resnet, before its first convolution, some channels of frame k are replaced by those of frame k − 1, as many by
those of frame k + 1. Latent-Shift trains the network to use them; here it is as it was trained, on single pictures. So
at the ends, where there is no neighbour, a frame keeps its own (the paper has zeros, which training gets used to).
"""

import torch
from einops import rearrange
from torch import Tensor


def temporal_shift(x: Tensor, frames: int, share: float) -> Tensor:
    """x (b·f, c, h, w) -> the same shape. share in [0, 1] of the channels is exchanged, 0 gives x itself.

    The first share·c/2 channels, rounded down, come from the frame before, the next share·c/2 from the frame after.
    """
    n = int(share * x.shape[1] / 2)
    if n == 0 or frames == 1:
        return x
    own = rearrange(x, "(b f) c h w -> b f c h w", f=frames)
    before = torch.cat([own[:, :1], own[:, :-1]], dim=1)
    after = torch.cat([own[:, 1:], own[:, -1:]], dim=1)
    shifted = torch.cat([before[:, :, :n], after[:, :, n : 2 * n], own[:, :, 2 * n :]], dim=2)
    return rearrange(shifted, "b f c h w -> (b f) c h w")
