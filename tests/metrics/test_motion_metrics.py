"""Measured motion against pictures that were moved by a known amount, whole pixels and fractions, and E7's request."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from t2vz.metrics import content_shift, measured_motion, motion_error, motion_per_frame, requested_motion
from t2vz.metrics.motion import asked_motion, phase_correlation
from t2vz.world import paint, sample_scene

UP = 4  # a scene is painted so many times larger: a quarter of a pixel is one of its pixels


def window(scene, offsets, side=96, margin=32):
    """Views through a window over a larger painted scene, moved by `offsets` (x, y) in quarters of a pixel: the content
    moves against the window, and what comes in at the edge is new. uint8 (n, side, side, 3)."""
    large = paint(scene, (side + 2 * margin) * UP).astype(float)
    frames = []
    for x, y in offsets:
        top, left = margin * UP + y, margin * UP + x
        view = large[top : top + side * UP, left : left + side * UP]
        frames.append(view.reshape(side, UP, side, UP, 3).mean(axis=(1, 3)).round())
    return np.stack(frames).astype(np.uint8)


def scene(i):
    return sample_scene(np.random.default_rng([21, i]))


@pytest.mark.parametrize("i", range(6))
def test_e7_known_shifts_are_found_to_a_tenth_of_a_pixel(i):
    """Shifts of up to 24 of 96 pixels, in quarters: the content moves against the window."""
    offsets = np.random.default_rng(i).integers(-96, 97, (5, 2))
    offsets[0] = 0
    found = measured_motion(window(scene(i), offsets))
    np.testing.assert_allclose(found.pixels.numpy(), -offsets[1:] / UP, atol=0.1)
    assert (found.match > 0.9).all()


def test_whole_pixels_on_a_torus_are_exact():
    """A picture rolled round is a pure phase: before any window or crop, the correlation itself."""
    picture = torch.rand(40, 56, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for y, x in ((0, 0), (3, -7), (-12, 20), (19, 27)):
        surface = phase_correlation(picture, picture.roll((y, x), (0, 1)))
        assert float(surface[y, x]) == pytest.approx(1, abs=1e-6) and int(surface.argmax()) == (y % 40) * 56 + x % 56


def test_identical_frames_do_not_move_and_unlike_ones_say_so():
    still = np.repeat(window(scene(3), [(0, 0)]), 4, axis=0)
    found = measured_motion(still)
    assert found.pixels.abs().max() < 1e-6 and found.match.min() > 0.999
    unlike = np.concatenate([window(scene(i), [(0, 0)]) for i in range(4)])
    assert measured_motion(unlike).match.max() < 0.9


def test_masks_leave_the_background_s_motion():
    """A large thing moves right while the place behind it moves left: with masks only the place counts."""
    side, big = 96, 160
    rng = np.random.default_rng(6)
    place = torch.from_numpy(rng.integers(90, 166, (1, 3, big // 5, big // 5))).double()
    place = F.interpolate(place, size=(big, big), mode="bicubic").clamp(0, 255)[0].permute(1, 2, 0).byte().numpy()
    thing = np.repeat(np.repeat(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), 4, axis=0), 4, axis=1)
    frames, masks = [], torch.zeros(4, 1, side, side)
    for k in range(4):
        frame = place[32 : 32 + side, 32 + 5 * k : 32 + 5 * k + side].copy()
        frame[24:72, 8 + 9 * k : 56 + 9 * k] = thing
        masks[k, 0, 22:74, 6 + 9 * k : 58 + 9 * k] = 1
        frames.append(frame)
    frames, steps = np.stack(frames), torch.arange(1, 4)[:, None]
    background = measured_motion(frames, masks).pixels
    assert (background - steps * torch.tensor([-5.0, 0.0])).abs().max() < 0.5
    everything = measured_motion(frames).pixels
    assert (everything - steps * torch.tensor([9.0, 0.0])).abs().max() < 0.5  # without them the loud thing wins


def test_motion_per_frame_withstands_one_wrong_frame():
    pixels = torch.arange(1, 8)[:, None] * torch.tensor([[-3.0, 1.5]], dtype=torch.float64)
    assert torch.allclose(motion_per_frame(pixels), torch.tensor([-3.0, 1.5], dtype=torch.float64))
    pixels[3] += 40
    assert (motion_per_frame(pixels) - torch.tensor([-3.0, 1.5])).abs().max() < 0.5


@pytest.mark.parametrize("frames", range(2, 9))
def test_motion_per_frame_leans_to_no_side(frames):
    """A mirrored path is the mirrored motion, also where an even number of slopes has two middle ones."""
    path = torch.randn(frames - 1, 2, generator=torch.Generator().manual_seed(frames), dtype=torch.float64).cumsum(0)
    assert torch.allclose(motion_per_frame(-path), -motion_per_frame(path), atol=1e-12)
    places = [np.zeros(2), *path.numpy()]
    slopes = [(places[j] - places[i]) / (j - i) for j in range(frames) for i in range(j)]
    assert motion_per_frame(path).tolist() == pytest.approx(np.median(slopes, axis=0).tolist())


@pytest.mark.parametrize("height, width", [(128, 128), (256, 128), (64, 192)])
def test_both_flow_conventions_are_one_unit(height, width):
    """12 pixels are 12 pixels, and 12/512ths of the frame stay so."""
    for convention, factor in (("exact", np.array([1, 1])), ("release", np.array([width, height]) / 512)):
        settings = {"motion": (12.0, -5.0), "flow_convention": convention, "height": height, "width": width}
        asked = requested_motion(asked_motion(settings), 2, height, width)
        assert asked[0].tolist() == pytest.approx((factor * [12, -5]).tolist())


def test_e7_request_in_pixels_and_error():
    asked = requested_motion((12.0, -6.0), 4, 256, 128)  # 1/512ths of 128 wide and 256 high
    assert asked.tolist() == [[3.0 * k, -3.0 * k] for k in (1, 2, 3)]
    assert motion_error(-asked, asked) == 0
    assert motion_error(-asked + torch.tensor([3.0, 4.0]), asked) == pytest.approx(5.0)


def test_pictures_without_any_detail_do_not_move():
    x, y, _ = content_shift(torch.full((32, 32), 7.0).double(), torch.full((32, 32), 9.0).double())
    assert (x, y) == (0.0, 0.0)
    frames = window(scene(2), [(0, 0), (20, 0)])
    assert measured_motion(frames, torch.ones(2, 1, 96, 96)).pixels.tolist() == [[0, 0]]  # nothing is left to look at
