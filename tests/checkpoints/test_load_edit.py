"""StableDiffusion.load(edit=True): InstructPix2Pix checkpoints in both layouts, the embedded edit model, wrong ones."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_edit_sd, tiny_sd

from t2vz import StableDiffusion
from t2vz.checkpoints import save_folder, save_single_file
from t2vz.errors import InputError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """edit/ and text/, folders; edit.safetensors and text.safetensors, single files: tiny models of both kinds."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in (("edit", tiny_edit_sd), ("text", tiny_sd)):
        sd = make(folder)
        parts = (sd.unet, sd.vae, sd.text_encoder)
        save_folder(folder / name, *parts, folder / "tokenizer", dtype=torch.float32)
        save_single_file(folder / f"{name}.safetensors", *parts, dtype=torch.float32)
    return folder


@pytest.mark.parametrize("name", ["edit", "edit.safetensors"])
def test_both_layouts_load(place, name):
    sd, made = StableDiffusion.load(place / name, edit=True), tiny_edit_sd(place)
    assert sd.kind == "instruct-pix2pix" and sd.unet.config.in_channels == 8
    for ours, theirs in ((sd.unet, made.unet), (sd.vae, made.vae), (sd.text_encoder, made.text_encoder)):
        expected = theirs.state_dict()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    "name, edit, said",
    [
        ("text", True, "4 channels.*t2vz generate"),
        ("text.safetensors", True, "4 channels.*t2vz generate"),
        ("edit", False, "8 channels.*t2vz edit"),
        ("edit.safetensors", False, "8 channels.*t2vz edit"),
    ],
)
def test_the_wrong_kind_is_sent_to_its_own_command(place, name, edit, said):
    with pytest.raises(InputError, match=said) as caught:
        StableDiffusion.load(place / name, edit=edit)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_the_published_file_s_moving_average_is_taken(place, tmp_path):
    """It holds its UNet twice, as it was trained and averaged (EMA); its authors run the average."""
    tensors = load_file(place / "edit.safetensors")
    averaged = {}
    for key, tensor in tensors.items():
        if key.startswith("model.diffusion_model."):
            averaged["model_ema." + key.removeprefix("model.").replace(".", "")] = tensor + 1
    save_file({**tensors, **averaged}, tmp_path / "both.safetensors")
    shutil.copytree(place / "tokenizer", tmp_path / "tokenizer")
    once, twice = (
        StableDiffusion.load(path, edit=True).unet.conv_in.weight
        for path in (place / "edit.safetensors", tmp_path / "both.safetensors")
    )
    torch.testing.assert_close(twice, once + 1)


@pytest.fixture
def embedded(place, tmp_path, monkeypatch):
    """Embedded models of tiny size: text/ for the whole, and only a UNet for the one that edits."""
    shutil.copytree(place / "edit" / "unet", tmp_path / "embedded-edit" / "unet")
    monkeypatch.setattr("t2vz.checkpoints.model_files.embedded_weights", lambda: place / "text")
    monkeypatch.setattr("t2vz.checkpoints.model_files.embedded_edit", lambda: tmp_path / "embedded-edit")
    return tmp_path / "embedded-edit"


def test_the_embedded_edit_model_has_its_own_unet_and_shares_the_rest(place, embedded):
    sd, text = StableDiffusion.load(edit=True), StableDiffusion.load()
    edit = tiny_edit_sd(place)
    assert sd.kind == "instruct-pix2pix" and sd.tokenizer.size == text.tokenizer.size
    assert torch.equal(sd.unet.conv_in.weight, edit.unet.conv_in.weight)
    for ours, theirs in ((sd.vae, text.vae), (sd.text_encoder, text.text_encoder)):
        expected = theirs.state_dict()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in ours.state_dict().items())


def test_the_embedded_edit_model_s_hash_knows_both_folders(embedded):
    first, text = StableDiffusion.load(edit=True).hash(), StableDiffusion.load().hash()
    weights = embedded / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: tensor + 1 for key, tensor in load_file(weights).items()}, weights)
    assert len({first, text, StableDiffusion.load(edit=True).hash()}) == 3
    assert StableDiffusion.load().hash() == text


def test_an_edit_unet_beside_any_folder_is_found(place, tmp_path):
    """`python -m training export --to mine` writes mine/ and mine-edit/: --weights mine is enough for both commands."""
    shutil.copytree(place / "text", tmp_path / "mine")
    with pytest.raises(InputError, match="reads 4 channels"):
        StableDiffusion.load(tmp_path / "mine", edit=True)
    shutil.copytree(place / "edit" / "unet", tmp_path / "mine-edit" / "unet")
    sd, text = StableDiffusion.load(tmp_path / "mine", edit=True), StableDiffusion.load(tmp_path / "mine")
    assert sd.kind == "instruct-pix2pix" and text.kind == "sd1"
    assert torch.equal(sd.unet.conv_in.weight, tiny_edit_sd(place).unet.conv_in.weight)
    assert torch.equal(sd.vae.encoder.conv_in.weight, text.vae.encoder.conv_in.weight)
    assert sd.hash() not in (text.hash(), StableDiffusion.load(place / "edit", edit=True).hash())


def test_an_edit_model_that_is_not_installed_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("t2vz.checkpoints.model_files.__file__", str(tmp_path / "t2vz/checkpoints/model_files.py"))
    with pytest.raises(InputError, match="embedded edit model is not installed.*--weights") as caught:
        StableDiffusion.load(edit=True)
    assert "\n" not in str(caught.value)
