"""E11 and E12: attention against loops, every cross-frame variant against one big masked attention, and
the memory."""

import math

import pytest
import torch

from t2vz.attention import (
    VARIANTS,
    AttentionRecord,
    FrameMemory,
    FrameView,
    attention,
    attention_plain,
    attention_weights,
    cross_frame_attention,
    frames_seen,
)
from t2vz.errors import InputError

MAY_SEE = {  # query frame i, key frame j, both counted from 0
    "own": lambda i, j: j == i,
    "first": lambda i, j: j == 0,
    "previous": lambda i, j: j == max(i - 1, 0),
    "first_previous": lambda i, j: j == 0 or j == i - 1,
    "causal": lambda i, j: j <= i,
    "all": lambda i, j: True,
}
KEPT = {"own": 0, "first": 1, "previous": 1, "first_previous": 2, "causal": 6}  # frames in memory after 6


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def masked_reference(q, k, v, variant):
    """All m·n tokens attend to all m·n tokens at once; a boolean mask, token by token, forbids what may
    not be seen."""
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
        keys, values, seen = view.keys_values(name, tokens, self.project)
        return cross_frame_attention(self.split(tokens @ self.maps[0]), keys, values, seen)

    def reference(self, tokens, variant):
        q, k, v = (self.split(tokens @ self.maps[i]) for i in range(3))
        return masked_reference(q, k, v, variant)


def in_chunks(layer, tokens, variant, chunk, memory):
    starts = range(0, tokens.shape[1], chunk)
    return torch.cat([layer(tokens[:, i : i + chunk], FrameView(variant, i, memory)) for i in starts], dim=1)


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


def test_e11_weights_are_distributions_over_the_keys(device):
    weights = attention_weights(random(2, 5, 8).to(device), random(2, 7, 8, seed=1).to(device))
    assert weights.shape == (2, 5, 7) and bool((weights > 0).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))


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
    with pytest.raises(InputError, match="frist"):
        frames_seen("frist", 0, 1)
    with pytest.raises(InputError, match="number of frames"):
        frames_seen("all", 0)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_e12_every_variant_equals_one_big_masked_attention(device, variant, m):
    q, k, v = (random(2, m, 3, 5, 4, seed=seed).to(device) for seed in (1, 2, 3))
    seen = [frames_seen(variant, i, m) for i in range(m)]
    torch.testing.assert_close(cross_frame_attention(q, k, v, seen), masked_reference(q, k, v, variant))


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


def test_e12_cross_frame_attention_differs_from_self_attention_from_frame_2_on(device):
    q, k, v = (random(1, 3, 2, 5, 4, seed=seed).to(device) for seed in (1, 2, 3))
    own = cross_frame_attention(q, k, v, [(0,), (1,), (2,)])
    first = cross_frame_attention(q, k, v, [(0,)] * 3)
    torch.testing.assert_close(first[:, 0], own[:, 0])
    assert float((first[:, 1:] - own[:, 1:]).abs().amin(dim=(0, 2, 3, 4)).max()) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_difference_4_guidance_halves_do_not_mix(device, variant):
    """Changing the first frame of the text half must leave the unconditional half, which comes first, as
    it was."""
    layer, tokens = Layer(device), random(2, 3, 5, 6).to(device)
    changed = tokens.clone()
    changed[1, 0] += 1.0
    before, after = layer(tokens, FrameView(variant)), layer(changed, FrameView(variant))
    assert torch.equal(before[0], after[0])
    if variant != "own":
        assert not torch.equal(before[1, 1], after[1, 1])


def test_difference_4_other_side_one_first_frame_for_both_halves_is_something_else(device):
    """Laid out as one batch of 2·m frames, the text half would look at the unconditional half's first
    frame."""
    q, k, v = (random(2, 3, 2, 5, 4, seed=seed).to(device) for seed in (1, 2, 3))
    halves = cross_frame_attention(q, k, v, [(0,)] * 3)
    mixed = cross_frame_attention(*(x.reshape(1, 6, 2, 5, 4) for x in (q, k, v)), [(0,)] * 6)[0]
    torch.testing.assert_close(mixed[:3], halves[0])
    assert not torch.allclose(mixed[3:], halves[1])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("m", [1, 4])
def test_frame_view_without_memory_equals_the_masked_reference(device, variant, m):
    layer, tokens = Layer(device), random(2, m, 5, 6).to(device)
    torch.testing.assert_close(layer(tokens, FrameView(variant)), layer.reference(tokens, variant))


@pytest.mark.parametrize("variant", KEPT)
@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
def test_difference_5_chunks_with_a_memory_equal_the_whole(device, variant, chunk):
    layer, tokens = Layer(device), random(2, 6, 5, 6).to(device)
    chunked = in_chunks(layer, tokens, variant, chunk, FrameMemory())
    torch.testing.assert_close(chunked, layer.reference(tokens, variant))


@pytest.mark.parametrize("variant", KEPT)
def test_difference_5_chunks_of_unequal_sizes(device, variant):
    layer, tokens, memory = Layer(device), random(1, 6, 5, 6).to(device), FrameMemory()
    parts = [layer(tokens[:, i:j], FrameView(variant, i, memory)) for i, j in ((0, 2), (2, 3), (3, 6))]
    torch.testing.assert_close(torch.cat(parts, dim=1), layer.reference(tokens, variant))


@pytest.mark.parametrize("variant", [variant for variant in KEPT if variant != "own"])
def test_difference_5_other_side_chunks_that_forget_depend_on_their_size(device, variant):
    """Chunks that each take their own first frame for frame 1, as if they were videos of their own."""
    layer, tokens = Layer(device), random(1, 6, 5, 6).to(device)
    forgetful = torch.cat([layer(tokens[:, i : i + 2], FrameView(variant)) for i in (0, 2, 4)], dim=1)
    assert not torch.allclose(forgetful[:, 2:], layer.reference(tokens, variant)[:, 2:])


@pytest.mark.parametrize("variant", KEPT)
@pytest.mark.parametrize("chunk", [1, 2, 6])
def test_memory_keeps_no_more_frames_than_later_ones_need(device, variant, chunk):
    memory = FrameMemory()
    in_chunks(Layer(device), random(2, 6, 5, 6).to(device), variant, chunk, memory)
    kept, keys, _ = memory.recall("layer")
    assert len(kept) == KEPT[variant]
    assert keys is None if not kept else keys.shape[1] == len(kept)


@pytest.mark.parametrize("m", [2, 8, 64])
def test_first_frame_memory_is_flat_whatever_the_number_of_frames(device, m):
    """One frame a layer, and storage of its own: a view would keep the whole chunk's keys alive."""
    memory, layer, tokens = FrameMemory(), Layer(device), random(2, m, 5, 6).to(device)
    for name in ("a", "b"):
        for i in range(0, m, 2):
            layer(tokens[:, i : i + 2], FrameView("first", i, memory), name)
    assert set(memory.entries) == {"a", "b"}
    for frames, keys, values in memory.entries.values():
        assert frames == [0] and keys.shape == values.shape == (2, 1, 2, 5, 3)
        assert keys.untyped_storage().nbytes() == keys.numel() * keys.element_size()


@pytest.mark.parametrize(
    "variant, frames", [("own", 6), ("first", 1), ("previous", 5), ("first_previous", 5), ("causal", 6), ("all", 6)]
)
def test_difference_6_only_frames_that_are_looked_at_are_projected(device, variant, frames):
    layer = Layer(device)
    layer(random(2, 6, 5, 6).to(device), FrameView(variant))
    assert layer.frames == frames


def test_difference_6_frame_1_is_projected_once_for_all_chunks(device):
    layer = Layer(device)
    in_chunks(layer, random(2, 6, 5, 6).to(device), "first", 2, FrameMemory())
    assert layer.frames == 1


def test_difference_6_other_side_projecting_all_frames_gives_the_same_numbers(device):
    """The public code's way: all frames' keys and values, of which only the first frame's are used."""
    layer, tokens = Layer(device), random(2, 6, 5, 6).to(device)
    everything = cross_frame_attention(layer.split(tokens @ layer.maps[0]), *layer.project(tokens), [(0,)] * 6)
    torch.testing.assert_close(layer(tokens, FrameView("first")), everything)


@pytest.mark.parametrize("variant, missing", [("first", 0), ("previous", 3), ("first_previous", 0), ("causal", 0)])
def test_a_chunk_whose_predecessor_is_missing_is_refused(device, variant, missing):
    for memory in (FrameMemory(), None):
        with pytest.raises(InputError, match=f"needs frame {missing}"):
            Layer(device)(random(1, 2, 5, 6).to(device), FrameView(variant, 4, memory))


def test_previous_frame_attention_refuses_a_gap_between_chunks(device):
    layer, memory, tokens = Layer(device), FrameMemory(), random(1, 6, 5, 6).to(device)
    layer(tokens[:, :2], FrameView("previous", 0, memory))
    with pytest.raises(InputError, match="needs frame 3"):
        layer(tokens[:, 4:], FrameView("previous", 4, memory))


def test_attention_to_all_frames_refuses_chunks(device):
    tokens = random(1, 2, 5, 6).to(device)
    for view in (FrameView("all", 2), FrameView("all", 0, FrameMemory())):
        with pytest.raises(InputError, match="whole video"):
            Layer(device)(tokens, view)


def test_record_means_over_heads_sums_over_timesteps_and_joins_chunks(device):
    weights = random(2, 4, 3, 5, 7, seed=4).softmax(-1)  # b, f, heads, n, tokens
    record = AttentionRecord()
    for _ in range(2):  # two timesteps; the second chunk comes first, to see that order is by frame
        record.add("mid", 3, weights[:, 3:].to(device))
        record.add("mid", 0, weights[:, :3].to(device))
    maps = record.map("mid")
    assert record.layers == ["mid"] and maps.device.type == "cpu"
    torch.testing.assert_close(maps, 2 * weights.mean(dim=2).float())
    torch.testing.assert_close(maps.sum(-1), torch.full((2, 4, 5), 2.0))
