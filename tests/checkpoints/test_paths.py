"""What is given as a path and is none, or is a place where the weights are not: one line that fits what was asked for;
and the hub's cache, whose files are links."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import refused

from t2vz import StableDiffusion
from t2vz.checkpoints import checkpoint_hash, inspect
from t2vz.checkpoints.contents import look
from t2vz.cli import main
from t2vz.model import load_controlnet

OPENERS = {
    "unet/ vae/ text_encoder/": lambda models, path: StableDiffusion.load(path),
    "VAE's folder": lambda models, path: StableDiffusion.load(models / "tiny", vae=path),
    "ControlNet for Stable Diffusion": lambda models, path: load_controlnet(path),
    "vocab.json and merges.txt": lambda models, path: StableDiffusion.load(models / "tiny", tokenizer=path),
    "give a LoRA's .safetensors file": lambda models, path: StableDiffusion.load(models / "tiny", loras=[path]),
}


@pytest.mark.parametrize(
    "path, words",
    [
        ("nobody/some-model-v1.5", "Hugging Face hub.*hf download nobody/some-model-v1.5"),
        ("https://huggingface.co/a/b/resolve/main/c.safetensors", "web address.*downloads nothing"),
        ("there/is-none.safetensors", "no such file"),
        ("~/is-none.safetensors", "^/.*is-none.safetensors: no such file"),
        ("x" * 300, "File name too long"),
        ("~nobody-here/x", "no such file"),
    ],
)
@pytest.mark.parametrize("wanted", OPENERS)
def test_each_opener_says_what_it_wants(models, path, words, wanted):
    refused(lambda: OPENERS[wanted](models, path), words, wanted)


def test_a_checkpoint_where_one_network_is_wanted(models):
    refused(lambda: StableDiffusion.load(models / "tiny", vae=models / "tiny"), "did you mean .*tiny/vae")
    refused(lambda: load_controlnet(models / "tiny"), "no ControlNet's folder")
    refused(lambda: StableDiffusion.load(models / "tiny", loras=[models / "tiny"]), "is a folder, and a LoRA is a file")


def test_a_missing_vae_names_the_option(models, tmp_path):
    tensors = {key: t for key, t in load_file(models / "tiny.safetensors").items() if not key.startswith("first_stage")}
    save_file(tensors, tmp_path / "pruned.safetensors")
    refused(lambda: StableDiffusion.load(tmp_path / "pruned.safetensors"), "holds no vae; name one with --vae")


@pytest.fixture
def cache(models, tmp_path):
    """models--nobody--tiny as the hub's client keeps it: snapshots/REVISION/… are links to blobs/."""
    top = tmp_path / "models--nobody--tiny"
    (top / "blobs").mkdir(parents=True)
    for file in (models / "tiny").rglob("*.*"):
        blob = shutil.copy(file, top / "blobs" / f"{len(list((top / 'blobs').iterdir())):040x}")
        link = top / "snapshots/0123abc" / file.relative_to(models / "tiny")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return top


@pytest.mark.parametrize("inside", ["", "snapshots", "snapshots/0123abc"])
def test_a_folder_of_the_hub_s_cache_loads(models, cache, inside):
    sd, wanted = StableDiffusion.load(cache / inside), StableDiffusion.load(models / "tiny")
    assert torch.equal(sd.unet.conv_in.weight, wanted.unet.conv_in.weight) and sd.hash() == wanted.hash()
    assert inspect(cache / inside)["kind"] == "sd1"
    assert all("blobs" not in file.parts for file in look(cache / inside).files)  # links are kept


def test_of_several_revisions_the_current_one_is_taken(cache):
    shutil.copytree(cache / "snapshots/0123abc", cache / "snapshots/4567def", symlinks=True)
    refused(lambda: StableDiffusion.load(cache), "2 revisions.*snapshots/REVISION")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("4567def")
    assert "4567def" in str(look(cache).files[0])


def test_a_link_keeps_what_lies_beside_it(models, tmp_path):
    """A single file's tokenizer/ and a folder's edit UNet are looked for beside the link, not beside its target."""
    shutil.copytree(models / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "linked.safetensors").symlink_to(models / "tiny.safetensors")
    sd = StableDiffusion.load(tmp_path / "linked.safetensors")
    assert sd.path == tmp_path / "linked.safetensors"
    before = sd.hash()
    (tmp_path / "tokenizer/merges.txt").write_text((tmp_path / "tokenizer/merges.txt").read_text() + "q x\n")
    assert checkpoint_hash(sd.path) != before


def test_inspect_says_the_same(models, capsys):
    assert main(["inspect", "nobody/some-model-v1.5"]) == 2
    assert "hf download nobody/some-model-v1.5" in capsys.readouterr().err
