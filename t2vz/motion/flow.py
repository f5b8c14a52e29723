"""Global motion, E7, as flow fields: for every frame, where in frame 1 does each latent cell look?

A flow is a tensor (f, 2, h, w): displacements (x to the right, y down) in latent cells. The warp E8 reads
x̃(p) = x(p + flow(p)), so a positive flow moves the camera right and down, and the picture's content left and up.
"""

import math

import torch
from torch import Tensor

from ..errors import InputError
from .warping import cell_grid

CONVENTIONS = ("release", "exact")
RELEASE_FIELD = 512  # the public code's motion field has this many points a side, whatever the video's size


def global_motion(delta: tuple[float, float], frames: int) -> Tensor:
    """E7: δ^k = (k − 1)·λ·δ for the paper's frames k = 1 … m.

    delta: λ·(δ_x, δ_y); the paper's default λ = 12, δ = (1, 1) is (12, 12). frames: m. Returns (m, 2), float64, in
    delta's unit; the first row is zero. Raises InputError if delta is not two finite numbers or m < 1.
    """
    if len(delta) != 2 or not all(math.isfinite(d) for d in delta):
        raise InputError(f"motion is (δ_x, δ_y), two finite numbers; got {tuple(delta)}")
    if frames < 1:
        raise InputError(f"frames = {frames}: a video has at least one")
    k = torch.arange(frames, dtype=torch.float64, device="cpu")
    return k[:, None] * torch.tensor(delta, dtype=torch.float64, device="cpu")


def translation_flow(offsets: Tensor, height: int, width: int, convention: str = "release") -> Tensor:
    """The same displacement in every cell: offsets δ^k (f, 2) from `global_motion` -> flow (f, 2, height, width).

    convention (docs/method.md, difference 2), with height and width in latent cells:
      "release"  offsets in 1/512ths of the frame, and the public code's half-pixel slip: x displacement
                 δ_x·w/512 − w/1024 cells. At w = 64: δ_x/8 − 1/16, so 12, 24, 36, 48, 60 move 1, 3, 4, 6, 7 cells.
      "exact"    offsets in image pixels, 8 to a cell, no slip: δ_x/8 cells; the warp rounds ties up (12 moves 2).
    float64, on the CPU.
    """
    if convention == "release":
        cells = torch.tensor([width, height], dtype=torch.float64, device="cpu") / RELEASE_FIELD
        displacement = offsets.cpu().double() * cells - cells / 2
    elif convention == "exact":
        displacement = offsets.cpu().double() / 8.0
    else:
        raise InputError(f'flow convention "{convention}" does not exist; choose one of: {", ".join(CONVENTIONS)}')
    return displacement[:, :, None, None].expand(-1, -1, height, width)


def similarity_flow(factors: Tensor, degrees: Tensor, height: int, width: int) -> Tensor:
    """The camera zooms and turns about the picture's centre: p + flow = centre + R(−angle)·(p − centre) / factor.

    factors (f,) > 0: frame k shows frame 1 enlarged so many times (< 1: the camera moves out). degrees (f,): and turned
    clockwise (y points down) by so much. -> flow (f, 2, height, width), float64. (1, 0) is no motion at all.
    """
    if not bool((factors > 0).all()):
        raise InputError(f"zoom factors are above 0; got {factors.tolist()}")
    x, y = _from_centre(height, width)
    angle = torch.deg2rad(degrees.cpu().double())[:, None, None]
    turned = torch.stack([angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x], dim=1)
    return turned / factors.cpu().double()[:, None, None, None] - torch.stack([x, y])


def _from_centre(height: int, width: int) -> Tensor:
    """Each cell's position (x, y) relative to the picture's centre: (2, height, width), float64."""
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64, device="cpu")
    return cell_grid(height, width) - centre[:, None, None]
