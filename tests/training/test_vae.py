"""The autoencoder's training: its start, its loss, its measurements."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from t2vz.vae.config import VAEConfig
from training.fit import Settings
from training.folder import Folder
from training.pictures import Pictures, paint_one
from training.vae import (
    VAELoss,
    encode_all,
    load_vae,
    measure_psnr,
    measure_scaling_factor,
    new_vae,
    picture_losses,
    train,
    train_decoder,
    vae_losses,
)

TINY = VAEConfig(block_out_channels=(16, 16, 16, 24), layers_per_block=1, norm_groups=4, scaling_factor=1.0)


def painted(count, size=32, seed=0):
    images, captions = zip(*(paint_one(i, size, seed, "training") for i in range(count)))
    return Pictures(np.stack(images), list(captions))


@pytest.fixture(scope="module")
def pictures():
    return painted(6)


def test_new_vae_starts_near_the_mean_colours(pictures):
    """Latents follow the 8×8 mean colours, and the picture is about as near as its mean colour, or nearer."""
    images = pictures.batch(torch.arange(6))
    vae = new_vae(TINY, seed=4)
    again = vae.decode(vae.encode(images))
    cells = F.avg_pool2d(images, 8)
    latents = vae.encode(images)[:, :3]
    for i in range(6):  # group norm leaves scale and offset of each picture open
        correlation = torch.corrcoef(torch.stack([latents[i].flatten(), cells[i].flatten()]))[0, 1]
        assert correlation > 0.9
    flat = images.mean(dim=(2, 3), keepdim=True)
    assert (again - images).abs().mean() < (flat - images).abs().mean() * 1.2
    assert vae.encode_moments(images)[1].max() == -6.0


def test_new_vae_depends_on_its_seed_alone():
    torch.manual_seed(1)
    one, state = new_vae(TINY, 7), torch.get_rng_state()
    torch.manual_seed(2)
    two = new_vae(TINY, 7)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())  # the global generator was not used
    assert not torch.equal(one.encoder.conv_in.weight, new_vae(TINY, 8).encoder.conv_in.weight)


def test_losses_against_brute_force(pictures):
    vae = new_vae(TINY, 0)
    images = pictures.batch(torch.arange(2))
    weights = VAELoss(pooled=0.7, edges=0.3, kl=1e-3)
    losses = vae_losses(vae, images, torch.Generator().manual_seed(5), weights)

    mean, log_variance = (m.float() for m in vae.encode_moments(images))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    sigma = log_variance.double().div(2).exp()
    error = (vae.decode(mean + (log_variance / 2).exp() * noise) - images).detach().numpy()
    means = 0.0
    for s in (2, 4, 8):
        means += np.abs(error.reshape(2, 3, 32 // s, s, 32 // s, s).mean(axis=(3, 5))).mean()
    edges = np.abs(np.diff(error, axis=3)).mean() + np.abs(np.diff(error, axis=2)).mean()
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean.double(), sigma), normal(0.0, 1.0)).sum().item() / 2
    wanted = np.abs(error).mean() + 0.7 * means + 0.3 * edges + 1e-3 * kl
    assert losses["loss"].item() == pytest.approx(wanted, rel=1e-4)
    assert losses["kl"].item() == pytest.approx(kl, rel=1e-4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of six pictures, and a training of thirty steps."""
    settings = Settings(steps=30, batch=2, learning_rate=1e-3, warmup=2, ema=0.5)
    monkeypatch.setattr("training.vae.SETTINGS", settings)
    monkeypatch.setattr("training.vae.DECODER_SETTINGS", settings)
    return Folder(out=tmp_path, size=32, pictures=6, unseen=6, vae=TINY)


def test_training_lowers_the_loss_and_measures_and_the_decoder_goes_on(folder):
    train(folder)
    vae, pictures = load_vae(folder), folder.paint("training", 6)
    images = pictures.batch(torch.arange(6))
    generator = torch.Generator().manual_seed(0)
    before = vae_losses(new_vae(TINY, 0), images, generator)["loss"]
    assert vae_losses(vae, images, generator)["loss"] < before
    assert vae.config.scaling_factor == pytest.approx(1 / vae.encode(images).std().item(), rel=1e-5)
    assert (folder.out / "vae/sheet.png").is_file()
    latents = encode_all(vae, pictures, batch=4)
    assert latents.dtype == torch.float16 and latents.shape == (6, 4, 4, 4)
    assert latents.float().std() == pytest.approx(1.0, abs=0.02)

    error = picture_losses(vae.decode(latents.float() / vae.config.scaling_factor) - images, VAELoss())["loss"]
    train_decoder(folder)
    later = load_vae(folder)
    for half in ("encoder", "quant_conv"):  # latents keep their meaning
        one, other = getattr(vae, half).parameters(), getattr(later, half).parameters()
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    decoded = later.decode(latents.float() / vae.config.scaling_factor)
    assert picture_losses(decoded - images, VAELoss())["loss"] < error


class Halves:
    """A stand-in for a VAE that gives every pixel back too dark by a known amount."""

    def __init__(self, by):
        self.by = by

    def parameters(self):
        yield torch.zeros(1)

    def encode(self, images):
        return images

    def decode(self, latents):
        return latents - self.by / 127.5


def test_psnr_of_a_known_error():
    images = torch.randint(20, 255, (5, 8, 8, 3), generator=torch.Generator().manual_seed(1)).byte()
    pictures = Pictures(images.numpy(), [""] * 5)
    assert measure_psnr(Halves(6), pictures) == pytest.approx(20 * math.log10(255 / 6), abs=1e-9)
    wanted = 1 / pictures.batch(torch.arange(5)).double().std().item()
    assert measure_scaling_factor(Halves(0), pictures) == pytest.approx(wanted)
