"""E11 and E12: attention against loops, every cross-frame variant against one big masked attention, and the
key/value cache."""

import math
from functools import partial

import pytest
import tiny
import torch
from tiny import refused

from t2vz.attention import (
    VARIANTS,
    FrameView,
    KeyValueCache,
    attention,
    attention_plain,
    attention_weights,
    cross_frame_attention,
    cross_frame_attention_plain,
    cross_frame_weights,
    frames_seen,
    looks_ahead,
)

# Whether query frame i looks at key frame j, counted from 0: VARIANTS said another way. A new variant has its row here.
MAY_SEE = {
    "own": lambda i, j: j == i,
    "first": lambda i, j: j == 0,
    "previous": lambda i, j: j == max(i - 1, 0),
    "first_previous": lambda i, j: j == 0 or j == i - 1,
    "causal": lambda i, j: j <= i,
    "all": lambda i, j: True,
}
IN_CHUNKS = [variant for variant in VARIANTS if not looks_ahead(variant, 6)]


random = partial(tiny.random, dtype=torch.float64)


def masked_reference(q, k, v, variant):
    """All m·n tokens attend to all m·n tokens at once; a boolean mask, token by token, forbids what may not be seen."""
    b, m, heads, n, c = q.shape
    mask = torch.tensor([[MAY_SEE[variant](i // n, j // n) for j in range(m * n)] for i in range(m * n)])
    q, k, v = (x.transpose(1, 2).reshape(b, heads, m * n, c) for x in (q, k, v))
    scores = (q @ k.transpose(-1, -2) / math.sqrt(c)).masked_fill(~mask.to(q.device), -math.inf)
    return (scores.softmax(dim=-1) @ v).reshape(b, heads, m, n, c).transpose(1, 2)


class Layer:
    """Keys and values by two fixed random maps; counts the frames it projects."""

    def __init__(self, device, c=6, heads=2):
        self.maps, self.heads, self.frames = random(3, c, c, seed=9).to(device), heads, 0

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def project(self, tokens):
        self.frames += tokens.shape[1]
        return self.split(tokens @ self.maps[1]), self.split(tokens @ self.maps[2])

    def __call__(self, tokens, view, name="layer"):
        keys, values = view.with_earlier(name, *self.project(view.to_project(tokens)))
        return cross_frame_attention(self.split(tokens @ self.maps[0]), keys, values, view.seen)

    def reference(self, tokens, variant):
        q, k, v = (self.split(tokens @ self.maps[i]) for i in range(3))
        return masked_reference(q, k, v, variant)


def in_chunks(layer, tokens, variant, sizes, cache, name="layer"):
    parts, first = [], 0
    for part in tokens.split(sizes, dim=1):
        parts.append(layer(part, FrameView(variant, part.shape[1], first, cache), name))
        first += part.shape[1]
    return torch.cat(parts, dim=1)


def test_e11_attention_equals_loops_over_queries_and_keys(device):
    q, k, v = random(2, 3, 4), random(2, 5, 4, seed=1), random(2, 5, 4, seed=2)
    expected = torch.zeros(2, 3, 4, dtype=torch.float64)
    for head in range(2):
        for i in range(3):
            weights = [math.exp(float(q[head, i] @ k[head, j]) / 2) for j in range(5)]  # √4 = 2
            for j in range(5):
                expected[head, i] += weights[j] / sum(weights) * v[head, j]
    q, k, v = q.to(device), k.to(device), v.to(device)
    torch.testing.assert_close(attention_plain(q, k, v).cpu(), expected)
    torch.testing.assert_close(attention(q, k, v).cpu(), expected)


def test_e11_fused_equals_plain_for_any_leading_axes(device):
    for lead in [(), (2,), (2, 3), (1, 2, 3)]:
        q, k, v = (random(*lead, n, 8, seed=n).to(device) for n in (5, 7, 7))
        torch.testing.assert_close(attention(q, k, v), attention_plain(q, k, v))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_difference_7_softmax_of_half_precision_is_safe_with_large_logits(device, dtype):
    """Logits in the thousands: e^4000 is no number of any float type."""
    q, k, v = (random(2, n, 16, seed=n).to(device, dtype) for n in (9, 300, 301))
    q, k, v = 60 * q, 60 * k, v[:, :300]
    weights = attention_weights(q, k)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    for result in (attention(q, k, v), attention_plain(q, k, v)):
        assert result.dtype == dtype and bool(torch.isfinite(result).all())


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_difference_7_half_precision_attention_is_near_the_exact_one(device, dtype, tolerance):
    q, k, v = (random(2, n, 16, seed=n).to(device, dtype) for n in (9, 400, 400))
    exact = attention_plain(q.double(), k.double(), v.double())
    for result in (attention(q, k, v), attention_plain(q, k, v)):
        assert float((result.double() - exact).abs().max()) < tolerance


@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_seen_is_the_table_of_who_may_see_whom(variant):
    for m in range(1, 7):
        for i in range(m):
            assert frames_seen(variant, i, m) == tuple(j for j in range(m) if MAY_SEE[variant](i, j))


def test_an_unknown_variant_is_refused():
    refused(lambda: frames_seen("frist", 0, 1), "frist")


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_e12_every_variant_equals_one_big_masked_attention(device, variant, m):
    q, k, v = (random(2, m, 3, 5, 4, seed=seed).to(device) for seed in (1, 2, 3))
    seen = [frames_seen(variant, i, m) for i in range(m)]
    expected = masked_reference(q, k, v, variant)
    torch.testing.assert_close(cross_frame_attention(q, k, v, seen), expected)
    torch.testing.assert_close(cross_frame_attention_plain(q, k, v, seen), expected)
    weights = cross_frame_weights(q[:, :, :1], k[:, :, :1], seen)  # of one head the mean over heads is itself
    for i in range(m):
        values = torch.cat([v[:, j, 0] for j in seen[i]], dim=1)
        torch.testing.assert_close(weights[:, i, :, : len(seen[i])].flatten(2) @ values, expected[:, i, 0])


def test_e12_first_frame_attention_is_the_paper_s_formula(device):
    """softmax(Q^k·(K^1)ᵀ/√c)·V^1, frame by frame."""
    q, k, v = (random(1, 4, 2, 5, 8, seed=seed).to(device) for seed in (1, 2, 3))
    frames = cross_frame_attention(q, k, v, [(0,)] * 4)
    for i in range(4):
        weights = (q[:, i] @ k[:, 0].transpose(-1, -2) / math.sqrt(8)).softmax(-1)
        torch.testing.assert_close(frames[:, i], weights @ v[:, 0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_e12_with_one_frame_equals_self_attention_exactly(device, variant, dtype):
    q, k, v = (random(2, 1, 3, 7, 8, seed=seed).to(device, dtype) for seed in (1, 2, 3))
    alone = attention(q[:, 0], k[:, 0], v[:, 0])
    assert torch.equal(cross_frame_attention(q, k, v, [frames_seen(variant, 0, 1)])[:, 0], alone)


@pytest.mark.parametrize("variant", VARIANTS)
def test_difference_4_guidance_halves_do_not_mix(device, variant):
    """Changing the first frame of the text half must leave the unconditional half, which comes first, as it was."""
    layer, tokens = Layer(device), random(2, 3, 5, 6).to(device)
    changed = tokens.clone()
    changed[1, 0] += 1.0
    before, after = layer(tokens, FrameView(variant, 3)), layer(changed, FrameView(variant, 3))
    assert torch.equal(before[0], after[0])
    if any(MAY_SEE[variant](i, 0) for i in (1, 2)):  # not with "own"
        assert not torch.equal(before[1, 1:], after[1, 1:])


def test_difference_4_other_side_one_first_frame_for_both_halves_is_something_else(device):
    """Laid out as one batch of 2·m frames, the text half would look at the unconditional half's first frame."""
    q, k, v = (random(2, 3, 2, 5, 4, seed=seed).to(device) for seed in (1, 2, 3))
    halves = cross_frame_attention(q, k, v, [(0,)] * 3)
    mixed = cross_frame_attention(*(x.reshape(1, 6, 2, 5, 4) for x in (q, k, v)), [(0,)] * 6)[0]
    torch.testing.assert_close(mixed[:3], halves[0])
    assert not torch.allclose(mixed[3:], halves[1])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("m", [1, 4])
def test_frame_view_of_a_whole_video_equals_the_masked_reference(device, variant, m):
    layer, tokens = Layer(device), random(2, m, 5, 6).to(device)
    for cache in (None, KeyValueCache(m)):
        torch.testing.assert_close(layer(tokens, FrameView(variant, m, 0, cache)), layer.reference(tokens, variant))


@pytest.mark.parametrize("variant", IN_CHUNKS)
@pytest.mark.parametrize("sizes", [1, 2, 3, 6, (2, 1, 3)], ids=str)
def test_difference_5_chunks_with_a_cache_equal_the_whole(device, variant, sizes):
    layer, tokens = Layer(device), random(2, 6, 5, 6).to(device)
    chunked = in_chunks(layer, tokens, variant, sizes, KeyValueCache(6))
    torch.testing.assert_close(chunked, layer.reference(tokens, variant))


@pytest.mark.parametrize("variant", [variant for variant in IN_CHUNKS if variant != "own"])
def test_difference_5_other_side_chunks_that_forget_depend_on_their_size(device, variant):
    """Chunks that each take their own first frame for frame 1, as if they were videos of their own."""
    layer, tokens = Layer(device), random(1, 6, 5, 6).to(device)
    forgetful = torch.cat([layer(tokens[:, i : i + 2], FrameView(variant, 2)) for i in (0, 2, 4)], dim=1)
    assert not torch.allclose(forgetful[:, 2:], layer.reference(tokens, variant)[:, 2:])


@pytest.mark.parametrize("variant", IN_CHUNKS)
@pytest.mark.parametrize("chunk", [1, 2, 6])
def test_the_cache_keeps_the_frames_that_later_ones_look_at_and_no_others(device, variant, chunk):
    cache = KeyValueCache(9)
    in_chunks(Layer(device), random(2, 6, 5, 6).to(device), variant, chunk, cache)
    needed = tuple(j for j in range(6) if any(MAY_SEE[variant](i, j) for i in range(6, 9)))
    kept, keys, values = cache.entries.get("layer", ((), torch.zeros(2, 0), torch.zeros(2, 0)))
    assert kept == needed and keys.shape[1] == values.shape[1] == len(needed)


@pytest.mark.parametrize("m", [2, 8, 64])
def test_the_first_frame_s_cache_is_flat_whatever_the_number_of_frames(device, m):
    """One frame a layer, and storage of its own: a view would keep the whole chunk's keys alive."""
    cache, layer, tokens = KeyValueCache(m + 1), Layer(device), random(2, m, 5, 6).to(device)
    for name in ("a", "b"):
        in_chunks(layer, tokens, "first", 2, cache, name)
    assert set(cache.entries) == {"a", "b"}
    for frames, keys, values in cache.entries.values():
        assert frames == (0,) and keys.shape == values.shape == (2, 1, 2, 5, 3)
        assert keys.untyped_storage().nbytes() == keys.numel() * keys.element_size()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", [6, 2])
def test_difference_6_every_frame_that_is_looked_at_is_projected_once_and_no_other(device, variant, sizes):
    layer = Layer(device)
    if variant in IN_CHUNKS:
        in_chunks(layer, random(2, 6, 5, 6).to(device), variant, sizes, KeyValueCache(6))
    else:
        layer(random(2, 6, 5, 6).to(device), FrameView(variant, 6))
    assert layer.frames == sum(any(MAY_SEE[variant](i, j) for i in range(6)) for j in range(6))
    assert variant != "first" or layer.frames == 1


def test_difference_6_other_side_projecting_all_frames_gives_the_same_numbers(device):
    """The public code's way: all frames' keys and values, of which only the first frame's are used."""
    layer, tokens = Layer(device), random(2, 6, 5, 6).to(device)
    everything = cross_frame_attention(layer.split(tokens @ layer.maps[0]), *layer.project(tokens), [(0,)] * 6)
    torch.testing.assert_close(layer(tokens, FrameView("first", 6)), everything)


@pytest.mark.parametrize("variant, missing", [("first", 0), ("previous", 3), ("first_previous", 0), ("causal", 0)])
def test_a_chunk_whose_predecessor_is_missing_is_refused(device, variant, missing):
    for cache in (KeyValueCache(6), None):
        view = FrameView(variant, 2, 4, cache)
        refused(lambda: Layer(device)(random(1, 2, 5, 6).to(device), view), f"needs frame {missing}")


def test_previous_frame_attention_refuses_a_gap_between_chunks(device):
    layer, cache, tokens = Layer(device), KeyValueCache(6), random(1, 6, 5, 6).to(device)
    layer(tokens[:, :2], FrameView("previous", 2, 0, cache))
    refused(lambda: layer(tokens[:, 4:], FrameView("previous", 2, 4, cache)), "needs frame 3")


def test_attention_to_later_frames_refuses_chunks():
    assert looks_ahead("all", 4) and not looks_ahead("all", 1)
    refused(lambda: FrameView("all", 2, 0, KeyValueCache(4)), "whole video")
    refused(lambda: FrameView("first", 3, 2, KeyValueCache(4)), "video of 4 frames")


def test_every_second_frame_would_be_one_row(device, monkeypatch):
    """Chunks and the cache follow from the row alone, also where a frame is skipped by the next and seen by the one
    after it."""
    monkeypatch.setitem(VARIANTS, "second", lambda k, m: range(k % 2, k + 1, 2))
    monkeypatch.setitem(MAY_SEE, "second", lambda i, j: j <= i and (i - j) % 2 == 0)
    layer, tokens = Layer(device), random(1, 6, 5, 6).to(device)
    for sizes in (6, 1, 2, (1, 4, 1)):
        chunked = in_chunks(layer, tokens, "second", sizes, KeyValueCache(6))
        torch.testing.assert_close(chunked, layer.reference(tokens, "second"))
