"""E7 and E8: flows and the warp against loops over pixels; docs/method.md, difference 2 (half a pixel), both sides."""

import math
from functools import partial

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import refused

from t2vz.motion import global_motion, similarity_flow, translation_flow, warp

RELEASE_64 = {2: 1, 3: 3, 4: 4, 5: 6, 6: 7}  # frame: cells moved at δ = 12, as measured on the public code
EXACT_64 = {2: 2, 3: 3, 4: 5, 5: 6, 6: 8}  # 12·(k − 1)/8 = 1.5, 3, 4.5, 6, 7.5, ties up
RELEASE_32 = {2: 1, 3: 1, 4: 2, 5: 3}


random = partial(tiny.random, dtype=torch.float64)


def mirrored(i, n):
    """The cell that stands at position i of the row … 1 0 | 0 1 … n−1 | n−1 n−2 …"""
    i %= 2 * n
    return i if i < n else 2 * n - 1 - i


def warp_by_loop(x, flow, mode):
    frames, (c, h, w) = flow.shape[0], x.shape[1:]
    out = torch.zeros(frames, c, h, w, dtype=x.dtype)
    for k in range(frames):
        source = x[k if x.shape[0] > 1 else 0]
        for i in range(h):
            for j in range(w):
                u, v = j + float(flow[k, 0, i, j]), i + float(flow[k, 1, i, j])
                if mode == "nearest":
                    row, column = math.floor(v + 0.5), math.floor(u + 0.5)
                    out[k, :, i, j] = source[:, mirrored(row, h), mirrored(column, w)]
                    continue
                left, top = math.floor(u), math.floor(v)
                for dy in (0, 1):
                    for dx in (0, 1):
                        weight = (1 - abs(u - left - dx)) * (1 - abs(v - top - dy))
                        out[k, :, i, j] += weight * source[:, mirrored(top + dy, h), mirrored(left + dx, w)]
    return out


def measured_shift(before, after, reach=12):
    """The (x, y) for which after(p) = before(p + shift) agrees best on the interior, by trying all."""
    h, w = before.shape[-2:]
    inside = after[..., reach : h - reach, reach : w - reach]
    errors = {}
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            moved = before[..., reach + y : h - reach + y, reach + x : w - reach + x]
            errors[x, y] = float((inside - moved).abs().sum())
    best = min(errors, key=errors.get)
    return best, errors[best]


def release_warp(x, dx, dy):
    """The public code as docs/method.md, difference 2, tells it: a field of 512 × 512, normalised, then resized."""
    y0, x0 = torch.meshgrid(torch.arange(512).double(), torch.arange(512).double(), indexing="ij")
    field = torch.stack([2 * (x0 + dx) / 512 - 1, 2 * (y0 + dy) / 512 - 1])[None]
    field = F.interpolate(field, size=x.shape[-2:], mode="bilinear").permute(0, 2, 3, 1)
    return F.grid_sample(x, field, mode="nearest", padding_mode="reflection", align_corners=False)


def test_e7_offsets_grow_linearly_and_do_not_depend_on_the_number_of_frames():
    offsets = global_motion((12.0, -5.0), 6)
    assert offsets.tolist() == [[12.0 * k, -5.0 * k] for k in range(6)]
    assert torch.equal(global_motion((12.0, -5.0), 3), offsets[:3])


@pytest.mark.parametrize(
    "delta, frames, said",
    [
        ((math.nan, 1.0), 2, "nan"),
        ((math.inf, 1.0), 2, "inf"),
        ((1.0, 2.0, 3.0), 2, "3.0"),
        ((1.0, 1.0), 0, "0"),
        ((1.0, 1.0), -2, "-2"),
    ],
)
def test_e7_impossible_motion_is_refused(delta, frames, said):
    refused(lambda: global_motion(delta, frames), said)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("kind", ["integer", "fractional", "far"])
def test_e8_dense_flow_equals_a_loop_over_pixels_with_mirrored_borders(device, mode, kind):
    x, flow = random(1, 2, 5, 7), 3 * random(3, 2, 5, 7, seed=1)
    flow = {"integer": flow.round(), "fractional": flow, "far": 8 * flow}[kind]  # far: several pictures away
    ours = warp(x.to(device), flow, mode).cpu()
    torch.testing.assert_close(ours, warp_by_loop(x, flow, mode), rtol=1e-6, atol=1e-6)
    if mode == "nearest":
        assert torch.equal(ours, warp_by_loop(x, flow, mode))


def test_e8_a_source_per_frame(device):
    x, flow = random(3, 2, 4, 6), 2 * random(3, 2, 4, 6, seed=1)
    assert torch.equal(warp(x.to(device), flow).cpu(), warp_by_loop(x, flow, "nearest"))


@pytest.mark.parametrize(
    "convention, size, expected", [("release", 64, RELEASE_64), ("exact", 64, EXACT_64), ("release", 32, RELEASE_32)]
)
def test_difference_2_measured_shift_of_a_warped_latent(device, convention, size, expected):
    x = random(1, 2, size, size)
    flow = translation_flow(global_motion((12.0, 12.0), 6), size, size, convention)
    moved = warp(x.to(device), flow).cpu()
    for frame, cells in expected.items():
        assert measured_shift(x, moved[frame - 1 : frame]) == ((cells, cells), 0.0)


def test_difference_2_measured_shift_of_negative_and_unequal_motion(device):
    """−12/8 = −1.5 cells: the slip of the release takes it to −2; an exact tie rounds up, to −1."""
    x = random(1, 2, 64, 64)
    for convention, cells in (("release", (-2, 3)), ("exact", (-1, 3))):
        flow = translation_flow(global_motion((-12.0, 24.0), 2), 64, 64, convention)
        assert measured_shift(x, warp(x.to(device), flow).cpu()[1:]) == (cells, 0.0)


@pytest.mark.parametrize("delta", [(12.0, 12.0), (24.0, -36.0), (-5.0, 0.0), (100.0, 7.0)])
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (24, 40), (64, 96)])
def test_difference_2_release_convention_equals_the_public_code_s_field(device, delta, size):
    x = random(1, 2, *size)
    flow = translation_flow(global_motion(delta, 2), *size, convention="release")
    assert torch.equal(warp(x.to(device), flow).cpu()[1:], release_warp(x, *delta))


def test_difference_2_exact_is_in_pixels_and_release_in_512ths_of_the_frame():
    offsets = global_motion((16.0, 16.0), 2)
    for size in (16, 32, 64, 128):
        assert float(translation_flow(offsets, size, size, "exact")[1, 0, 0, 0]) == 2.0
        release = translation_flow(offsets, size, size, "release")[1, 0, 0, 0]
        assert float(release) == 16.0 * size / 512 - size / 1024


def test_an_unknown_flow_convention_is_refused():
    refused(lambda: translation_flow(global_motion((1.0, 1.0), 2), 8, 8, "relase"), "relase")


def test_e8_sign_content_moves_against_delta(device):
    """A single bright cell at (x, y) = (20, 12), camera moves by (+5, +2) cells: it appears at (15, 10)."""
    x = torch.zeros(1, 1, 32, 32, device=device)
    x[0, 0, 12, 20] = 1.0
    moved = warp(x, translation_flow(torch.tensor([[40.0, 16.0]]), 32, 32, "exact"))
    assert moved.cpu().nonzero().tolist() == [[0, 0, 10, 15]]


def test_e8_half_a_cell_rounds_up_without_doubling_columns(device):
    row = torch.arange(16, dtype=torch.float64, device=device).expand(1, 1, 16, 16)
    moved = warp(row, translation_flow(torch.tensor([[12.0, 12.0]]), 16, 16, "exact"))[0, 0, 0]
    assert moved.tolist() == [*range(2, 16), 15, 14]


@pytest.mark.parametrize("fraction", [0.5, 0.25])
def test_e8_bilinear_shrinks_the_variance_by_the_sum_of_squared_weights(device, fraction):
    x = random(1, 4, 128, 128)
    flow = torch.full((1, 2, 128, 128), fraction)
    expected = (fraction**2 + (1 - fraction) ** 2) ** 2
    assert float(warp(x.to(device), flow, "bilinear").var()) == pytest.approx(expected, rel=0.06)
    assert float(warp(x.to(device), flow, "nearest").var()) == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [32, 200])
def test_e8_half_precision_latents_move_exactly_as_float32_ones(device, dtype, size):
    x = random(1, 1, size, size).to(dtype)
    flow = translation_flow(global_motion((12.0, -7.0), 4), size, size)
    moved = warp(x.to(device), flow)
    assert moved.dtype == dtype
    assert torch.equal(moved.float().cpu(), warp(x.float(), flow))


def test_e8_sizes_that_do_not_fit_are_refused(device):
    x = torch.zeros(2, 4, 8, 8, device=device)
    for shape in [(3, 2, 8, 8), (2, 2, 8, 9), (2, 3, 8, 8), (2, 8, 8)]:
        refused(lambda: warp(x, torch.zeros(shape)), "warp")


def similarity(factor, degrees, height, width):
    return similarity_flow(torch.tensor([factor]), torch.tensor([degrees]), height, width)


def test_zoom_and_rotation_together_are_one_similarity():
    flow = similarity(1.5, 30.0, 7, 11)[0]
    y, x = torch.meshgrid(torch.arange(7).double() - 3, torch.arange(11).double() - 5, indexing="ij")
    read = torch.complex(x + flow[0], y + flow[1])  # turning back by 30° and shrinking is one complex factor
    shrink, turn = torch.tensor([1 / 1.5, -30.0], dtype=torch.float64)
    factor = torch.polar(shrink, torch.deg2rad(turn))
    torch.testing.assert_close(read, torch.complex(x, y) * factor)


def test_zoom_by_three_shows_the_middle_third_with_every_cell_three_times(device):
    x = random(1, 2, 9, 9)
    enlarged = x[..., 3:6, 3:6].repeat_interleave(3, dim=-1).repeat_interleave(3, dim=-2)
    assert torch.equal(warp(x.to(device), similarity(3.0, 0.0, 9, 9)).cpu(), enlarged)


def test_zoom_factor_zero_is_refused():
    refused(lambda: similarity_flow(torch.tensor([1.0, 0.0]), torch.zeros(2), 4, 4), "0.0")


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("degrees, quarters", [(0.0, 0), (90.0, 1), (180.0, 2), (270.0, 3), (360.0, 0), (-90.0, -1)])
def test_rotation_by_quarter_turns_equals_rot90_clockwise(device, size, degrees, quarters):
    x = random(1, 2, size, size)
    turned = warp(x.to(device), similarity(1.0, degrees, size, size)).cpu()
    assert torch.equal(turned, torch.rot90(x, -quarters, dims=(-2, -1)))  # rot90 counts against the clock
