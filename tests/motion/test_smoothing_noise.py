"""E13, background smoothing, against its formula cell by cell; and the initial noises against their exact
covariances."""

from functools import partial

import pytest
import tiny
import torch
from tiny import refused

from t2vz.motion import (
    NOISES,
    background_mask,
    correlate,
    dilate,
    global_motion,
    mask_to_latent,
    smooth_background,
    translation_flow,
    warp,
)

CONVENTIONS = ("release", "paper")


random = partial(tiny.random, dtype=torch.float64)


@pytest.fixture
def scene(device):
    """Four frames' latents, random foregrounds, and a camera that moves by one cell and more."""
    x, foreground = random(4, 4, 12, 12), (random(4, 1, 12, 12, seed=1) > 0.8).double()
    return x.to(device), foreground.to(device), translation_flow(global_motion((60.0, -90.0), 4), 12, 12)


def background_by_loop(foreground, flow, convention):
    """Where neither frame k's foreground is nor (release) the cell of frame 1 that arrives there was foreground."""
    m, _, h, w = foreground.shape
    arrived = warp(torch.arange(h * w).double().view(1, 1, h, w), flow).long()
    out = torch.zeros(m, 1, h, w, dtype=torch.float64)
    for k in range(m):
        for i in range(h):
            for j in range(w):
                hidden = foreground[k, 0, i, j] > 0
                if convention == "release":
                    hidden = hidden or foreground[0].flatten()[arrived[k, 0, i, j]] > 0
                out[k, 0, i, j] = 0.0 if hidden else 1.0
    return out


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_e13_background_mask_equals_a_loop_over_cells(scene, convention):
    _, foreground, flow = scene
    expected = background_by_loop(foreground.cpu(), flow, convention)
    assert torch.equal(background_mask(foreground, flow, convention).cpu(), expected)


def test_e13_release_background_is_smaller_than_the_paper_s(scene):
    _, foreground, flow = scene
    release, paper = (background_mask(foreground, flow, convention) for convention in ("release", "paper"))
    assert bool((release <= paper).all()) and float(release.sum()) < float(paper.sum())


def test_e13_an_unknown_background_convention_is_refused(scene):
    refused(lambda: background_mask(scene[1], scene[2], "papper"), "papper")


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.6, 1.0])
def test_e13_equals_its_formula_cell_by_cell(scene, convention, alpha):
    """Exactly in the foreground; everywhere with α = 0 (nothing changes) and 1 (frame 1's warped background)."""
    x, foreground, flow = (tensor.cpu() for tensor in scene)
    background = background_by_loop(foreground, flow, convention).bool().expand_as(x)
    smoothed = smooth_background(*scene, alpha, convention).cpu()
    expected = torch.where(background, alpha * warp(x[:1], flow) + (1 - alpha) * x, x)
    expected[0] = x[0]
    torch.testing.assert_close(smoothed, expected, rtol=1e-15, atol=1e-15)
    exact = ~background[1:] | (alpha in (0, 1))
    assert torch.equal(smoothed[1:][exact], expected[1:][exact]) and bool(background[1:].any())


def test_e13_frame_1_is_unchanged_even_if_its_own_flow_is_not_zero(scene):
    x, foreground, flow = scene
    smoothed = smooth_background(x, foreground, flow + 3, 1.0)
    torch.testing.assert_close(smoothed[0], x[0], rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_e13_alpha_out_of_range_is_refused(scene, alpha):
    refused(lambda: smooth_background(*scene, alpha), str(alpha))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_dilation_is_the_maximum_over_the_neighbourhood(device, size):
    masks = (random(2, 1, 7, 9, seed=3) > 1.5).double()
    grown = dilate(masks.to(device), size).cpu()
    r = size // 2
    for k in range(2):
        for i in range(7):
            for j in range(9):
                around = masks[k, 0, max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1]
                assert float(grown[k, 0, i, j]) == float(around.max())


def test_masks_come_to_latent_size_by_nearest_neighbour(device):
    """Cell (i, j) shows pixel (8i, 8j), above ½ is foreground: no grey is made, even of grey masks."""
    masks = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    small = mask_to_latent(masks.to(device), 4, 6).cpu()
    assert torch.equal(small, (masks[:, :, ::8, ::8] > 0.5).float())
    assert torch.equal(mask_to_latent(masks.bool().to(device), 4, 6).cpu(), torch.ones(2, 1, 4, 6))


@pytest.mark.parametrize(
    "kind, strength, correlation",
    [
        ("independent", 1.0, lambda i, j: 0.0),
        ("shared", 1.0, lambda i, j: 1.0),
        ("mixed", 1.0, lambda i, j: 0.5),
        ("mixed", 3.0, lambda i, j: 0.9),
        ("mixed", 0.0, lambda i, j: 0.0),
        ("progressive", 1.0, lambda i, j: 0.5 ** (abs(i - j) / 2)),
        ("progressive", 3.0, lambda i, j: 0.9 ** (abs(i - j) / 2)),
        ("residual", 0.25, lambda i, j: 0.25),
        ("residual", 1.0, lambda i, j: 1.0),
    ],
)
def test_initial_noises_have_unit_variance_and_the_documented_correlations(device, kind, strength, correlation):
    """Unit vectors stand for the draws: a frame's entries are its coefficients, their products the exact
    covariances."""
    m = 5
    basis = torch.eye(m + 1, dtype=torch.float64, device=device)[:, :, None, None]
    frames = correlate(basis[1:], basis[:1], kind, strength).flatten(1)
    covariance = (frames @ frames.T).cpu()
    expected = [[1.0 if i == j else correlation(i, j) for j in range(m)] for i in range(m)]
    torch.testing.assert_close(covariance, torch.tensor(expected).double())


def test_independent_and_shared_noise_are_the_draws_themselves(device):
    independent, shared = random(3, 4, 5, 5).to(device), random(1, 4, 5, 5, seed=1).to(device)
    assert torch.equal(correlate(independent, shared, "independent"), independent)
    assert torch.equal(correlate(independent, shared, "shared"), torch.cat([shared] * 3))


@pytest.mark.parametrize("kind", NOISES)
def test_frame_k_of_every_noise_does_not_depend_on_how_many_follow(device, kind):
    independent, shared = random(5, 4, 3, 3).to(device), random(1, 4, 3, 3, seed=1).to(device)
    assert torch.equal(correlate(independent, shared, kind, 0.5)[:3], correlate(independent[:3], shared, kind, 0.5))


@pytest.mark.parametrize(
    "kind, strength, said", [("white", 1.0, "white"), ("mixed", -1.0, "-1.0"), ("residual", 1.5, "1.5")]
)
def test_impossible_noises_are_refused(device, kind, strength, said):
    x = torch.zeros(2, 4, 3, 3, device=device)
    refused(lambda: correlate(x, x[:1], kind, strength), said)
