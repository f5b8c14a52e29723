"""StableDiffusion.load(edit=True): InstructPix2Pix checkpoints in both layouts, the embedded edit model, wrong ones."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import assert_same_weights, refused, tiny_edit_sd

from t2vz import StableDiffusion


@pytest.mark.parametrize("name", ["edit", "edit.safetensors"])
def test_both_layouts_load(models, tmp_path, name):
    sd, wanted = StableDiffusion.load(models / name, edit=True), tiny_edit_sd(tmp_path)
    assert sd.kind == "instruct-pix2pix" and sd.unet.config.in_channels == 8
    for part in ("unet", "vae", "text_encoder"):
        assert_same_weights(getattr(sd, part), getattr(wanted, part))


@pytest.mark.parametrize(
    "name, edit, said",
    [
        ("tiny", True, "4 channels.*t2vz generate"),
        ("tiny.safetensors", True, "4 channels.*t2vz generate"),
        ("edit", False, "8 channels.*t2vz edit"),
        ("edit.safetensors", False, "8 channels.*t2vz edit"),
    ],
)
def test_the_wrong_kind_is_sent_to_its_own_command(models, name, edit, said):
    refused(lambda: StableDiffusion.load(models / name, edit=edit), said, name)


def test_the_published_file_s_moving_average_is_taken(models, tmp_path):
    """It holds its UNet twice, as it was trained and averaged (EMA); its authors run the average."""
    tensors = load_file(models / "edit.safetensors")
    averaged = {
        "model_ema." + key.removeprefix("model.").replace(".", ""): tensor + 1
        for key, tensor in tensors.items()
        if key.startswith("model.diffusion_model.")
    }
    save_file(tensors | averaged, tmp_path / "both.safetensors")
    shutil.copytree(models / "tokenizer", tmp_path / "tokenizer")
    once, twice = (
        StableDiffusion.load(path, edit=True).unet.conv_in.weight
        for path in (models / "edit.safetensors", tmp_path / "both.safetensors")
    )
    torch.testing.assert_close(twice, once + 1)


@pytest.fixture
def embedded(models, tmp_path, monkeypatch):
    """Embedded models of tiny size: text/ for the whole, and only a UNet for the one that edits."""
    shutil.copytree(models / "edit" / "unet", tmp_path / "embedded-edit" / "unet")
    monkeypatch.setattr("t2vz.checkpoints.load.embedded_weights", lambda: models / "tiny")
    monkeypatch.setattr("t2vz.checkpoints.load.embedded_edit", lambda: tmp_path / "embedded-edit")
    return tmp_path / "embedded-edit"


def test_the_embedded_edit_model_has_its_own_unet_and_shares_the_rest(embedded, tmp_path):
    sd, text = StableDiffusion.load(edit=True), StableDiffusion.load()
    assert sd.kind == "instruct-pix2pix" and sd.tokenizer.size == text.tokenizer.size
    assert_same_weights(sd.unet, tiny_edit_sd(tmp_path).unet)
    assert_same_weights(sd.vae, text.vae)
    assert_same_weights(sd.text_encoder, text.text_encoder)


def test_the_embedded_edit_model_s_hash_knows_both_folders(embedded):
    first, text = StableDiffusion.load(edit=True).hash(), StableDiffusion.load().hash()
    weights = embedded / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: tensor + 1 for key, tensor in load_file(weights).items()}, weights)
    assert len({first, text, StableDiffusion.load(edit=True).hash()}) == 3
    assert StableDiffusion.load().hash() == text


def test_an_edit_unet_beside_any_folder_is_found(models, tmp_path):
    """`python -m training export --to mine` writes mine/ and mine-edit/: --weights mine is enough for both commands."""
    shutil.copytree(models / "tiny", tmp_path / "mine")
    refused(lambda: StableDiffusion.load(tmp_path / "mine", edit=True), "reads 4 channels")
    shutil.copytree(models / "edit" / "unet", tmp_path / "mine-edit" / "unet")
    sd, text = StableDiffusion.load(tmp_path / "mine", edit=True), StableDiffusion.load(tmp_path / "mine")
    assert sd.kind == "instruct-pix2pix" and text.kind == "sd1"
    assert_same_weights(sd.unet, tiny_edit_sd(tmp_path).unet)
    assert_same_weights(sd.vae, text.vae)
    assert sd.hash() not in (text.hash(), StableDiffusion.load(models / "edit", edit=True).hash())


def test_an_edit_model_that_is_not_installed_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("t2vz.checkpoints.load.__file__", str(tmp_path / "t2vz/checkpoints/load.py"))
    refused(lambda: StableDiffusion.load(edit=True), "embedded edit model is not installed.*--weights")
