"""Temporal attention (Tune-A-Video): what it is, that a new one changes nothing, and what a UNet with it refuses."""

from dataclasses import replace

import pytest
import torch
from tiny import UNET, random, randomize, refused

from t2vz.attention import KeyValueCache
from t2vz.unet import ControlNet, UNet
from t2vz.unet.temporal import TemporalAttention, is_temporal, with_temporal_attention


@pytest.fixture(scope="module")
def unet():
    return randomize(UNet(UNET).double().eval(), 5).requires_grad_(False)


@pytest.fixture(scope="module")
def inputs():
    return random(2, 4, 4, 6, 8, seed=3).double(), 300, random(2, 5, 64, seed=4).double()


@pytest.mark.parametrize("attention", ["own", "first", "first_previous", "all"])
def test_new_temporal_attention_changes_nothing(unet, inputs, attention):
    """Bit for bit, at the same attention; and every parameter of the UNet is there again."""
    longer = with_temporal_attention(unet)
    assert torch.equal(longer(*inputs, attention), unet(*inputs, attention))
    own = {name: value for name, value in longer.state_dict().items() if not is_temporal(name)}
    assert own.keys() == unet.state_dict().keys() and len(own) < len(longer.state_dict())
    assert longer.config == replace(unet.config, temporal_attention=True) and not longer.training


def test_each_cell_attends_to_itself_in_all_frames():
    """Against loops over cells, heads and frames."""
    layer = randomize(TemporalAttention(8, heads=2).double(), 1).requires_grad_(False)
    x = random(2, 3, 5, 8, seed=2).double()
    wanted = torch.zeros_like(x)
    for b in range(2):
        for n in range(5):
            q, k, v = (project(x[b, :, n]) for project in (layer.to_q, layer.to_k, layer.to_v))  # (frames, 8)
            heads = [((q[:, h] @ k[:, h].T) / 2).softmax(1) @ v[:, h] for h in (slice(0, 4), slice(4, 8))]
            wanted[b, :, n] = layer.to_out[0](torch.cat(heads, dim=1))
    torch.testing.assert_close(layer(x), wanted, atol=1e-12, rtol=0)


def test_frames_reach_each_other_through_it_alone(unet, inputs):
    """With own-frame attention a change of the last frame is felt by the first, once temporal attention has learned."""
    x, t, context = inputs
    longer = with_temporal_attention(unet).requires_grad_(False)
    for name, value in longer.named_parameters():
        if "attn_temp.to_out.0.weight" in name:
            value.copy_(random(*value.shape, seed=len(name)))
    changed = x.clone()
    changed[:, -1] += 1
    for network, felt in ((unet, False), (longer, True)):
        first, other = (network(latents, t, context, "own")[:, 0] for latents in (x, changed))
        assert torch.equal(first, other) != felt


def test_a_chunk_of_the_video_is_refused(unet, inputs):
    refused(lambda: with_temporal_attention(unet)(*inputs, "first", cache=KeyValueCache(8)), "whole video in one chunk")


def test_a_controlnet_is_made_without_it(unet, inputs):
    controlnet = ControlNet.from_unet(with_temporal_attention(unet))
    assert not controlnet.config.temporal_attention
    assert controlnet.state_dict().keys() == ControlNet.from_unet(unet).state_dict().keys()
