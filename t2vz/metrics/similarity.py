"""What is computed from CLIP's vectors: E16, the CLIP score, and frame consistency. Plain arithmetic, no network.

Vectors come from `clip_model.embed_images` and `embed_texts`, or from anywhere else; they need not have length 1.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


class Consistency(NamedTuple):
    """Mean cosines between frames: each with the next, each with the first."""

    next: float
    first: float


def clip_score(images: Tensor, text: Tensor) -> float:
    """E16: the mean over frames of 100·max(cos(image, text), 0). images (m, d), text (d,).

    Range 0 to 100, higher is better: the frames show what the text says. Comparable only under the same CLIP. Source:
    Hessel et al. 2021, arXiv 2104.08718 (there with weight 2.5 in place of 100); Text2Video-Zero, §4.2.
    """
    _check(images, 1)
    if text.shape != images.shape[1:]:
        raise InputError(f"a text vector {tuple(text.shape)} for image vectors {tuple(images.shape)}; give (d,)")
    return float(100 * F.cosine_similarity(images.double(), text.double(), dim=-1).clamp_min(0).mean())


def frame_consistency(images: Tensor) -> Consistency:
    """How alike the frames are to CLIP: images (m, d), m ≥ 2, in the order of the frames.

    next: mean cosine of consecutive frames. first: of frames 2 … m with frame 1, which a slow drift lowers too. Range
    −1 to 1, higher is more alike; still pictures reach 1, so it is no measure of quality by itself. CLIP sees what is
    shown more than where. Source: Esser et al. 2023, arXiv 2302.03011 (consecutive frames).
    """
    _check(images, 2)
    images = images.double()
    return Consistency(*(float(F.cosine_similarity(images[1:], to, dim=-1).mean()) for to in (images[:-1], images[:1])))


def _check(images: Tensor, least: int) -> None:
    if images.ndim != 2 or len(images) < least:
        raise InputError(f"image vectors have shape {tuple(images.shape)}; (m, d) with m of at least {least} is needed")
