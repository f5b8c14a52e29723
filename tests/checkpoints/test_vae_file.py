"""Another VAE for a checkpoint: its folder, a lone file of either naming, or the VAE of a whole single file."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import VAE_SIZES, assert_same_weights, refused, tiny_sd

from t2vz import StableDiffusion
from t2vz.checkpoints import save_folder

VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
PREFIX = "first_stage_model."


@pytest.fixture(scope="module")
def loaded(models):
    """The two models as they are."""
    return {name: StableDiffusion.load(models / name) for name in ("tiny", "other")}


def lone(models, path, prefix, more):
    """The other VAE as a file of its own, in the original naming."""
    tensors = load_file(models / "other.safetensors")
    vae = {prefix + key.removeprefix(PREFIX): tensor for key, tensor in tensors.items() if key.startswith(PREFIX)}
    save_file(vae | {key: torch.ones(2) for key in more}, path)
    return path


FORMS = ["folder", "its file", "file elsewhere", "original", "original with prefix", "whole single file", "inpainting"]


@pytest.mark.parametrize("kind", FORMS)
def test_any_form_of_it_replaces_the_checkpoint_s(models, loaded, tmp_path, kind):
    if kind == "file elsewhere":  # no config.json beside it
        shutil.copy(models / "other" / VAE_FILE, tmp_path / "vae.safetensors")
    first = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    save_file(load_file(models / "other.safetensors") | first, tmp_path / "inpainting.safetensors")
    path = {
        "folder": lambda: models / "other/vae",
        "its file": lambda: models / "other" / VAE_FILE,
        "file elsewhere": lambda: tmp_path / "vae.safetensors",
        "original": lambda: lone(models, tmp_path / "ft-mse.safetensors", "", ["loss.logvar", "model_ema.decay"]),
        "original with prefix": lambda: lone(models, tmp_path / "x.safetensors", PREFIX, [PREFIX + "loss.logvar"]),
        "whole single file": lambda: models / "other.safetensors",
        "inpainting": lambda: tmp_path / "inpainting.safetensors",
    }[kind]()
    tiny, other = loaded["tiny"], loaded["other"]
    for base in (models / "tiny", models / "tiny.safetensors"):
        mixed = StableDiffusion.load(base, vae=path, tokenizer=models / "tiny/tokenizer")
        assert mixed.vae.config == other.vae.config
        assert_same_weights(mixed.vae, other.vae)
        assert_same_weights(mixed.unet, tiny.unet)


def test_a_checkpoint_without_vae_needs_one_named(models, tmp_path):
    bare = shutil.copytree(models / "tiny", tmp_path / "bare")
    shutil.rmtree(bare / "vae")
    refused(lambda: StableDiffusion.load(bare), "holds no vae")
    sd = StableDiffusion.load(bare, vae=models / "other/vae")
    assert sd.vae.config == VAE_SIZES
    assert len({sd.hash(), StableDiffusion.load(models / "tiny").hash()}) == 2  # run files say what made a video


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"latent_channels": 16}, "latent channels 16"),
        ({"scaling_factor": 0.13025}, "scaling factor of latents 0.13025"),
        ({"block_out_channels": (32, 32, 64)}, "levels 3"),
    ],
)
def test_a_vae_of_another_model_is_refused(models, tmp_path, sizes, words):
    sd = tiny_sd(tmp_path / "words", vae=replace(VAE_SIZES, **sizes))
    save_folder(tmp_path / "odd", sd.unet, sd.vae, sd.text_encoder, tmp_path / "words/tokenizer")
    refused(lambda: StableDiffusion.load(models / "tiny", vae=tmp_path / "odd/vae"), words)


def test_what_is_no_vae_is_said(models, tmp_path):
    unet = models / "tiny/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(models / "other" / VAE_FILE)
    tensors.pop("decoder.conv_out.bias")
    save_file(tensors, tmp_path / "pruned.safetensors")
    bias = f"{PREFIX}quant_conv.bias"
    twice = {bias.removeprefix(PREFIX): torch.ones(8), "encoder.down.0.block.0.norm1.bias": torch.ones(32)}
    save_file({bias: torch.ones(8)} | twice, tmp_path / "twice.safetensors")
    for path, words in (
        (unet, "not a VAE"),
        (models / "tiny", "no config.json"),
        (models / "tiny/unet", "unet"),
        (tmp_path / "gone.safetensors", "no such file"),
        (tmp_path / "vae.pt", "pickle"),
        (tmp_path / "pruned.safetensors", "missing: decoder.conv_out.bias"),
        (tmp_path / "twice.safetensors", f"{bias} and quant_conv.bias are the same|quant_conv.bias and {bias} are"),
    ):
        refused(lambda path=path: StableDiffusion.load(models / "tiny", vae=path), words)
