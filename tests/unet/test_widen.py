"""widen_input: a UNet that reads more channels, and predicts the same until it is trained."""

import pytest
import torch
from tiny import UNET, random, randomize, refused

from t2vz.unet import UNet, widen_input


@pytest.fixture
def unet(device):
    return randomize(UNet(UNET), 0).double().to(device).eval()


def draw(device, *shape, seed=0):
    return random(*shape, seed=seed, dtype=torch.float64).to(device)


@torch.no_grad()
def test_it_predicts_the_same_whatever_the_new_channels_hold(unet, device):
    wide = widen_input(unet)
    x, context = draw(device, 1, 2, 4, 8, 8), draw(device, 1, 5, 64)
    expected = unet(x, 401, context, "first")
    for source in (torch.zeros_like(x), draw(device, 1, 2, 4, 8, 8, seed=1)):
        torch.testing.assert_close(wide(torch.cat([x, source], dim=2), 401, context, "first"), expected)
    assert wide.config.in_channels == 8 and wide.config.out_channels == 4 and not wide.training


def test_the_new_weights_can_learn_and_the_old_unet_is_left_alone(unet, device):
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    wide = widen_input(unet, 6)
    wide(draw(device, 1, 1, 6, 8, 8), 401, draw(device, 1, 5, 64)).square().sum().backward()
    assert float(wide.conv_in.weight.grad[:, 4:].abs().max()) > 0
    with torch.no_grad():
        for weight in wide.parameters():
            weight.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


def test_fewer_channels_are_refused(unet):
    refused(lambda: widen_input(unet, 3), "4 channels.*to 3")
