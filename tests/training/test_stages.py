"""The whole training at toy size, its commands, and the folder it ends in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import random
from transformers import CLIPModel

from t2vz.model import StableDiffusion, load_controlnet
from t2vz.unet.config import UNetConfig
from t2vz.vae.config import VAEConfig
from training import __main__ as stages
from training import folder as folders
from training.__main__ import main, train, train_all
from training.clip import load_clip
from training.export import export
from training.fit import read_facts
from training.folder import CLIPSizes, Folder
from training.vae import load_vae


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder that it ends in; those of the edit model and the ControlNet are beside it."""
    folder = tmp_path_factory.mktemp("exported") / "small"
    export(trained, folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two steps of everything at 64 pixels."""
    folder = Folder(
        out=tmp_path_factory.mktemp("run"),
        size=64,
        pictures=40,
        unseen=4,
        latents=36,
        edits=16,
        steps=2,
        clip=CLIPSizes(width=64, text_layers=1, image_layers=1, image_size=32, patch=16),
        vae=VAEConfig(block_out_channels=(16, 16, 16, 16), layers_per_block=1, norm_groups=4, scaling_factor=1.0),
        unet=UNetConfig(block_out_channels=(16, 16, 16, 16), layers_per_block=1, heads=(2,) * 4, norm_groups=4),
    )
    train_all(folder)
    return folder


def test_everything_is_written(trained):
    for name in stages.STAGES:
        sheet = ["sheet.png"] if name in ("vae", "unet", "decoder", "edit", "controlnet") else []
        for file in (f"{name}.safetensors", "state.safetensors", "losses.csv", "losses.png", *sheet):
            assert (trained.out / name / file).is_file()
    assert trained.load("unet").config.sample_size == 8


def test_finished_stages_are_not_run_again(trained, monkeypatch):
    monkeypatch.setattr(folders, "paint_pictures", lambda *_: pytest.fail("a finished stage began again"))
    train_all(trained)


def test_exported_folder_holds_the_same_networks(trained, exported):
    sd = StableDiffusion.load(exported)
    assert sd.vae.config.scaling_factor == pytest.approx(load_vae(trained).config.scaling_factor)
    for loaded, own in ((sd.unet, trained.load("unet")), (sd.vae, load_vae(trained))):
        for a, b in zip(loaded.parameters(), own.parameters()):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    own = load_clip(trained).text_model(input_ids=sd.tokenizer.encode("a red ball").ids[None]).last_hidden_state
    torch.testing.assert_close(sd.encode_text(["a red ball"]), own, atol=1e-2, rtol=1e-2)
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "| vae |" in card and "dB PSNR on 4 unseen" in card


def test_exported_edit_unet_and_controlnet_run(trained, exported):
    assert {path.name for path in exported.parent.iterdir()} == {"small", "small-edit", "small-control"}
    controlnet = load_controlnet(f"{exported}-control")
    sd = StableDiffusion.load(exported)
    x, text = random(1, 2, 4, 8, 8, seed=3), sd.encode_text(["a red ball"])
    residuals = controlnet(x, 500, text, torch.ones(1, 2, 3, 64, 64))
    assert sd.unet(x, 500, text, residuals=residuals).shape == x.shape
    own = trained.load("edit")
    stored = load_file(f"{exported}-edit/unet/diffusion_pytorch_model.safetensors")
    assert stored["conv_in.weight"].shape[1] == 8
    torch.testing.assert_close(stored["conv_in.weight"].float(), own.conv_in.weight, atol=1e-3, rtol=1e-3)
    assert "make" in json.loads(Path(f"{exported}-edit/words.json").read_text())["others"]


def test_whole_clip_loads_in_transformers(trained, exported):
    clip = CLIPModel.from_pretrained(exported / "clip").float().eval()
    images = random(2, 3, 32, 32)
    ids = torch.zeros(2, 77, dtype=torch.long)
    ours = load_clip(trained)(input_ids=ids, pixel_values=images)
    theirs = clip(input_ids=ids, pixel_values=images)
    torch.testing.assert_close(theirs.image_embeds, ours.image_embeds, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(theirs.text_embeds, ours.text_embeds, atol=1e-2, rtol=1e-2)
    json.loads((exported / "clip/preprocessor_config.json").read_text())


def test_unet_before_vae_says_what_to_do(tmp_path, capsys):
    assert main(["unet", "--out", str(tmp_path), "--steps", "1"]) == 2
    assert "train vae first" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--steps", "1", "--minutes", "1"], ["--size", "33"], ["--threads", "0"]])
def test_wrong_use_is_one_line(tmp_path, capsys, arguments):
    assert main(["clip", "--out", str(tmp_path), "--pictures", "1", *arguments]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("t2vz: ")


def test_minutes_of_all_are_shared(monkeypatch, tmp_path):
    given = {}
    noted = {name: lambda o, name=name: given.update({name: o.minutes}) for name in stages.SHARES}
    monkeypatch.setattr(stages, "STAGES", noted)
    train_all(Folder(out=tmp_path, minutes=60.0))
    assert sum(given.values()) == pytest.approx(60.0) and given["unet"] > given["clip"]


def test_a_shipped_folder_can_be_trained_further(trained, exported, tmp_path, capsys):
    """unpack gives back what was exported (to float16); --further begins there, and not from nothing."""
    again = replace(trained, out=tmp_path / "again", steps=1, further=True)
    unpack = ["unpack", "--from", str(exported), "--out", str(again.out), "--size", "64", "--pictures", "40"]
    assert main(unpack) == 0
    stages = ("unet", "edit", "controlnet")
    for load in (load_clip, load_vae, *(lambda folder, stage=stage: folder.load(stage) for stage in stages)):
        both = zip(load(again).named_parameters(), load(trained).named_parameters(), strict=True)
        for (name, ours), (_, theirs) in both:
            torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3, msg=name)
    assert main(unpack) == 2  # it would be overwritten
    assert "choose another" in capsys.readouterr().err

    for name, load in (("unet", lambda: again.load("unet")), ("vae", lambda: load_vae(again))):
        start = load()
        train(again, name)
        moved = [(a - b).abs().max() for a, b in zip(load().parameters(), start.parameters())]
        assert 0 < max(moved) < 0.02  # one step of AdamW away; another start would differ by much more
    assert not list(again.out.glob("unet/latents-*"))  # what was encoded by the VAE of before means nothing any more

    train(again, "unet")  # and once more: what was spent before counts
    assert read_facts(again.path("unet"))["spent"]["steps"] == 2
    export(again, tmp_path / "further")
    card = (tmp_path / "further/README.md").read_text(encoding="utf-8")
    assert "M | 2 |" in card and "as it was" in card


def test_unpacking_what_has_no_clip_says_so(tmp_path, capsys):
    assert main(["unpack", "--from", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no clip/" in capsys.readouterr().err
