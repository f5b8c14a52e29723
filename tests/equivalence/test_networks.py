"""UNet and VAE against diffusers' on the same random weights, relative L2: ≤ 1e-12 in float64, ≤ 1e-5 in float32.

float32 hides a wrong epsilon (1e-5 for 1e-6 moves the output by about 1e-6), so float64 is the test that counts.
"""

import pytest
import torch
from tiny import UNET, VAE_SIZES, randomize, unet_config
from torch import nn
from twins import ODD_HEADS, SD15_TOPOLOGY, TOLERANCE, predict, relative, unet_twin, vae_errors, vae_twin, zero

from t2vz.model import to_channels_last
from t2vz.unet import UNet, UNetConfig
from t2vz.vae import VAE, VAEConfig

TYPES = [torch.float64, torch.float32]
UNETS = {
    "tiny": UNET,
    "sd15 topology": SD15_TOPOLOGY,
    "odd heads": ODD_HEADS,
    "no groups": unet_config((40, 20), (True, True), 2, heads=(5, 2), context_dim=7, norm_groups=1),
    "8 channels in": unet_config(
        (16, 32), (True, False), 2, in_channels=8, heads=(1, 2), context_dim=12, norm_groups=4
    ),
}
VAES = {
    "tiny": VAE_SIZES,
    "sd15 topology": VAEConfig(block_out_channels=(32, 64, 96, 96)),
    "two levels": VAEConfig(block_out_channels=(12, 20), layers_per_block=1, norm_groups=4),
    "3 latent channels": VAEConfig(
        latent_channels=3, block_out_channels=(8, 16, 24), layers_per_block=3, norm_groups=2
    ),
}


def make(network, config, dtype, device, seed=0):
    return randomize(network(config), seed).to(device, dtype).eval()


def compare_unet(unet, normal, shape, t, attention, frames=3):
    """Relative error of one call on a guidance batch: 2 halves × frames."""
    config, dtype = unet.config, next(unet.parameters()).dtype
    x = normal((2, frames, config.in_channels, *shape), dtype, seed=t)
    context = normal((2, 11, config.context_dim), dtype, seed=t + 1)
    with torch.no_grad():
        ours = unet(x, t, context, attention)
    return relative(ours, predict(unet_twin(unet), x, t, context, attention))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("attention", ["own", "first"])
@pytest.mark.parametrize("name", UNETS)
def test_unet(name, attention, dtype, device, normal, measured):
    unet = make(UNet, UNETS[name], dtype, device)
    for shape, t in (((8, 8), 981), ((9, 13), 1)):
        error = compare_unet(unet, normal, shape, t, attention)
        measured(f"UNet {name}, {attention}, {shape}, t={t}, {dtype}", error, TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (7, 7), (16, 10), (17, 16)])
def test_unet_at_any_latent_size(shape, device, normal, measured):
    unet = make(UNet, UNETS["sd15 topology"], torch.float64, device, seed=2)
    measured(f"UNet at {shape}", compare_unet(unet, normal, shape, 441, "first", frames=2), 1e-12)


def test_unet_at_any_timestep(device, normal, measured):
    unet = make(UNet, UNETS["odd heads"], torch.float64, device, seed=3)
    for t in (0, 1, 2, 33, 500, 881, 941, 998, 999):
        measured(f"UNet at t={t}", compare_unet(unet, normal, (4, 4), t, "own", frames=1), 1e-12)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", VAES)
def test_vae(name, dtype, device, normal, measured):
    vae = make(VAE, VAES[name], dtype, device)
    theirs, channels = vae_twin(vae), vae.config.latent_channels
    for h, w in ((4, 4), (3, 5)):
        images = normal((2, 3, h * vae.factor, w * vae.factor), dtype, seed=h).clamp(-1, 1)
        latents = normal((2, channels, h, w), dtype, seed=w)
        for what, error in vae_errors(vae, theirs, images, latents).items():
            measured(f"VAE {name} {what}, {dtype}", error, TOLERANCE[dtype])
        assert torch.equal(vae.encode(images), vae.encode_moments(images)[0])


def test_log_variance_is_clamped_alike(device, normal):
    vae = make(VAE, VAES["two levels"], torch.float64, device)
    with torch.no_grad():
        vae.quant_conv.weight.mul_(100.0)
    images = normal((1, 3, 8, 8))
    with torch.no_grad():
        ours, theirs = vae.encode_moments(images)[1], vae_twin(vae).encode(images).latent_dist.logvar
    assert ours.min() == -30 and ours.max() == 20, "the weights should reach both bounds"
    assert relative(ours, theirs) <= 1e-9


@pytest.mark.parametrize(
    ("network", "config", "make_twin"),
    [(UNet, UNetConfig(), unet_twin), (VAE, VAEConfig(), vae_twin)],
    ids=["UNet", "VAE"],
)
def test_every_norm_has_their_epsilon_and_groups(network, config, make_twin):
    """At SD 1.5's real size, without memory: compare the norms' settings layer by layer."""

    def norms(model):
        found = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
        return {name: (type(m), m.eps, getattr(m, "num_groups", None)) for name, m in found}

    with torch.device("meta"):
        ours = network(config)
    theirs = make_twin(ours)
    assert len(norms(ours)) == {UNet: 109, VAE: 52}[network]
    assert norms(ours) == norms(theirs)


SLIPS = {  # layer -> an epsilon that is wrong there
    "down_blocks.0.resnets.0.norm2": 1e-6,
    "down_blocks.0.attentions.1.norm": 1e-5,
    "mid_block.attentions.0.transformer_blocks.0.norm3": 1e-6,
    "up_blocks.3.attentions.2.norm": 1e-5,
    "conv_norm_out": 1e-6,
}


@pytest.mark.parametrize("layer", SLIPS)
def test_the_comparison_catches_a_wrong_epsilon(layer, device, normal):
    """One norm's epsilon off by a factor of ten: float64 shows it, far above the tolerance and the rounding."""
    unet = make(UNet, UNETS["sd15 topology"], torch.float64, device)
    right = compare_unet(unet, normal, (8, 8), 500, "first", frames=2)
    unet.get_submodule(layer).eps = SLIPS[layer]
    wrong = compare_unet(unet, normal, (8, 8), 500, "first", frames=2)
    assert right <= 1e-12 and wrong > 1e-9, f"right {right:.1e}, wrong {wrong:.1e}"


def test_the_comparison_catches_a_vae_epsilon_and_a_swapped_embedding(device, normal):
    vae = make(VAE, VAES["tiny"], torch.float64, device)
    images = normal((1, 3, 16, 16))
    vae.encoder.mid_block.attentions[0].group_norm.eps = 1e-5
    with torch.no_grad():
        assert relative(vae.encode(images), vae_twin(vae).encode(images).latent_dist.mean) > 1e-9
    unet = make(UNet, UNETS["tiny"], torch.float64, device)
    theirs = unet_twin(unet)
    weight = unet.time_embedding.linear_1.weight
    sin_first = weight.roll(weight.shape[1] // 2, dims=1)
    unet.time_embedding.linear_1.weight = nn.Parameter(sin_first)
    x, context = normal((2, 1, 4, 4, 4)), normal((2, 3, 64), seed=1)
    with torch.no_grad():
        assert relative(unet(x, 100, context), predict(theirs, x, 100, context)) > 1e-3


def test_a_wrong_batch_size_is_a_silent_no_op_in_theirs(device, normal):
    """docs/method.md, difference 8, shown: what their processor does when it is told of one half too many frames.

    With batch_size = 2·frames every frame is its own "first": the same numbers as our variant "own".
    """

    unet = make(UNet, UNETS["tiny"], torch.float64, device)
    theirs = unet_twin(unet)
    x, context = normal((2, 3, 4, 8, 8)), normal((2, 5, 64), seed=1)
    theirs.set_attn_processor(zero.CrossFrameAttnProcessor2_0(batch_size=6))
    with torch.no_grad():
        no_op = theirs(x.flatten(0, 1), 441, encoder_hidden_states=context.repeat_interleave(3, 0)).sample
        assert relative(unet(x, 441, context, "own").flatten(0, 1), no_op) <= 1e-9
        assert relative(unet(x, 441, context, "first").flatten(0, 1), no_op) > 1e-3


@pytest.mark.parametrize("network", ["UNet", "VAE"])
def test_channels_last_is_the_same_network(network, device, normal):
    """The layout half precision runs in, in float64, where it must agree as the plain one does."""
    if network == "UNet":
        unet = make(UNet, UNETS["sd15 topology"], torch.float64, device).to(memory_format=torch.channels_last)
        assert compare_unet(unet, normal, (9, 13), 441, "first") <= 1e-11
        return
    vae = make(VAE, VAES["sd15 topology"], torch.float64, device)
    theirs, latents = vae_twin(vae), normal((2, 4, 5, 3))
    vae.to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert relative(vae.decode(latents), theirs.decode(latents).sample) <= 1e-11


def test_float32_survives_large_means(device, normal):
    """A decoder whose first maps have means of 30 standard deviations, laid out as loading does, in float32.

    Norms that take the variance as E[x²] − E[x]² lose it there: channels-last, this is 30 times as far off.
    """
    vae = make(VAE, VAES["sd15 topology"], torch.float64, device)
    latents = normal((1, 4, 16, 16))
    with torch.no_grad():
        vae.decoder.conv_in.bias.add_(30.0)
        exact = vae_twin(vae).decode(latents).sample
        ours = to_channels_last(vae.float()).decode(latents.float())
    assert relative(ours, exact) <= 1e-5
