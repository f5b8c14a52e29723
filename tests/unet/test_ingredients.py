"""DeepCache, token merging and the temporal shift in the UNet: exact where they are off, and what they leave out."""

from functools import partial

import pytest
import torch
from tiny import random, randomize, refused, relative, unet_config

from t2vz.attention import FrameView, KeyValueCache
from t2vz.unet import DeepCache, UNet
from t2vz.unet.shift import temporal_shift
from t2vz.unet.temporal import with_temporal_attention

CONFIG = unet_config((16, 32), (True, True), heads=(2, 4), context_dim=6, norm_groups=8)


@pytest.fixture
def unet(device):
    return randomize(UNet(CONFIG), seed=2).to(device).eval().requires_grad_(False)


@pytest.fixture
def inputs(device):
    """x (b 2, f 3, c 4, 8, 6), text states (2, 5 tokens, 6)."""
    return random(2, 3, 4, 8, 6).to(device), random(2, 5, 6, seed=1).to(device)


def residuals_for(unet, x):
    """One random residual for each skip and the middle, as ControlNet gives them."""
    maps = {}
    names = ["conv_in", "down_blocks.0.attentions.0", "down_blocks.0.downsamplers.0", "down_blocks.1.attentions.0"]
    hooks = [
        unet.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: maps.update({name: out.shape}))
        for name in [*names, "mid_block"]
    ]
    unet(x, 501, random(2, 5, 6, seed=1).to(x))
    for hook in hooks:
        hook.remove()
    return [random(*maps[name], seed=i).to(x) for i, name in enumerate([*names, "mid_block"])]


@pytest.mark.parametrize("with_residuals", [False, True])
def test_deep_cache_s_full_steps_are_the_unet_exactly(unet, inputs, with_residuals):
    x, context = inputs
    more = {"residuals": residuals_for(unet, x)} if with_residuals else {}
    every, some = DeepCache(unet, 1), DeepCache(unet, 3)
    for i, t in enumerate((901, 701, 501, 301, 101)):
        x = x + 0.1 * random(*x.shape, seed=t).to(x)
        exact = unet(x, t, context, "first", **more)
        assert torch.equal(every(x, t, context, "first", **more), exact)
        assert torch.equal(some(x, t, context, "first", **more), exact) is (i % 3 == 0)


def test_deep_cache_reuses_the_maps_that_enter_the_last_row_and_computes_conv_in_and_that_row_anew(unet, inputs):
    """The reused step written out: the UNet at t, but that its last row reads the maps of the step before."""
    x, context = inputs
    deep, inner = DeepCache(unet, 2), []
    last = unet.up_blocks[-1]
    hook = last.resnets[-1].register_forward_hook(lambda _, args, __: inner.append(args[0][:, :16]))
    deep(x, 901, context, "first")
    hook.remove()
    y = x + random(*x.shape, seed=4).to(x)
    found = deep(y, 701, context, "first")
    swap = last.resnets[-1].register_forward_pre_hook(
        lambda _, args: (torch.cat([inner[0], args[0][:, 16:]], dim=1), *args[1:])
    )
    expected = unet(y, 701, context, "first")
    swap.remove()
    torch.testing.assert_close(found, expected)


def test_deep_cache_begins_anew_with_a_new_loop_and_with_new_frames(unet, inputs):
    x, context = inputs
    deep = DeepCache(unet, 9)
    deep(x, 501, context, "first")
    for again, t in ((x + 1, 901), (x + 1, 901), (x[:, :2] + 1, 101)):
        assert torch.equal(deep(again, t, context, "first"), unet(again, t, context, "first"))


@pytest.mark.parametrize("chunk", [1, 2])
def test_difference_5_chunks_equal_the_whole_with_deep_cache_and_merging(unet, inputs, chunk):
    x, context = inputs
    whole, parts = (partial(DeepCache(unet, 2), merge=0.5) for _ in range(2))
    for t in (901, 701, 501):
        cache = KeyValueCache(3)
        rows = [parts(x[:, i : i + chunk], t, context, "first", first_frame=i, cache=cache) for i in range(0, 3, chunk)]
        torch.testing.assert_close(torch.cat(rows, dim=1), whole(x, t, context, "first"), rtol=1e-4, atol=1e-5)


def test_deep_cache_refuses_chunks_where_the_unet_does(unet, inputs):
    deep = DeepCache(with_temporal_attention(unet), 2)
    refused(lambda: deep(inputs[0], 501, inputs[1], "first", cache=KeyValueCache(9)), "whole video in one chunk")


def test_token_merging_off_is_exact_and_on_leaves_out_tokens_of_the_full_size_only(unet, inputs):
    x, context = inputs
    tokens = {}
    for name, module in unet.named_modules():
        if name.endswith("attn1.to_q"):
            module.register_forward_hook(lambda _, args, __, name=name: tokens.update({name: args[0].shape[2]}))
    exact = unet(x, 501, context, "first")
    assert set(tokens.values()) == {48, 12}
    assert torch.equal(unet(x, 501, context, "first", merge=0.0), exact)
    merged = unet(x, 501, context, "first", merge=0.5)
    assert set(tokens.values()) == {24, 12}
    assert 1e-4 < relative(merged, exact) < 0.5


def test_token_merging_of_equal_tokens_is_exact(unet, inputs):
    """Cells that are all alike, but for the border that convolutions see: attention is the same among fewer of them."""
    attention = unet.up_blocks[-1].attentions[-1].transformer_blocks[0].attn1
    tokens = random(1, 2, 1, 16).repeat(1, 1, 48, 1).to(inputs[0])
    plain, merged = FrameView("first", 2, size=(8, 6)), FrameView("first", 2, merge=0.75, size=(8, 6))
    torch.testing.assert_close(attention(tokens, merged), attention(tokens, plain))


def test_layers_with_merged_tokens_show_nothing_and_the_others_do(unet, inputs):
    layers = []
    unet(inputs[0], 501, inputs[1], "first", merge=0.5, look=lambda layer, *_: layers.append(layer))
    frames = [layer for layer in layers if layer.endswith("attn1")]
    assert frames and all(layer.startswith(("down_blocks.1", "mid_block", "up_blocks.0")) for layer in frames)
    assert sum(layer.endswith("attn2") for layer in layers) == 7


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_temporal_shift_equals_a_loop_over_frames_and_channels(device, share):
    x = random(2 * 4, 16, 3, 2).to(device)
    n = int(share * 8)
    expected = x.clone().view(2, 4, 16, 3, 2)
    for k in range(4):
        for c in range(16):
            source = max(k - 1, 0) if c < n else min(k + 1, 3) if c < 2 * n else k
            expected[:, k, c] = x.view(2, 4, 16, 3, 2)[:, source, c]
    assert torch.equal(temporal_shift(x, 4, share), expected.view_as(x))


def test_temporal_shift_in_the_unet(unet, inputs):
    """Off it is exact; equal frames do not notice it; a changed frame reaches its neighbours; chunks are refused."""
    x, context = inputs
    exact = unet(x, 501, context)
    assert torch.equal(unet(x, 501, context, shift=0.0), exact)
    same = x[:, :1].expand_as(x)
    torch.testing.assert_close(unet(same, 501, context, shift=0.5), unet(same, 501, context))
    changed = x.clone()
    changed[:, 2] += 1
    moved = (unet(changed, 501, context, shift=0.5) - unet(x, 501, context, shift=0.5)).abs().amax(dim=(0, 2, 3, 4))
    assert bool((moved > 1e-5).all())
    refused(lambda: unet(x[:, :2], 501, context, shift=0.5, cache=KeyValueCache(3)), "all at once, a chunk of 3")
