"""The VAE at a tiny size: padding, factor, moments, pixels."""

import pytest
import torch
from tiny import random, randomize

from t2vz.errors import InputError
from t2vz.vae import VAE, VAEConfig, to_pixels

TINY = VAEConfig(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_groups=4)


@pytest.fixture
def vae(device):
    return randomize(VAE(TINY), seed=4).requires_grad_(False).eval().to(device)


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (40, 8), (64, 64)])
def test_latents_are_eight_times_smaller_each_way(vae, device, size):
    latents = vae.encode(random(2, 3, *size).to(device))
    assert vae.factor == 8
    assert latents.shape == (2, 4, size[0] // 8, size[1] // 8)
    assert vae.decode(latents).shape == (2, 3, *size)


def test_the_factor_follows_the_number_of_levels():
    for levels, factor in ((1, 1), (2, 2), (3, 4)):
        assert VAE(VAEConfig(block_out_channels=(4,) * levels, layers_per_block=1, norm_groups=2)).factor == factor


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (7, 7)])
def test_sides_that_are_not_multiples_of_eight_are_refused(vae, device, size):
    with pytest.raises(InputError) as caught:
        vae.encode(random(1, 3, *size).to(device))
    said = str(caught.value)
    assert str(size[0]) in said and str(size[1]) in said and "multiples of 8" in said


def test_pictures_are_coded_one_by_one(vae, device):
    images = random(3, 3, 16, 16).to(device)
    latents = vae.encode(images)
    torch.testing.assert_close(latents[1:2], vae.encode(images[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(vae.decode(latents)[2:], vae.decode(latents[2:]), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_finite_and_near_float32(vae, device):
    latents = random(1, 4, 2, 2).to(device)
    exact = vae.decode(latents)
    half = vae.to(torch.bfloat16).decode(latents.bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float() - exact).norm() / exact.norm()) < 0.05


def test_to_pixels_clamps_rounds_and_puts_channels_last(device):
    below, above = 2 * 0.49 / 255, 2 * 0.51 / 255  # half a level, and a little less or more
    values = [-2.0, -1.0, -1 + below, -1 + above, 0.2, 1 - above, 1 - below, 1.0, 3.0]
    images = torch.tensor(values, device=device).view(1, 1, 3, 3).expand(1, 3, 3, 3)
    pixels = to_pixels(images)
    assert pixels.dtype == torch.uint8 and pixels.shape == (1, 3, 3, 3)
    assert pixels[0, :, :, 1].flatten().tolist() == [0, 0, 0, 1, 153, 254, 255, 255, 255]


def test_to_pixels_undoes_the_scaling_of_every_byte(device):
    bytes_ = torch.arange(256, device=device).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_pixels(bytes_.to(dtype) / 127.5 - 1), bytes_.permute(0, 2, 3, 1).to(torch.uint8))
