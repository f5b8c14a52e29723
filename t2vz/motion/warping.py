"""The warp, E8: x̃(p) = x(p + flow(p)) with `grid_sample`, nearest neighbour, borders reflected."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


def warp(x: Tensor, flow: Tensor, mode: str = "nearest") -> Tensor:
    """E8: read x (f or 1, c, h, w) at p + flow(p), flow (f, 2, h, w) in cells (x, y) -> (f, c, h, w) in x's type.

    mode "nearest", the method's: a noisy latent keeps its variance. Half a cell rounds up (towards +x, +y); left to
    itself `grid_sample` rounds half to even, which doubles some columns and drops others. "bilinear" mixes
    neighbours: smaller variance, shown for comparison. Outside, the picture is mirrored at its edge (… 1 0 | 0 1 …).
    Positions are computed in float64 on the CPU (they are few): all devices and float types move the same cells.
    Raises InputError if the sizes do not fit. Source: Text2Video-Zero, Algorithm 1.
    """
    if flow.ndim != 4 or flow.shape[1] != 2 or flow.shape[-2:] != x.shape[-2:] or x.shape[0] not in (1, flow.shape[0]):
        raise InputError(
            f"warp: a flow (f, 2, h, w) for latents (f or 1, c, h, w); got {tuple(flow.shape)} for {tuple(x.shape)}"
        )
    positions = cell_grid(*x.shape[-2:]) + flow.cpu().double()
    if mode == "nearest":
        positions = torch.floor(positions + 0.5)
    # grid_sample counts in [−1, 1] from edge to edge; with align_corners=False the centre of cell p is (2p + 1)/w − 1.
    size = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float64, device="cpu")[:, None, None]
    grid = ((2 * positions + 1) / size - 1).permute(0, 2, 3, 1)
    source = x.to(torch.promote_types(x.dtype, torch.float32)).expand(flow.shape[0], -1, -1, -1)
    grid = grid.to(source.dtype).to(source.device)
    warped = F.grid_sample(source, grid, mode=mode, padding_mode="reflection", align_corners=False)
    return warped.to(x.dtype)


def cell_grid(height: int, width: int) -> Tensor:
    """The position (x, y) of every cell: (2, height, width), float64, on the CPU."""
    rows, columns = (torch.arange(side, dtype=torch.float64, device="cpu") for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y])
