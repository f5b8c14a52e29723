"""Background smoothing, E13 (paper §3.3.3): outside the foreground, pull frames towards frame 1's moved background."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .warping import warp

CONVENTIONS = ("release", "paper")


def mask_to_latent(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (m, 1, H, W) at any size -> (m, 1, height, width), nearest neighbour; above ½ is foreground (1), else 0."""
    return (F.interpolate(masks.float(), size=(height, width), mode="nearest") > 0.5).float()


def dilate(masks: Tensor, size: int = 5) -> Tensor:
    """Grow the foreground: each cell becomes the maximum of the size × size cells around it.

    masks (m, 1, h, w) in {0, 1}.
    """
    return F.max_pool2d(masks, kernel_size=size, stride=1, padding=size // 2)


def background_mask(foreground: Tensor, flow: Tensor, convention: str = "release") -> Tensor:
    """1 where E13 blends, 0 elsewhere. foreground M^k (m, 1, h, w) in {0, 1}, flow (m, 2, h, w) -> (m, 1, h, w).

    "paper": 1 − M^k. "release" (default): where neither frame k's foreground nor frame 1's, warped along, is; what
    stands behind frame 1's object is not known, so it must not be copied into frame k's background.
    """
    if convention == "paper":
        return 1.0 - foreground
    if convention == "release":
        return (1.0 - foreground) * (1.0 - warp(foreground[:1], flow))
    raise InputError(f'background convention "{convention}" does not exist; choose one of: {", ".join(CONVENTIONS)}')


def smooth_background(
    x_T: Tensor, foreground: Tensor, flow: Tensor, alpha: float, convention: str = "release"
) -> Tensor:
    """E13: x̄^k = M^k ⊙ x^k + (1 − M^k) ⊙ (α·x̂^k + (1 − α)·x^k) with x̂^k = W_k(x^1), all at the same timestep.

    x_T (m, c, h, w); foreground (m, 1, h, w) in {0, 1}; flow (m, 2, h, w), frame 1's is not used: it stays as it is but
    for rounding; alpha in [0, 1]: 0 changes nothing, 1 makes all backgrounds frame 1's; paper 0.6. (The release's
    parameter `smooth_bg_strength` is 1 − alpha: there it weighs the frame's own latent.)
    """
    if not 0.0 <= alpha <= 1.0:
        raise InputError(f"background smoothing α = {alpha}: choose between 0 (none) and 1")
    still = torch.cat([torch.zeros_like(flow[:1]), flow[1:]])  # under the release's convention even δ = 0 has a slip
    background = background_mask(foreground, still, convention).to(x_T)
    x_hat = warp(x_T[:1], still)
    return (1 - background) * x_T + background * (alpha * x_hat + (1 - alpha) * x_T)
