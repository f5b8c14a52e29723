"""ControlNet (E14) at a tiny size: what it adds to the UNet, frames as an axis, chunks, where training begins."""

import pytest
import torch
from tiny import random, randomize, refused, unet_config

from t2vz.attention import VARIANTS, KeyValueCache, looks_ahead
from t2vz.unet import ControlNet, ControlNetConfig, UNet

SIZES = unet_config((16, 32, 32), (True, True, False), heads=(2, 4, 4), context_dim=6, norm_groups=8)
CONFIG = ControlNetConfig(**vars(SIZES), condition_out_channels=(4, 6, 8))  # pictures are 4 times the latents
ZERO = ("controlnet_down_blocks", "controlnet_mid_block", "controlnet_cond_embedding.conv_out")


@pytest.fixture
def controlnet(device):
    return randomize(ControlNet(CONFIG), seed=1).to(device).eval().requires_grad_(False)


@pytest.fixture
def unet(device):
    return randomize(UNet(SIZES), seed=2).to(device).eval().requires_grad_(False)


@pytest.fixture
def inputs(device):
    """x (b 2, f 3, c 4, 8, 6), text states (2, 5 tokens, 6), pictures (1, 3, 3, 32, 24) in [0, 1]."""
    pictures = torch.rand(1, 3, 3, 32, 24, generator=torch.Generator().manual_seed(5))
    return random(2, 3, 4, 8, 6).to(device), random(2, 5, 6, seed=1).to(device), pictures.to(device)


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_e14_residuals_are_what_the_unet_adds_to_its_skips_and_its_middle(controlnet, unet, inputs):
    x, context, pictures = inputs
    residuals = controlnet(x, 501, context, pictures)
    # conv_in; resnet, halve; resnet, halve; resnet; the middle
    shapes = [(16, 8, 6), (16, 8, 6), (16, 4, 3), (32, 4, 3), (32, 2, 2), (32, 2, 2), (32, 2, 2)]
    assert [tuple(r.shape[1:]) for r in residuals] == shapes
    steered = unet(x, 501, context, residuals=residuals)
    assert steered.shape == x.shape and not torch.allclose(steered, unet(x, 501, context), atol=1e-3)


def test_pictures_are_shared_by_the_batch_or_given_for_each(controlnet, inputs):
    x, context, pictures = inputs
    shared = controlnet(x, 501, context, pictures)
    close(shared, controlnet(x, 501, context, pictures.expand(2, -1, -1, -1, -1)))
    other = torch.cat([pictures, 1 - pictures])
    second = [r.unflatten(0, (2, 3))[1] for r in controlnet(x, 501, context, other)]
    close(second, controlnet(x[1:], 501, context[1:], 1 - pictures))


def test_frames_are_an_axis_own_frame_attention_equals_every_frame_alone(controlnet, inputs):
    x, context, pictures = inputs
    together = [r.unflatten(0, (2, 3)) for r in controlnet(x, 501, context, pictures, "own")]
    for k in range(3):
        alone = controlnet(x[:, k : k + 1], 501, context, pictures[:, k : k + 1], "own")
        close([r[:, k] for r in together], alone)


@pytest.mark.parametrize("changed", ["latent", "picture"])
def test_e12_a_change_of_frame_1_is_felt_by_all_frames_and_one_of_frame_2_by_itself(controlnet, inputs, changed):
    x, context, pictures = inputs
    before = controlnet(x, 501, context, pictures, "first")[-1].unflatten(0, (2, 3))
    for frame, moved in ((0, {0, 1, 2}), (1, {1})):
        y, c = x.clone(), pictures.clone()
        (y if changed == "latent" else c)[:, frame] += 1.0
        after = controlnet(y, 501, context, c, "first")[-1].unflatten(0, (2, 3))
        difference = (after - before).abs().amax(dim=(0, 2, 3, 4))
        assert {k for k in range(3) if float(difference[k]) > 1e-4} == moved


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not looks_ahead(v, 3)])
@pytest.mark.parametrize("chunk", [1, 2])
def test_difference_5_chunks_equal_the_whole(controlnet, inputs, variant, chunk):
    x, context, pictures = inputs
    whole = [r.unflatten(0, (2, 3)) for r in controlnet(x, 501, context, pictures, variant)]
    cache = KeyValueCache(3)
    parts = [
        controlnet(x[:, i : i + chunk], 501, context, pictures[:, i : i + chunk], variant, first_frame=i, cache=cache)
        for i in range(0, 3, chunk)
    ]
    close([torch.cat([r.unflatten(0, (2, -1)) for r in row], dim=1) for row in zip(*parts, strict=True)], whole)


def test_a_cache_beside_another_holds_another_network_s_keys(controlnet, unet, inputs):
    """Layers of both are called alike: in one cache the UNet would read the ControlNet's keys."""
    x, context, pictures = inputs
    cache = KeyValueCache(9)
    controlnet(x, 501, context, pictures, "first", cache=cache.beside("control"))
    assert cache.entries == {} and len(cache.beside("control").entries) == 3  # two levels and the middle
    torch.testing.assert_close(unet(x, 501, context, "first", cache=cache), unet(x, 501, context, "first"))


def test_a_new_controlnet_changes_nothing(unet, inputs):
    x, context, pictures = inputs
    new = ControlNet(CONFIG).to(x.device)
    residuals = new(x, 501, context, pictures)
    assert all(not r.any() for r in residuals)
    assert torch.equal(unet(x, 501, context, residuals=residuals), unet(x, 501, context))


def test_from_unet_copies_what_goes_down_and_starts_from_zero(unet, inputs):
    new = ControlNet.from_unet(unet, condition_out_channels=(4, 6, 8))
    assert new.config == CONFIG
    state, source = new.state_dict(), unet.state_dict()
    shared = {name for name in state if not name.startswith("controlnet_")}
    assert shared == {name for name in source if not name.startswith(("up_blocks", "conv_norm_out", "conv_out"))}
    assert all(torch.equal(state[name], source[name]) for name in shared)
    zero = {name for name, tensor in state.items() if name.startswith("controlnet_") and not tensor.any()}
    assert zero == {name for name in state if name.startswith(ZERO)}
    before = source["conv_in.weight"].clone()
    with torch.no_grad():
        new.conv_in.weight.add_(1.0)  # a copy: training the one leaves the other alone
    assert torch.equal(unet.conv_in.weight, before)
    assert all(not r.any() for r in new(inputs[0], 501, *inputs[1:]))


def test_from_unet_keeps_float_type_and_in_training_only_the_zero_convolutions_move_first(unet, inputs):
    assert ControlNet.from_unet(unet.to(torch.float64)).conv_in.weight.dtype == torch.float64
    unet.to(torch.float32)
    new = ControlNet.from_unet(unet, condition_out_channels=(4, 6, 8)).requires_grad_(True)
    x, context, pictures = inputs
    unet(x, 501, context, residuals=new(x, 501, context, pictures)).square().mean().backward()
    moving = {name for name, p in new.named_parameters() if p.grad is not None and p.grad.any()}
    assert moving == {name for name, _ in new.named_parameters() if name.startswith(ZERO[:2])}


def test_sizes_that_do_not_fit_are_refused(controlnet, inputs):
    x, context, pictures = inputs
    for bad in (pictures[..., :-1], pictures[:, :2], pictures[:, :, :1], pictures[0], pictures.repeat(3, 1, 1, 1, 1)):
        refused(lambda: controlnet(x, 501, context, bad), r"condition pictures \(2 or 1, 3, 3, 32, 24\)")
    refused(lambda: controlnet(x[:, :, :3], 501, context, pictures), "ControlNet reads latents")
    refused(lambda: controlnet(x, 501, context[..., :5], pictures), "ControlNet reads text states")
