"""Where the frames' latents start when motion dynamics is off: ways to draw m initial noises, for ablations.

Each takes independent draws ε^k ~ N(0, I), (m, c, h, w), and returns (m, c, h, w) with the same marginal N(0, I);
they differ in how neighbouring frames are correlated.
"""

import math

import torch
from torch import Tensor

from ..errors import InputError

NOISES = ("independent", "shared", "mixed", "progressive", "residual")


def correlate(independent: Tensor, kind: str, strength: float = 1.0) -> Tensor:
    """Turn independent noise (m, c, h, w) into the named kind.

    independent  as it is (the naive baseline)
    shared       every frame gets frame 1's (what ControlNet videos use, E14)
    mixed        √(ρ²/(1+ρ²))·ε_shared + √(1/(1+ρ²))·ε^k          (PYoCo, arXiv 2305.10474)
    progressive  ε'^k = ρ/√(1+ρ²)·ε'^{k−1} + 1/√(1+ρ²)·ε^k          (PYoCo, auto-regressive)
    residual     √λ·ε_base + √(1−λ)·ε^k, λ = strength in [0, 1]      (VideoFusion, arXiv 2303.08320)

    strength: ρ ≥ 0 of mixed and progressive, λ of residual. The first frame's draw is the shared one, and frame 1
    starts from it as drawn, so that all kinds show the same first frame.
    Raises InputError for another kind or a strength out of range.
    """
    if kind not in NOISES:
        raise InputError(f'initial noise "{kind}" does not exist; choose one of: {", ".join(NOISES)}')
    if strength < 0 or (kind == "residual" and strength > 1):
        raise InputError(f'initial noise "{kind}": a strength of {strength} is out of range (ρ ≥ 0, λ in [0, 1])')
    if kind == "independent":
        return independent
    if kind == "shared":
        return independent[:1].expand_as(independent)
    share = strength if kind == "residual" else strength**2 / (1 + strength**2)
    frames = [independent[0]]
    for own in independent[1:]:
        common = frames[-1] if kind == "progressive" else independent[0]
        frames.append(math.sqrt(share) * common + math.sqrt(1 - share) * own)
    return torch.stack(frames)
