"""Token merging, an approximation: attention among fewer tokens (ToMe for Stable Diffusion, arXiv 2303.17604).

Neighbouring cells of a picture often hold nearly the same token. In every 2×2 square of cells the upper left token is a
destination, the others are sources. The sources that are most like a destination are averaged into it, attention sees
the tokens that are left, and every merged cell gets a copy of its destination's result. Attention between n tokens
costs n², so half the tokens are a quarter of its work.

The paper draws the destinations at random; here they are always the same, so that nothing is random that the seed does
not decide. Every frame is merged by itself, in the layers of the latent's full size only (both as in the paper).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SQUARE = 2  # cells a side that share a destination


@dataclass(frozen=True)
class Merge:
    """Who is merged into whom. Indices count tokens of the frame; lead is any number of leading axes.

    destinations (d,): those that others are averaged into. kept (lead, k): the sources that stay. gone (lead, r): the
    sources that are merged, and into (lead, r): the place among the destinations where.
    """

    destinations: Tensor
    kept: Tensor
    gone: Tensor
    into: Tensor

    def merge(self, x: Tensor) -> Tensor:
        """Tokens (lead, n, c) -> (lead, n − r, c): the sources that stay, then the destinations, now means."""
        means = x[..., self.destinations, :].clone()
        means.scatter_reduce_(-2, _wide(self.into, x), _rows(x, self.gone), "mean", include_self=True)
        return torch.cat([_rows(x, self.kept), means], dim=-2)

    def unmerge(self, y: Tensor) -> Tensor:
        """Results (lead, n − r, c) of the tokens that were left -> (lead, n, c), copied to those merged into them."""
        k, r = self.kept.shape[-1], self.gone.shape[-1]
        kept, means = y[..., :k, :], y[..., k:, :]
        out = y.new_empty(*y.shape[:-2], y.shape[-2] + r, y.shape[-1])
        out[..., self.destinations, :] = means
        out.scatter_(-2, _wide(self.kept, y), kept)
        return out.scatter_(-2, _wide(self.gone, y), _rows(means, self.into))


def plan_merge(tokens: Tensor, height: int, width: int, ratio: float) -> Merge:
    """Of tokens (lead, n, c), n = height·width cells row by row, choose r = ratio·n to merge: the most similar ones.

    Similarity is the cosine. ratio in [0, ¾]: three of four tokens are sources, so no more can be merged (with odd
    sides a little less: then r is all sources).
    """
    cells = torch.arange(height * width, device=tokens.device)
    is_destination = (cells // width % SQUARE == 0) & (cells % width % SQUARE == 0)
    sources, destinations = cells[~is_destination], cells[is_destination]
    unit = F.normalize(tokens, dim=-1)
    similarity = unit[..., sources, :] @ unit[..., destinations, :].transpose(-1, -2)
    best, nearest = similarity.max(dim=-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    r = min(int(ratio * height * width), len(sources))
    return Merge(destinations, sources[order[..., r:]], sources[order[..., :r]], nearest.gather(-1, order[..., :r]))


def _rows(x: Tensor, indices: Tensor) -> Tensor:
    """The tokens (lead, k, c) at some indices (lead, k) of x (lead, n, c)."""
    return x.gather(-2, _wide(indices, x))


def _wide(indices: Tensor, like: Tensor) -> Tensor:
    """Indices (lead, k), the same for every channel: (lead, k, c)."""
    return indices[..., None].expand(*indices.shape, like.shape[-1])
