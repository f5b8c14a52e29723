"""The UNet at a tiny size: frames as an axis, timesteps, sizes, residuals, float types; docs/method.md,
difference 8."""

import math
import re
import sys

import pytest
import torch
from tiny import random, randomize, refused, relative, unet_config

from t2vz.attention import VARIANTS, KeyValueCache, frames_seen, looks_ahead
from t2vz.unet import UNet, UNetConfig
from t2vz.unet.embedding import timestep_embedding
from t2vz.unet.transformer import Attention, SelfAttention
from t2vz.unet.unet import rows

TINY = unet_config((16, 32, 32), (True, True, False), heads=(2, 4, 4), context_dim=6, norm_groups=8)
SKIPS = 6  # conv_in; resnet, halve; resnet, halve; resnet


@pytest.fixture
def unet(device):
    return randomize(UNet(TINY), seed=3).requires_grad_(False).eval().to(device)


@pytest.fixture
def inputs(device):
    """x (b 2, f 3, c 4, 8, 8) and text states (2, 5 tokens, 6)."""
    return random(2, 3, 4, 8, 8).to(device), random(2, 5, 6, seed=1).to(device)


@pytest.mark.parametrize("variant", VARIANTS)
def test_epsilon_has_the_shape_of_the_latents_and_inputs_stay(unet, inputs, variant):
    before = [tensor.clone() for tensor in inputs]
    eps = unet(inputs[0], 501, inputs[1], variant)
    assert eps.shape == inputs[0].shape and bool(torch.isfinite(eps).all())
    assert all(torch.equal(a, b) for a, b in zip(before, inputs))


def test_frames_are_an_axis_own_frame_attention_equals_every_frame_alone(unet, inputs):
    x, context = inputs
    t = torch.tensor([981, 21], device=x.device)
    together = unet(x, t, context, "own")
    for i in range(2):
        for k in range(3):
            alone = unet(x[i : i + 1, k : k + 1], int(t[i]), context[i : i + 1], "own")
            torch.testing.assert_close(together[i : i + 1, k : k + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_e12_with_one_frame_every_variant_equals_self_attention_exactly(unet, inputs, variant):
    x, context = inputs
    assert torch.equal(unet(x[:, :1], 501, context, variant), unet(x[:, :1], 501, context, "own"))


def test_e12_frames_that_equal_the_first_are_denoised_alike(unet, inputs):
    x, context = inputs
    same = x[:, :1].expand(-1, 4, -1, -1, -1)
    eps = unet(same, 501, context, "first")
    torch.testing.assert_close(eps, eps[:, :1].expand_as(eps), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(eps[:, :1], unet(x[:, :1], 501, context, "own"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_changed_second_frame_reaches_only_those_who_look_at_it(unet, inputs, variant):
    """Through several layers: frame 3 sees frame 2 in one layer, so frame 4 sees it in the next."""
    context, moved = inputs[1], {1}
    for _ in range(4):
        moved |= {k for k in range(4) if moved.intersection(frames_seen(variant, k, 4))}
    x = random(2, 4, 4, 8, 8, seed=5).to(context.device)
    changed = x.clone()
    changed[:, 1] += 1.0
    difference = (unet(x, 501, context, variant) - unet(changed, 501, context, variant)).abs().amax(dim=(0, 2, 3, 4))
    assert {k for k in range(4) if float(difference[k]) > 1e-4} == moved


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not looks_ahead(v, 5)])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_difference_5_chunks_equal_the_whole(unet, inputs, variant, chunk):
    context = inputs[1]
    x = random(2, 5, 4, 8, 8, seed=6).to(context.device)
    cache = KeyValueCache(5)
    parts = [unet(x[:, i : i + chunk], 501, context, variant, first_frame=i, cache=cache) for i in range(0, 5, chunk)]
    torch.testing.assert_close(torch.cat(parts, dim=1), unet(x, 501, context, variant), rtol=1e-4, atol=1e-5)


def test_the_cache_has_one_entry_for_each_self_attention_layer(unet, inputs):
    cache = KeyValueCache(9)
    unet(*inputs[:1], 501, inputs[1], "first", cache=cache)
    layers = {name for name, module in unet.named_modules() if isinstance(module, SelfAttention)}
    # 2 down, 1 middle, 4 up; names as in the checkpoint
    assert set(cache.entries) == layers and len(layers) == 7
    assert {keys.shape[1] for _, keys, _ in cache.entries.values()} == {1}


def test_difference_6_first_frame_attention_projects_one_frame_in_every_layer(unet, inputs):
    """f·n queries, n keys: the other frames' keys and values are never computed."""
    seen = []
    for module in unet.modules():
        if isinstance(module, SelfAttention):
            for name in ("to_q", "to_k", "to_v"):
                look = lambda _, x, __, name=name: seen.append((name, x[0].shape[1]))  # noqa: E731
                getattr(module, name).register_forward_hook(look)
    unet(inputs[0], 501, inputs[1], "first")
    assert set(seen) == {("to_q", 3), ("to_k", 1), ("to_v", 1)}


def test_difference_8_a_change_of_frame_1_is_felt_by_all_frames(unet, inputs):
    """Frames are an axis, so cross-frame attention cannot silently do nothing."""
    x, context = inputs
    changed = x.clone()
    changed[:, 0] += 1.0
    difference = (unet(x, 501, context, "first") - unet(changed, 501, context, "first")).abs().amax(dim=(0, 2, 3, 4))
    assert bool((difference > 1e-3).all())


def test_difference_8_other_side_frames_laid_out_as_a_batch_are_videos_of_one_frame(unet, inputs):
    """A wrong frame count elsewhere amounts to this: "first" turns into "own", and nobody says so."""
    x, context = inputs
    flat = unet(x.flatten(0, 1)[:, None], 501, context.repeat_interleave(3, dim=0), "first").view_as(x)
    torch.testing.assert_close(flat, unet(x, 501, context, "own"), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(flat[:, 1:], unet(x, 501, context, "first")[:, 1:], atol=1e-3)


def test_difference_4_guidance_halves_do_not_mix(unet, inputs):
    x, context = inputs
    changed = x.clone()
    changed[1] += 1.0
    before, after = (unet(latents, 501, context, "first") for latents in (x, changed))
    torch.testing.assert_close(after[0], before[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t", [0, 1, 21, 981, 999, 500.5])
def test_time_embedding_is_cosines_first_then_sines(device, t):
    width = 32
    frequencies = [10000.0 ** (-i / 16) for i in range(16)]
    expected = [math.cos(t * w) for w in frequencies] + [math.sin(t * w) for w in frequencies]
    ours = timestep_embedding(torch.tensor([t], device=device), width)
    assert ours.dtype == torch.float32 and ours.shape == (1, width)
    assert ours[0].tolist() == pytest.approx(expected, abs=2e-4)


def test_time_embedding_is_float32_even_for_half_precision_networks(unet, device):
    """As float16, 981 alone would be exact but 981·ω would not; rounding comes after the sine."""
    unet, hidden = unet.half(), []
    unet.time_embedding.linear_1.register_forward_hook(lambda _, x, __: hidden.append(x[0]))
    unet(random(1, 1, 4, 8, 8).to(device).half(), 981, random(1, 5, 6).to(device).half())
    assert torch.equal(hidden[0][0], timestep_embedding(torch.tensor([981], device=device), 16)[0].half())


def residuals(unet, x, value):
    """One tensor for each skip and one for the middle, of the shapes the UNet adds them to."""
    b, f, _, h, w = x.shape
    sizes = [(16, h), (16, h), (16, h // 2), (32, h // 2), (32, h // 4), (32, h // 4), (32, h // 4)]
    return [torch.full((b * f, c, s, s * w // h), value, device=x.device) for c, s in sizes]


def test_e14_residuals_of_zero_change_nothing(unet, inputs):
    x, context = inputs
    assert torch.equal(unet(x, 501, context, residuals=residuals(unet, x, 0.0)), unet(x, 501, context))


@pytest.mark.parametrize("place", range(SKIPS + 1))
def test_e14_a_residual_in_any_place_changes_the_prediction(unet, inputs, place):
    x, context = inputs
    given = residuals(unet, x, 0.0)
    given[place] = given[place] + random(*given[place].shape, seed=place).to(x.device)
    assert not torch.allclose(unet(x, 501, context, residuals=given), unet(x, 501, context), atol=1e-3)


def test_e14_a_wrong_number_of_residuals_is_refused(unet, inputs):
    x, context = inputs
    refused(lambda: unet(x, 501, context, residuals=residuals(unet, x, 0.0)[1:]), "7")


@pytest.mark.parametrize(
    "x_shape, t, context_shape, said",
    [
        ((2, 4, 8, 8), 1, (2, 5, 6), "(2, 4, 8, 8)"),
        ((2, 3, 5, 8, 8), 1, (2, 5, 6), "(2, 3, 5, 8, 8)"),
        ((2, 3, 4, 8, 8), 1, (3, 5, 6), "(3, 5, 6)"),
        ((2, 3, 4, 8, 8), 1, (2, 5, 7), "(2, 5, 7)"),
        ((2, 3, 4, 8, 8), 1, (5, 6), "(5, 6)"),
        ((2, 3, 4, 8, 8), torch.tensor([1, 2, 3]), (2, 5, 6), "(3,)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_and_named(unet, device, x_shape, t, context_shape, said):
    refused(lambda: unet(random(*x_shape).to(device), t, random(*context_shape).to(device)), re.escape(said))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
def test_difference_7_half_precision_is_finite_and_near_float32(unet, inputs, dtype, tolerance):
    x, context = inputs
    exact = unet(x, 981, context, "first")
    half = unet.to(dtype)(x.to(dtype), 981, context.to(dtype), "first")
    assert half.dtype == dtype and bool(torch.isfinite(half).all())
    assert relative(half.float(), exact) < tolerance


def test_text_reaches_every_frame_by_its_own_half(unet, inputs):
    x, context = inputs
    changed = context.clone()
    changed[1, 2] += 3.0
    difference = (unet(x, 501, changed, "first") - unet(x, 501, context, "first")).abs().amax(dim=(2, 3, 4))
    assert bool((difference[0] < 1e-6).all()) and bool((difference[1] > 1e-4).all())


def test_the_hook_is_called_by_every_attention_layer_and_changes_no_bit(unet, inputs):
    calls = []
    plain = unet(inputs[0], 501, inputs[1], "first")
    assert torch.equal(unet(inputs[0], 501, inputs[1], "first", look=lambda *call: calls.append(call)), plain)
    layers = [name for name, module in unet.named_modules() if isinstance(module, Attention)]
    assert sorted(layer for layer, *_ in calls) == sorted(layers) and len(layers) == 14
    for layer, first_frame, q, k, seen in calls:
        assert first_frame == 0 and seen == ([(0,)] * 3 if layer.endswith("attn1") else None)
        assert q.shape[:2] == (2, 3) and k.shape[:3] == (2, 1, q.shape[2])
        assert k.shape[3] == (q.shape[3] if seen else 5)  # tokens: cells of frame 1, or words


def test_the_docstring_s_table_is_the_one_the_network_is_built_from():
    size, lines = 64, []
    table = rows(UNetConfig())
    assert (len(table.down), len(table.up)) == (12, 12)
    assert sum(row.heads > 0 for row in (*table.down, table.middle, *table.up)) == 16
    for row in (*table.down, table.middle, *table.up):
        after = {"halve": size // 2, "double": size * 2, "": size}[row.resample]
        where = f"{size} → {after}" if after != size else f"{size}"
        lines.append(f"    {row.name:28} {row.c_in:4} → {row.c_out:4}    {row.heads or '–'}   {where}\n")
        size = after
    assert "".join(lines) in sys.modules["t2vz.unet.unet"].__doc__
