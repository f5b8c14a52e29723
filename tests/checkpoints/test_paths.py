"""What is given as a path and is none, or is a place where the weights are not: one line that fits what was asked for;
and the hub's cache, whose files are links."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_sd, tiny_tokenizer

from t2vz import StableDiffusion
from t2vz.checkpoints import checkpoint_hash, inspect, save_folder, save_single_file
from t2vz.checkpoints.contents import look
from t2vz.cli import main
from t2vz.errors import InputError
from t2vz.model import load_controlnet


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """folder/ and one.safetensors, the same tiny model with tokenizer/ beside. Never changed."""
    place = tmp_path_factory.mktemp("paths")
    sd = tiny_sd(place)
    parts = (sd.unet, sd.vae, sd.text_encoder)
    save_folder(place / "folder", *parts, tiny_tokenizer(place), dtype=torch.float32)
    save_single_file(place / "one.safetensors", *parts, dtype=torch.float32)
    return place


OPENERS = {
    "unet/ vae/ text_encoder/": lambda made, path: StableDiffusion.load(path),
    "VAE's folder": lambda made, path: StableDiffusion.load(made / "folder", vae=path),
    "ControlNet for Stable Diffusion": lambda made, path: load_controlnet(path),
    "vocab.json and merges.txt": lambda made, path: StableDiffusion.load(made / "folder", tokenizer=path),
    "give a LoRA's .safetensors file": lambda made, path: StableDiffusion.load(made / "folder", loras=[path]),
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
def test_each_opener_says_what_it_wants(made, path, words, wanted):
    with pytest.raises(InputError, match=words) as caught:
        OPENERS[wanted](made, path)
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


def test_a_checkpoint_where_one_network_is_wanted(made):
    with pytest.raises(InputError, match="did you mean .*folder/vae"):
        StableDiffusion.load(made / "folder", vae=made / "folder")
    with pytest.raises(InputError, match="no ControlNet's folder"):
        load_controlnet(made / "folder")
    with pytest.raises(InputError, match="is a folder, and a LoRA is a file"):
        StableDiffusion.load(made / "folder", loras=[made / "folder"])


def test_a_missing_vae_names_the_option(made, tmp_path):
    tensors = {key: t for key, t in load_file(made / "one.safetensors").items() if not key.startswith("first_stage")}
    save_file(tensors, tmp_path / "pruned.safetensors")
    with pytest.raises(InputError, match="holds no vae; name one with --vae"):
        StableDiffusion.load(tmp_path / "pruned.safetensors")


@pytest.fixture
def cache(made, tmp_path):
    """models--nobody--tiny as the hub's client keeps it: snapshots/REVISION/… are links to blobs/."""
    top = tmp_path / "models--nobody--tiny"
    (top / "blobs").mkdir(parents=True)
    for file in (made / "folder").rglob("*.*"):
        blob = shutil.copy(file, top / "blobs" / f"{len(list((top / 'blobs').iterdir())):040x}")
        link = top / "snapshots/0123abc" / file.relative_to(made / "folder")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return top


@pytest.mark.parametrize("inside", ["", "snapshots", "snapshots/0123abc"])
def test_a_folder_of_the_hub_s_cache_loads(made, cache, inside):
    sd, wanted = StableDiffusion.load(cache / inside), StableDiffusion.load(made / "folder")
    assert torch.equal(sd.unet.conv_in.weight, wanted.unet.conv_in.weight) and sd.hash() == wanted.hash()
    assert inspect(cache / inside)["kind"] == "sd1"
    assert all("blobs" not in file.parts for file in look(cache / inside).files)  # links are kept


def test_of_several_revisions_the_current_one_is_taken(cache):
    shutil.copytree(cache / "snapshots/0123abc", cache / "snapshots/4567def", symlinks=True)
    with pytest.raises(InputError, match="2 revisions.*snapshots/REVISION"):
        StableDiffusion.load(cache)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("4567def")
    assert "4567def" in str(look(cache).files[0])


def test_a_link_keeps_what_lies_beside_it(made, tmp_path):
    """A single file's tokenizer/ and a folder's edit UNet are looked for beside the link, not beside its target."""
    shutil.copytree(made / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "linked.safetensors").symlink_to(made / "one.safetensors")
    sd = StableDiffusion.load(tmp_path / "linked.safetensors")
    assert sd.path == tmp_path / "linked.safetensors"
    before = sd.hash()
    (tmp_path / "tokenizer/merges.txt").write_text((tmp_path / "tokenizer/merges.txt").read_text() + "q x\n")
    assert checkpoint_hash(sd.path) != before


def test_inspect_says_the_same(made, capsys):
    assert main(["inspect", "nobody/some-model-v1.5"]) == 2
    assert "hf download nobody/some-model-v1.5" in capsys.readouterr().err
