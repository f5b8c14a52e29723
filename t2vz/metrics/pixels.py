"""Measures on pixels: warp error, background stability, colour histograms, PSNR. Grey levels are 0 to 255."""

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..motion import warp
from ..motion.warping import cell_grid
from ..video.frames import check_frames, check_masks


def warp_error(frames: np.ndarray, flow: Tensor, masks: Tensor | None = None) -> float | None:
    """Mean |frame k − frame 1 warped by the flow (E8)| over frames 2 … m, in grey levels: 0 to 255, lower is better.

    frames uint8 (m, H, W, 3); flow in pixels, (m, 2, H, W), or (m, 2) for one displacement of the whole frame: frame
    k's pixel p is frame 1's p + flow (bilinear). Only pixels whose counterpart lies inside frame 1 count, and with
    masks (m, 1, H, W), 1 is left out, only those that neither frame's mask covers. 0: the frames are exact warps of
    frame 1. None: no such pixel is left to compare. Source: Lai et al. 2018, arXiv 1808.00449, there with estimated
    optical flow and squares.
    """
    frames = check_frames(frames)
    m, height, width, _ = frames.shape
    flow = flow[:, :, None, None].expand(-1, -1, height, width) if flow.ndim == 2 else flow
    if flow.shape != (m, 2, height, width) or m < 2:
        given = f"{tuple(flow.shape)} for frames {frames.shape[:3]}"
        raise InputError(f"a flow (m, 2, H, W) in pixels, or (m, 2), for at least two frames is needed; got {given}")
    pictures = torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float64))
    counts = _inside(flow[1:])
    if masks is not None:
        free = 1.0 - check_masks(masks, m, height, width)
        counts = counts * free[1:] * warp(free[:1], flow[1:], "nearest")
    if counts.sum() == 0:
        return None
    difference = (pictures[1:] - warp(pictures[:1], flow[1:], "bilinear")).abs().mean(dim=1, keepdim=True)
    return float((counts * difference).sum() / counts.sum())


def background_change(frames: np.ndarray, masks: Tensor, offsets: Tensor | None = None) -> float | None:
    """Background stability: `warp_error` outside the masks, in grey levels; 0 (still) to 255, lower is better.

    masks (m, 1, H, W) in [0, 1], 1 is foreground, as E13's M^k. offsets (m, 2): the camera's motion δ^k in pixels,
    which is followed before comparing; None: the camera stands still. A pixel counts where neither frame k's foreground
    nor frame 1's, moved along, is (E13's background, as the authors' release takes it).
    """
    return warp_error(frames, torch.zeros(len(frames), 2, device="cpu") if offsets is None else offsets, masks)


def histogram_similarity(frames: np.ndarray, bins: int = 8) -> float:
    """Mean overlap of the colour histograms of consecutive frames: Σ min(h_k, h_(k+1)). 0 to 1, higher is more alike.

    frames uint8 (m, H, W, 3), m ≥ 2; bins a colour channel, bins³ in all. It sees which colours there are and how much
    of each, and not where: motion hardly changes it, another look does. Source: Swain & Ballard 1991, Color Indexing.
    """
    frames = check_frames(frames, least=2)
    cells = frames.astype(np.int64) * bins // 256 @ [bins * bins, bins, 1]  # (m, H, W)
    counts = np.stack([np.bincount(frame.ravel(), minlength=bins**3) for frame in cells])
    return float(np.minimum(counts[:-1], counts[1:]).sum(axis=1).mean() / cells[0].size)


def psnr(frames: np.ndarray, others: np.ndarray) -> float:
    """Peak signal to noise in dB, the mean over frames of 10·log10(255²/MSE); higher is closer, equal frames count 120.

    frames, others uint8 (m, H, W, 3).
    """
    frames, others = check_frames(frames), check_frames(others)
    if frames.shape != others.shape:
        raise InputError(f"frames of shape {frames.shape} cannot be compared with {others.shape}; give the same sizes")
    mse = np.square(frames.astype(np.float64) - others).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255.0**2 / np.maximum(mse, 255.0**2 * 1e-12))).mean())


def _inside(flow: Tensor) -> Tensor:
    """1 where p + flow(p) lies inside the frame, 0 elsewhere: (f, 2, H, W) -> (f, 1, H, W), float64."""
    height, width = flow.shape[-2:]
    x, y = (cell_grid(height, width) + flow.cpu().double()).unbind(dim=1)
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).double()[:, None]
