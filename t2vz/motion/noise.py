"""Where the frames' latents start when motion dynamics is off: ways to draw m initial noises, for ablations.

Each frame's noise is N(0, I) by itself in every kind; they differ in how frames are correlated.
"""

import math

import torch
from torch import Tensor

from ..errors import InputError

NOISES = ("independent", "shared", "mixed", "progressive", "residual")


def correlate(independent: Tensor, shared: Tensor, kind: str, strength: float = 1.0) -> Tensor:
    """Turn independent noise ε^k (m, c, h, w) and one more draw ε_shared (1, c, h, w) into the named kind.

    independent  ε^k as they are (the naive baseline)
    shared       ε_shared for every frame (what ControlNet videos use, E14)
    mixed        √(ρ²/(1+ρ²))·ε_shared + √(1/(1+ρ²))·ε^k               (PYoCo, arXiv 2305.10474)
    progressive  ε'^1 = ε^1, ε'^k = √(ρ²/(1+ρ²))·ε'^{k−1} + √(1/(1+ρ²))·ε^k   (PYoCo)
    residual     √λ·ε_shared + √(1−λ)·ε^k                               (VideoFusion, arXiv 2303.08320)

    strength: ρ ≥ 0 of mixed and progressive, λ in [0, 1] of residual.
    Raises InputError for another kind or a strength out of range.
    """
    if kind not in NOISES:
        raise InputError(f'initial noise "{kind}" does not exist; choose one of: {", ".join(NOISES)}')
    if strength < 0 or (kind == "residual" and strength > 1):
        raise InputError(f'initial noise "{kind}": a strength of {strength} is out of range (ρ ≥ 0, λ in [0, 1])')
    if kind == "independent":
        return independent
    if kind == "shared":
        return shared.expand_as(independent)
    share = strength if kind == "residual" else strength**2 / (1 + strength**2)
    if kind == "progressive":
        frames = [independent[0]]
        for own in independent[1:]:
            frames.append(math.sqrt(share) * frames[-1] + math.sqrt(1 - share) * own)
        return torch.stack(frames)
    return math.sqrt(share) * shared + math.sqrt(1 - share) * independent
