"""The comparison at Stable Diffusion 1.5's real size, weights made up: 860 M, 84 M and 123 M parameters.

    pytest tests/equivalence/test_real_size.py -m slow -rP

Shapes are the configs' defaults, checked against the published ones in tests/checkpoints. One network is in memory at a
time, and both programs share its tensors: 7 GB for the float64 UNet, half of it for float32.
"""

import gc

import pytest
import torch
import twins
from tiny import randomize
from twins import relative

from t2vz.text import TextConfig, TextEncoder
from t2vz.unet import ControlNet, ControlNetConfig, UNet, UNetConfig
from t2vz.vae import VAE, VAEConfig

pytestmark = pytest.mark.slow


def made_up(network, dtype, device):
    """Built without memory, then filled tensor by tensor."""
    gc.collect()
    with torch.device("meta"):
        module = network()
    module = randomize(module.to_empty(device=device).to(dtype), seed=5)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("dtype", "size", "tolerance"), [(torch.float64, 16, 1e-9), (torch.float32, 32, 1e-5)], ids=str
)
def test_unet(dtype, size, tolerance, device, normal, measured):
    unet = made_up(lambda: UNet(UNetConfig()), dtype, device)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    theirs = twins.unet_twin(unet)
    x, context = normal((2, 2, 4, size, size), dtype), normal((2, 77, 768), dtype, seed=1)
    for attention, t in (("own", 981), ("first", 441)):
        with torch.no_grad():
            ours = unet(x, t, context, attention)
        assert 0.1 < float(ours.std()) < 100, "the made-up network should neither die nor explode"
        error = relative(ours, twins.predict(theirs, x, t, context, attention))
        measured(f"SD 1.5's UNet, {size}×{size}, {attention}, {dtype}", error, tolerance)


@pytest.mark.parametrize(("dtype", "size", "tolerance"), [(torch.float64, 8, 1e-9), (torch.float32, 16, 1e-5)], ids=str)
def test_controlnet(dtype, size, tolerance, device, normal, measured):
    controlnet = made_up(lambda: ControlNet(ControlNetConfig()), dtype, device)
    assert sum(p.numel() for p in controlnet.parameters()) == 361_279_120
    theirs = twins.control_twin(controlnet)
    twins.cross_frame(theirs, "first")
    x, context = normal((2, 2, 4, size, size), dtype), normal((2, 77, 768), dtype, seed=1)
    pictures = torch.sigmoid(normal((1, 2, 3, 8 * size, 8 * size), dtype, seed=2))
    errors = twins.control_errors(controlnet, theirs, x, 441, context, pictures, "first")
    measured(f"SD 1.5's ControlNet, worst residual, {size}×{size}, {dtype}", max(errors), tolerance)


@pytest.mark.parametrize(
    ("dtype", "side", "tolerance"), [(torch.float64, 64, 1e-9), (torch.float32, 256, 1e-5)], ids=str
)
def test_vae(dtype, side, tolerance, device, normal, measured):
    vae = made_up(lambda: VAE(VAEConfig()), dtype, device)
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    images = normal((1, 3, side, side), dtype).clamp(-1, 1)
    for what, error in twins.vae_errors(vae, twins.vae_twin(vae), images).items():
        measured(f"SD 1.5's VAE {what}, {side} px, {dtype}", error, tolerance)


@torch.no_grad()
def test_text(measured):
    """The text tower at CLIP ViT-L/14's size, against transformers'."""
    tower = randomize(TextEncoder(TextConfig()), seed=5).eval()
    assert sum(p.numel() for p in tower.parameters()) == 123_060_480
    ids = torch.randint(49408, (2, 77), generator=torch.Generator().manual_seed(0))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        theirs = twins.text_twin(tower.to(dtype))(input_ids=ids).last_hidden_state
        measured(f"CLIP's text tower, {dtype}", relative(tower(ids), theirs), tolerance)
