"""Measures on pixels: exact warps, a still background, histograms by counting, PSNR by its formula."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from t2vz.errors import InputError
from t2vz.metrics import background_change, histogram_similarity, psnr, warp_error


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def travelling(m=4, side=40, step=(3, -2), seed=0):
    """m views of one noise picture, the camera going `step` = (x, y) pixels a frame: exact warps of frame 1."""
    large = noise(side + 40, side + 40, 3, seed=seed)
    corners = [(20 + step[0] * k, 20 + step[1] * k) for k in range(m)]
    return np.stack([large[y : y + side, x : x + side] for x, y in corners])


def test_warp_error_is_zero_for_exact_warps_and_large_for_others():
    frames, offsets = travelling(), torch.arange(4)[:, None] * torch.tensor([3.0, -2.0])
    assert warp_error(frames, offsets) == pytest.approx(0, abs=1e-6)
    assert warp_error(frames, -offsets) > 60 and warp_error(frames, torch.zeros(4, 2)) > 60
    dense = offsets[:, :, None, None].expand(-1, -1, 40, 40)
    assert warp_error(frames, dense) == warp_error(frames, offsets)


def test_warp_error_equals_a_loop_over_pixels():
    frames, flow = noise(3, 9, 11, 3, seed=2), torch.from_numpy(np.random.default_rng(3).uniform(-4, 4, (3, 2, 9, 11)))
    total = count = 0.0
    for k in (1, 2):
        for i in range(9):
            for j in range(11):
                u, v = j + float(flow[k, 0, i, j]), i + float(flow[k, 1, i, j])
                if not (0 <= u <= 10 and 0 <= v <= 8):
                    continue
                a, b = min(int(u), 9), min(int(v), 7)
                s, t = u - a, v - b
                upper, lower = ((1 - s) * frames[0, row, a] + s * frames[0, row, a + 1] for row in (b, b + 1))
                value = (1 - t) * upper + t * lower
                total, count = total + np.abs(frames[k, i, j] - value).mean(), count + 1
    assert warp_error(frames, flow) == pytest.approx(total / count, rel=1e-6)


def test_background_change_is_zero_for_a_still_background_with_a_moving_thing():
    frames, masks = np.repeat(noise(1, 32, 32, 3), 5, axis=0), torch.zeros(5, 1, 32, 32)
    for k in range(5):
        frames[k, 10:20, 4 * k : 4 * k + 9] = (250, 0, 0)
        masks[k, 0, 10:20, 4 * k : 4 * k + 9] = 1
    assert background_change(frames, masks) == 0
    assert background_change(frames, torch.zeros_like(masks)) > 1
    frames[3, 28:] = 255 - frames[3, 28:]
    assert background_change(frames, masks) > 1


def test_background_change_follows_the_camera():
    frames, offsets = travelling(step=(0, 4)), torch.arange(4)[:, None] * torch.tensor([0.0, 4.0])
    masks = torch.zeros(4, 1, 40, 40)
    assert background_change(frames, masks, offsets) == pytest.approx(0, abs=1e-6)
    assert background_change(frames, masks) > 60


def test_range_of_warp_error_and_nothing_to_compare():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1] = 255
    assert warp_error(frames, torch.zeros(2, 2)) == pytest.approx(255)
    assert warp_error(frames, torch.full((2, 2), 50.0)) is None
    assert background_change(frames, torch.ones(2, 1, 8, 8)) is None
    with pytest.raises(InputError, match="pixels"):
        warp_error(frames, torch.zeros(2, 2, 4, 4))


def test_histograms_by_counting():
    frames = noise(3, 12, 10, 3, seed=4)
    overlap = []
    for a, b in zip(frames, frames[1:]):
        counted = [{}, {}]
        for cell, picture in zip(counted, (a, b)):
            for pixel in picture.reshape(-1, 3) // 64:
                cell[tuple(pixel)] = cell.get(tuple(pixel), 0) + 1
        overlap.append(sum(min(n, counted[1].get(key, 0)) for key, n in counted[0].items()) / 120)
    assert histogram_similarity(frames, bins=4) == pytest.approx(np.mean(overlap))


def test_histograms_see_colours_and_not_places():
    frames = noise(4, 16, 16, 3, seed=5)
    moved = np.stack([np.roll(frames[0], (3 * k, 5 * k), (0, 1)) for k in range(4)])
    assert histogram_similarity(moved) == 1.0
    assert histogram_similarity(np.stack([frames[0] // 4, 192 + frames[0] // 4])) == 0.0


def test_psnr_against_torchmetrics():
    one, other = noise(3, 20, 24, 3, seed=6), noise(3, 20, 24, 3, seed=7)
    others = np.stack([one[0] ^ 1, one[1] // 2, other[2]])
    pair = (torch.from_numpy(one).double(), torch.from_numpy(others).double())
    wanted = peak_signal_noise_ratio(*pair, data_range=255.0, dim=(1, 2, 3), reduction="elementwise_mean")
    assert psnr(one, others) == pytest.approx(float(wanted), rel=1e-6)
    assert psnr(one, one) == pytest.approx(120)
    with pytest.raises(InputError, match="same sizes"):
        psnr(one, others[:2])
