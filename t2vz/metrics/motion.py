"""Measured global motion: by how many pixels did the picture's content move, to a fraction of a pixel?

By phase correlation (Kuglin & Hines 1975): a shift of the picture is a linear phase of its Fourier transform, so the
inverse transform of the normalised cross spectrum has its peak at the shift. What was asked for is E7: the camera goes
along +δ^k = λ(k−1)δ, so the content goes along −δ^k.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..motion import global_motion
from ..motion.flow import RELEASE_FIELD
from ..video.frames import check_frames, check_masks

PEAK_WIDTH = 1.0  # pixels, standard deviation of the peak: the cross spectrum is damped to make it a Gaussian
TRIED = 12  # peaks of the phase correlation that are tried out
LEAST_OVERLAP = 0.25  # of the frame that must be seen in both, for a shift to be believed
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
ON_CPU = {"dtype": torch.float64, "device": "cpu"}


@dataclass(frozen=True)
class Shifts:
    """pixels (n, 2), float64: how far the content moved, (right, down). match (n,): correlation, −1 to 1, of what both
    frames show once it is moved back; 1 says that nothing but the shift happened."""

    pixels: Tensor
    match: Tensor


def measured_motion(frames: np.ndarray, masks: Tensor | None = None) -> Shifts:
    """The content's shift from frame 1 to frames 2 … m.

    frames uint8 (m, H, W, 3), m ≥ 2. masks (m, 1, H, W) in [0, 1], 1 where not to look: the background's motion is
    measured where the foreground is not. A property, neither good nor bad: compare with −`requested_motion`. Reliable
    up to about a third of the frame; beyond half of it a shift is not found.
    """
    grey = torch.from_numpy(check_frames(frames, least=2) @ np.float64(LUMA))
    weights = torch.ones_like(grey) if masks is None else 1.0 - check_masks(masks, *grey.shape)[:, 0]
    found = [content_shift(grey[0], after, weights[0], weight) for after, weight in zip(grey[1:], weights[1:])]
    found = torch.tensor(found, **ON_CPU)
    return Shifts(found[:, :2], found[:, 2])


def content_shift(
    before: Tensor, after: Tensor, weight_before: Tensor | None = None, weight_after: Tensor | None = None
) -> tuple[float, float, float]:
    """(x, y, match) with after(p) ≈ before(p − (x, y)): grey pictures (H, W) of any scale, weights (H, W) in [0, 1].

    The highest peaks of the phase correlation are tried out, and the one taken under which the overlapping parts agree
    best (Preibisch et al. 2009): masks and new content make false peaks. Then once more on the overlap alone: a window
    that is fixed to the frame pulls a large shift towards 0.
    """
    one, other = (torch.ones_like(before) if weight is None else weight for weight in (weight_before, weight_after))
    surface = phase_correlation(_windowed(before, one), _windowed(after, other))
    tried = [(*peak, agreement(before, after, one, other, *peak)) for peak in [(0, 0), *_highest(surface)]]
    x, y, match = max(tried, key=lambda shift: shift[2])  # of equals the first: a picture without detail stands still
    before, one = (_overlap(part, -x, -y) for part in (before, one))
    after, other = (_overlap(part, x, y) for part in (after, other))
    rest_x, rest_y = _top_near_zero(phase_correlation(_windowed(before, one), _windowed(after, other)))
    return x + rest_x, y + rest_y, match


def phase_correlation(before: Tensor, after: Tensor) -> Tensor:
    """The surface (h, w) of two pictures (h, w) taken as periodic: 1 at [y, x] if after is before rolled by (x, y).

    The cross spectrum keeps its phases and is damped, so that the peak is a Gaussian `PEAK_WIDTH` wide, whose top can
    be found between pixels.
    """
    height, width = before.shape
    cross = torch.fft.rfft2(after) * torch.fft.rfft2(before).conj()
    fy, fx = torch.fft.fftfreq(height, **ON_CPU), torch.fft.rfftfreq(width, **ON_CPU)
    damping = torch.exp(-2 * (torch.pi * PEAK_WIDTH) ** 2 * (fy[:, None] ** 2 + fx[None] ** 2))
    size = cross.abs()
    phases = cross / size.clamp_min(1e-9 * float(size.max()) + 1e-30)  # what is as weak as rounding has no phase
    surface, perfect = (torch.fft.irfft2(damping * x, s=(height, width)) for x in (phases, torch.ones_like(cross)))
    return surface / perfect[0, 0]


def agreement(before: Tensor, after: Tensor, weight_before: Tensor, weight_after: Tensor, x: int, y: int) -> float:
    """Weighted correlation, −1 to 1, of what both pictures (H, W) show if the content moved by whole pixels (x, y).

    −1 as well if that is too little, under `LEAST_OVERLAP` of the frame.
    """
    weight = _overlap(weight_before, -x, -y) * _overlap(weight_after, x, y)
    if weight.sum() <= LEAST_OVERLAP * before.numel() * weight_before.mean():
        return -1.0
    parts = [_overlap(before, -x, -y), _overlap(after, x, y)]
    a, b = (part - (weight * part).sum() / weight.sum() for part in parts)
    spread = ((weight * a * a).sum() * (weight * b * b).sum()).sqrt()
    return float((weight * a * b).sum() / spread.clamp_min(1e-12)) if spread > 0 else 1.0


def motion_per_frame(pixels: Tensor) -> Tensor:
    """The steady motion behind shifts against frame 1, (m−1, 2) -> (2,) pixels a frame, the content's.

    The median of the slopes between all pairs of frames (Theil 1950, Sen 1968), which a few frames measured wrong do
    not disturb.
    """
    path = torch.cat([torch.zeros(1, 2, **ON_CPU), pixels.double()])
    i, j = torch.triu_indices(len(path), len(path), offset=1, device="cpu")
    # not Tensor.median, which takes the lower of two middle values and so would lean to the left and up
    return ((path[j] - path[i]) / (j - i)[:, None]).quantile(0.5, dim=0)


def requested_motion(motion: tuple[float, float], frames: int, height: int, width: int) -> Tensor:
    """δ^k of E7 in pixels of an H×W video, frames 2 … m: (m−1, 2). motion: λ·(δ_x, δ_y) in 1/512ths of the frame."""
    size = torch.tensor([width, height], **ON_CPU)
    return global_motion(motion, frames)[1:] * size / RELEASE_FIELD


def asked_motion(settings: Mapping) -> tuple[float, float] | None:
    """The camera's motion that a run's settings ask for, λ·(δ_x, δ_y) in 1/512ths of the frame; (0, 0) if it is off.

    None if it is no mere translation. settings: by name, as a run file has them; under the flow convention "exact"
    (`translation_flow`) motion is in pixels.
    """
    if settings.get("zoom", 1) != 1 or settings.get("rotation", 0) != 0:
        return None
    x, y = settings["motion"] or (0.0, 0.0)
    if settings.get("flow_convention") == "exact":
        return x * RELEASE_FIELD / settings["width"], y * RELEASE_FIELD / settings["height"]
    return x, y


def motion_error(pixels: Tensor, requested: Tensor) -> float:
    """Mean distance, in pixels, between the measured shifts (n, 2) and −requested (n, 2), both in pixels.

    0 or more, lower is better: the camera went as asked. The warp moves whole latent cells of 8 pixels, so up to about
    4 pixels are the method's own rounding.
    """
    if pixels.shape != requested.shape:
        raise InputError(f"{tuple(pixels.shape)} shifts for {tuple(requested.shape)} requested ones; give (n, 2) twice")
    return float((pixels.double() + requested.double()).norm(dim=-1).mean())


def _windowed(picture: Tensor, weight: Tensor) -> Tensor:
    """The picture about its mean, faded out towards its edges and where its weight is 0."""
    height, width = picture.shape
    rows, columns = (torch.hann_window(n + 2, periodic=False, **ON_CPU)[1:-1] for n in (height, width))
    window = weight * rows[:, None] * columns[None]
    mean = (window * picture).sum() / window.sum().clamp_min(1e-12)
    return window * (picture - mean)


def _overlap(picture: Tensor, x: int, y: int) -> Tensor:
    """The part of a picture that is left when its first x columns and y rows are cut off (negative: its last)."""
    height, width = picture.shape
    return picture[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]


def _highest(surface: Tensor) -> list[tuple[int, int]]:
    """The `TRIED` highest local maxima of a surface (h, w), as shifts (x, y) of −w/2 … w/2, −h/2 … h/2."""
    height, width = surface.shape
    around = F.max_pool2d(F.pad(surface[None], (2, 2, 2, 2), mode="circular"), 5, stride=1)[0]
    peaks = torch.where(surface == around, surface, -torch.inf).flatten().topk(TRIED).indices.tolist()
    places = [(place % width, place // width) for place in peaks]  # on the circle, where w/2 … w are −w/2 … 0
    return [(x - width * (x > width / 2), y - height * (y > height / 2)) for x, y in places]


def _top_near_zero(surface: Tensor, reach: int = 2) -> tuple[float, float]:
    """(x, y) of the highest point within `reach` of the shift 0, between pixels."""
    near = sorted(range(-reach, reach + 1), key=abs)  # of equals the first: without detail, 0
    y, x = max(((y, x) for y in near for x in near), key=lambda place: float(surface[place]))
    return (x + _top(surface[y, [x - 1, x, x + 1]]), y + _top(surface[[y - 1, y, y + 1], x]))


def _top(three: Tensor) -> float:
    """Where between −1 and 1 the Gaussian through three samples has its top."""
    left, middle, right = three.clamp_min(1e-12).log().tolist()
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (left - right) / bend))
