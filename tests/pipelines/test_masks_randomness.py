"""Foreground masks from attention (E13), Otsu's threshold by brute force; and the noise's rules."""

import math
from types import SimpleNamespace

import pytest
import torch
from tiny import refused

from t2vz.pipelines.masks import AttentionRecord, foreground_from_attention, otsu_threshold
from t2vz.pipelines.randomness import Noise
from t2vz.pipelines.settings import Settings


def otsu_by_brute_force(values):
    """The largest between-class variance over all splits of the sorted values."""
    ordered = sorted(values.flatten().tolist())
    return max(between(ordered[:i], ordered[i:]) for i in range(1, len(ordered)))


def between(below, above):
    if not below or not above:
        return 0.0
    return len(below) * len(above) * (sum(below) / len(below) - sum(above) / len(above)) ** 2


@pytest.mark.parametrize("seed", range(6))
def test_otsu_threshold_separates_as_well_as_the_best_split_by_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(110 + 20 * seed, generator=generator)
    values[80:] += 2 + seed
    threshold = otsu_threshold(values)
    reached = between(values[values <= threshold].tolist(), values[values > threshold].tolist())
    assert reached >= 0.995 * otsu_by_brute_force(values)  # 256 bins, so not every split can be named


def test_otsu_threshold_of_two_values_stands_between_them_and_of_one_value_is_that_value():
    assert 0.25 < otsu_threshold(torch.tensor([0.2] * 9 + [0.8] * 3)) < 0.75
    assert otsu_threshold(torch.full((3, 4), 0.7)) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "height, width, kept, left", [(64, 48, [64 * 48, 32 * 24, 16 * 12], [8 * 6, 5]), (7, 9, [63, 20, 6], [2])]
)
def test_layers_from_full_to_quarter_size_are_kept_odd_ones_rounded_up(height, width, kept, left):
    record = AttentionRecord(height, width)
    for cells in kept + left:
        record.add(str(cells), 0, torch.zeros(1, 1, cells, 77))
    assert record.layers == list(map(str, kept))


@pytest.mark.parametrize("layers", [(1,), (1, 2), (2, 4, 8)])
def test_foreground_is_where_the_subject_s_words_are_read(layers):
    """Cells of a square in frame k read tokens 2 and 3 (of 1 … 5) more than others; the negative half says nonsense."""
    h, w, m, tokens = 16, 8, 3, 10
    square = torch.zeros(m, h, w)
    for k in range(m):
        square[k, 4:12, 0:4] = 1.0
    square[2] = square[2].flip(-1)  # frame 3's stands on the other side
    record = AttentionRecord(h, w)
    for shrink in layers:
        small = square[:, ::shrink, ::shrink].flatten(1)
        weights = torch.full((2, m, 2, small.shape[1], tokens), 1.0)
        beside = square.flip(-1)[:, ::shrink, ::shrink].flatten(1)  # reads all words more, the subject's no more
        weights[1, :, :, :, 1:6] += 30 * beside[:, None, :, None]
        weights[1, :, :, :, 2:4] += 3 * small[:, None, :, None]
        weights[0, :, :, :, 2:4] += 9 * (1 - small[:, None, :, None])
        record.add(f"layer {shrink}", 0, (weights / weights.sum(-1, keepdim=True)).mean(2))
    tokenizer = SimpleNamespace(positions=lambda *_: [2, 3], encode=lambda _: SimpleNamespace(used=5))
    masks = foreground_from_attention(record, tokenizer, Settings("a", foreground="red ball"))
    assert masks.shape == (m, 1, h, w) and set(masks.flatten().tolist()) == {0.0, 1.0}
    if layers[0] == 1:
        assert torch.equal(masks[:, 0], square)
    else:  # seen only at half size: right but for the rim
        assert float((masks[:, 0] != square).float().mean()) < 0.1


def test_record_means_over_heads_sums_over_timesteps_and_joins_chunks(device):
    """Against softmax by hand; layers between frames, and small ones, are left out."""
    q, k = torch.randn(2, 4, 3, 9, 8), torch.randn(2, 1, 3, 7, 8)
    weights = torch.einsum("bfhnc,bhlc->bfhnl", q, k[:, 0]).div(8**0.5).softmax(-1)
    record = AttentionRecord(9, 10)  # a quarter is 3 × 3 cells
    for _ in range(2):  # two timesteps; the second chunk comes first, to see that order is by frame
        record("mid", 3, q[:, 3:].to(device), k.to(device), None)
        record("mid", 0, q[:, :3].to(device), k.to(device), None)
    record("frames", 0, q.to(device), k.to(device), [(0,)] * 4)
    record("other", 0, q[:, :, :, :8].to(device), k.to(device), None)
    maps = record.map("mid")
    assert record.layers == ["mid"] and maps.device.type == "cpu"
    torch.testing.assert_close(maps, 2 * weights.mean(dim=2))
    torch.testing.assert_close(maps.sum(-1), torch.full((2, 4, 9), 2.0))


def test_a_draw_is_fixed_by_seed_name_and_frame_alone():
    noise = Noise(7)
    latent = noise.draw("forward", 3, (4, 6, 5))
    assert latent.dtype == torch.float32 and latent.device.type == "cpu"
    assert torch.equal(latent, Noise(7).draw("forward", 3, (4, 6, 5)))
    assert torch.equal(latent, noise.draw("forward", 3, (4, 6, 5)))  # no hidden state is used up
    for other, name, frame in ((Noise(8), "forward", 3), (noise, "initial", 3), (noise, "forward", 2)):
        assert not torch.equal(latent, other.draw(name, frame, (4, 6, 5)))


def test_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = Noise(7).draw("x_T", 0, (4, 2, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(Noise(7).draw("x_T", 0, (4, 2, 2)), first)


def test_difference_5_frame_k_does_not_depend_on_how_many_or_which_are_asked_for():
    noise = Noise(7)
    many = noise.frames("forward", range(1, 9), (4, 3, 3))
    assert torch.equal(noise.frames("forward", range(1, 4), (4, 3, 3)), many[:3])
    assert torch.equal(noise.frames("forward", range(5, 9), (4, 3, 3)), many[4:])
    assert len({float(frame.sum()) for frame in many}) == 8  # no two frames get the same


def test_draws_are_standard_normal_and_independent_of_each_other():
    """50 frames of 4096: a mean strays by 1/64 = 0.016, a variance by 0.022, a correlation by 0.016; five of those."""
    frames = Noise(0).frames("initial", range(50), (4, 32, 32)).flatten(1)
    assert float(frames.mean(dim=1).abs().max()) < 5 / 64
    assert float((frames.var(dim=1) - 1).abs().max()) < 5 * math.sqrt(2 / 4096)
    correlation = torch.corrcoef(frames) - torch.eye(50)
    assert float(correlation.abs().max()) < 5 / 64


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
def test_any_seed_works(seed):
    assert bool(torch.isfinite(Noise(seed).draw("x_T", 0, (4, 2, 2))).all())


def test_the_caller_s_tensor_takes_the_draw_s_place():
    given = torch.arange(2 * 36.0).reshape(2, 4, 3, 3)
    assert torch.equal(Noise(7, {"forward": given}).frames("forward", range(1, 3), (4, 3, 3)), given)
    assert torch.equal(Noise(7, {"forward": given}).frames("forward", [2], (4, 3, 3)), given[1:])  # frame 3's
    assert torch.equal(Noise(7, {"eta": given[None]}).step("eta", 0, 981, [1], (4, 3, 3)), given[1:])
    refused(lambda: Noise(7, {"x_t": given}), "x_t")


def test_no_frames_need_no_noise():
    assert Noise(7).frames("forward", range(1, 1), (4, 3, 3)).shape == (0, 4, 3, 3)
