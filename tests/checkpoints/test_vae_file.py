"""Another VAE for a checkpoint: its folder, a lone file of either naming, or the VAE of a whole single file."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import VAE_SIZES, tiny_sd, tiny_tokenizer

from t2vz import StableDiffusion
from t2vz.checkpoints import save_folder, save_single_file
from t2vz.errors import InputError
from t2vz.vae import VAEConfig

VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
PREFIX = "first_stage_model."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """mine/, a checkpoint folder; other/ and other.safetensors, the same sizes with other weights. Never changed."""
    place = tmp_path_factory.mktemp("vae")
    for name, seed in (("mine", 0), ("other", 1)):
        sd = tiny_sd(place / "words", seed=seed)
        parts = (sd.unet, sd.vae, sd.text_encoder)
        save_folder(place / name, *parts, tiny_tokenizer(place / "words"), dtype=torch.float32)
        save_single_file(place / f"{name}.safetensors", *parts, dtype=torch.float32)
    return place


@pytest.fixture(scope="module")
def loaded(place):
    """The two models as they are."""
    return {name: StableDiffusion.load(place / name) for name in ("mine", "other")}


def lone(place, path, prefix, more):
    """The other VAE as a file of its own, in the original naming."""
    tensors = load_file(place / "other.safetensors")
    vae = {prefix + key.removeprefix(PREFIX): tensor for key, tensor in tensors.items() if key.startswith(PREFIX)}
    save_file(vae | {key: torch.ones(2) for key in more}, path)
    return path


@pytest.mark.parametrize(
    "kind", ["folder", "its file", "file elsewhere", "original", "original with prefix", "whole single file"]
)
def test_any_form_of_it_replaces_the_checkpoint_s(place, loaded, tmp_path, kind):
    if kind == "file elsewhere":  # no config.json beside it
        shutil.copy(place / "other" / VAE_FILE, tmp_path / "vae.safetensors")
    path = {
        "folder": lambda: place / "other/vae",
        "its file": lambda: place / "other" / VAE_FILE,
        "file elsewhere": lambda: tmp_path / "vae.safetensors",
        "original": lambda: lone(place, tmp_path / "ft-mse.safetensors", "", ["loss.logvar", "model_ema.decay"]),
        "original with prefix": lambda: lone(place, tmp_path / "x.safetensors", PREFIX, [PREFIX + "loss.logvar"]),
        "whole single file": lambda: place / "other.safetensors",
    }[kind]()
    mine, other = loaded["mine"], loaded["other"]
    for base in (place / "mine", place / "mine.safetensors"):
        mixed = StableDiffusion.load(base, vae=path, tokenizer=place / "mine/tokenizer")
        assert mixed.vae.config == other.vae.config
        for name, weight in mixed.vae.state_dict().items():
            assert torch.equal(weight, other.vae.state_dict()[name])
        unet = mixed.unet.state_dict()
        assert all(torch.equal(weight, unet[name]) for name, weight in mine.unet.state_dict().items())


def test_a_checkpoint_without_vae_needs_one_named(place, tmp_path):
    bare = shutil.copytree(place / "mine", tmp_path / "bare")
    shutil.rmtree(bare / "vae")
    with pytest.raises(InputError, match="holds no vae"):
        StableDiffusion.load(bare)
    sd = StableDiffusion.load(bare, vae=place / "other/vae")
    assert sd.vae.config == VAE_SIZES
    assert len({sd.hash(), StableDiffusion.load(place / "mine").hash()}) == 2  # run files say what made a video


@pytest.mark.parametrize(
    "sizes, words",
    [
        (VAEConfig(block_out_channels=(32, 32, 32, 64), layers_per_block=1, latent_channels=16), "latent channels 16"),
        (
            VAEConfig(block_out_channels=(32, 32, 32, 64), layers_per_block=1, scaling_factor=0.13025),
            "scaling factor of latents 0.13025",
        ),
        (VAEConfig(block_out_channels=(32, 32, 64), layers_per_block=1), "levels 3"),
    ],
)
def test_a_vae_of_another_model_is_refused(place, tmp_path, sizes, words):
    sd = tiny_sd(tmp_path / "words", vae=sizes)
    save_folder(tmp_path / "odd", sd.unet, sd.vae, sd.text_encoder, tmp_path / "words/tokenizer")
    with pytest.raises(InputError, match=words) as caught:
        StableDiffusion.load(place / "mine", vae=tmp_path / "odd/vae")
    assert "\n" not in str(caught.value)


def test_what_is_no_vae_is_said(place, tmp_path):
    unet = place / "mine/unet/diffusion_pytorch_model.safetensors"
    for path, words in (
        (unet, "not a VAE"),
        (place / "mine", "no config.json"),
        (place / "mine/unet", "unet"),
        (tmp_path / "gone.safetensors", "no such file"),
        (tmp_path / "vae.pt", "pickle"),
    ):
        with pytest.raises(InputError, match=words):
            StableDiffusion.load(place / "mine", vae=path)
    tensors = load_file(place / "other" / VAE_FILE)
    tensors.pop("decoder.conv_out.bias")
    save_file(tensors, tmp_path / "pruned.safetensors")
    with pytest.raises(InputError, match="missing: decoder.conv_out.bias"):
        StableDiffusion.load(place / "mine", vae=tmp_path / "pruned.safetensors")
