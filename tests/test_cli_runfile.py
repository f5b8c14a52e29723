"""Run files and paths: `--from` makes the same video again, from any folder, through links; ~ is the home folder."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_cli import FAST
from tiny import tiny_sd, tiny_tokenizer

from t2vz.checkpoints import save_folder
from t2vz.video import read_video, write_frames

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def made(done, tmp_path):
    """Run `t2vz generate WORDS --out NAME/ --latents`, and give its latents."""

    def make(name, *words):
        done("generate", *words, "--out", f"{name}/", "--latents", "--quiet")
        return load_file(tmp_path / f"{name}-latents.safetensors")["latents"]

    return make


def write_lora(path, seed=0, channels=32):
    """A LoRA of one layer, rank 2."""
    generator = torch.Generator().manual_seed(seed)
    halves = {"A": (2, channels), "B": (channels, 2)}
    lora = {f"{TO_Q}.lora_{half}.weight": torch.randn(*shape, generator=generator) for half, shape in halves.items()}
    save_file(lora, path)
    return path


def cached(folder, *files):
    """Lay files out as the hub's cache has them: snapshots/rev/NAME is a link to blobs/HASH."""
    for number, (name, source) in enumerate(files):
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        place = folder / "snapshots/rev" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / f"blobs/{number:040x}")
        place.symlink_to(os.path.relpath(folder / f"blobs/{number:040x}", place.parent))
    return folder / "snapshots/rev"


def test_a_run_file_makes_the_same_video_again(call, refused, made, models, tmp_path):
    chosen = ["--seed", "5", "--motion", "30,0", "--attention", "causal", "--chunk", "1"]
    first = made("first", "a blue kite", *FAST, *chosen, "--weights", models / "tiny")
    assert torch.equal(made("again", "--from", "first.json"), first)
    assert not torch.equal(made("other", "--from", "first.json", "--seed", "6", "--chunk", "off"), first)
    other = json.loads((tmp_path / "other.json").read_text())["settings"]
    assert (other["seed"], other["motion"], other["chunk"]) == (6, [30.0, 0.0], None)
    record = json.loads((tmp_path / "first.json").read_text())
    record["weights"]["sha256"] = "0" * 64
    (tmp_path / "first.json").write_text(json.dumps(record))
    refused(["generate", "--from", "first.json", "--out", "x.gif"], "has changed since")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"loras": [{"weight": 1}]}, "is not a run file"),
        ({"dtype": "int8"}, "is not a run file"),
        ({"weights": None}, "is not a run file"),
        ({"command": "edit"}, "use that command"),
        ({"settings": {"prompt": "x", "steps": 0}}, "steps = 0"),
        ({"settings": {"prompt": "x", "colour": 1}}, '"colour" does not exist'),
    ],
)
def test_what_is_no_run_file_is_one_line(refused, tmp_path, change, said):
    run = {"settings": {"prompt": "x"}, "dtype": "float32", "weights": {"path": "embedded", "sha256": "0"}}
    (tmp_path / "run.json").write_text(json.dumps(run | change))
    refused(["generate", "--from", "run.json"], said)
    (tmp_path / "run.json").write_text("{")
    refused(["generate", "--from", "run.json"], "is not JSON")


def test_other_masks_than_the_run_file_s_are_said(call, models, tmp_path):
    flags = [*FAST, "--weights", models / "tiny", "--masks", "masks", "--smooth-background", "0.6"]
    again = ["generate", "--from", "first.json", "--device", "cpu", "--overwrite", "--out", "again/"]
    write_frames("masks/", np.full((2, 64, 64, 3), 255, np.uint8), 4)
    assert call("generate", "a blue kite", *flags, "--out", "first/")[0] == 0
    assert "other masks" not in call(*again)[2]
    write_frames("masks/", np.zeros((2, 64, 64, 3), np.uint8), 4)
    assert "other masks than those of first.json" in call(*again, "--quiet")[2]  # however quiet


def test_tokenizer_and_moved_weights(call, refused, made, models, tmp_path):
    shutil.copytree(models / "tiny", tmp_path / "copy")
    shutil.copytree(models / "tiny/tokenizer", tmp_path / "words")
    first = made("first", "a blue kite", *FAST, "--tokenizer", "words", "--weights", "copy")
    assert json.loads((tmp_path / "first.json").read_text())["tokenizer"] == str(tmp_path / "words")
    shutil.move(tmp_path / "copy", tmp_path / "moved")
    refused(["generate", "--from", "first.json", "--out", "again/"], "is gone", "--weights")
    assert torch.equal(made("again", "--from", "first.json", "--weights", "moved"), first)


def test_vae_and_loras_are_kept_and_checked(call, refused, made, models, tmp_path):
    other = tiny_sd(tmp_path / "words", seed=9)
    save_folder(tmp_path / "other", other.unet, other.vae, other.text_encoder, tiny_tokenizer(tmp_path / "words"))
    a, b = (write_lora(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("ab", start=1))
    words = ["a red ball", *FAST, "--weights", models / "tiny"]
    more = "--vae other/vae --lora a.safetensors:0.5 --lora b.safetensors".split()
    first = made("first", *words, *more)
    run = json.loads((tmp_path / "first.json").read_text())
    assert run["vae"]["path"] == str(tmp_path / "other/vae") and len(run["vae"]["sha256"]) == 64
    assert [(entry["path"], entry["weight"]) for entry in run["loras"]] == [(str(a), 0.5), (str(b), 1.0)]
    assert torch.equal(made("again", "--from", "first.json"), first)
    assert json.loads((tmp_path / "again.json").read_text())["loras"] == run["loras"]
    plain = made("plain", "--from", "first.json", "--lora", "off", "--vae", "off")
    assert torch.equal(plain, made("bare", *words)) and not torch.equal(plain, first)
    code, _, err = call("generate", "--from", "first.json", "--lora", "b.safetensors", "--out", "x/")
    assert code == 0 and "another LoRA than that of first.json" in err
    write_lora(b, 3)
    refused(["generate", "--from", "first.json", "--out", "y/"], "its LoRA", "has changed since")
    b.unlink()
    refused(["generate", "--from", "first.json", "--out", "y/"], "is gone", "--lora")


def test_a_lora_behind_a_link_keeps_the_settings_beside_the_link(call, refused, made, models, tmp_path):
    """The blob it leads to has no adapter_config.json beside it, whose alpha/r = 8 makes the video."""
    write_lora(tmp_path / "lora.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"r": 2, "lora_alpha": 16}))
    files = (
        ("adapter_model.safetensors", tmp_path / "lora.safetensors"),
        ("adapter_config.json", tmp_path / "config.json"),
    )
    link = cached(tmp_path / "models--a--b", *files) / "adapter_model.safetensors"
    words = ["a blue kite", *FAST, "--weights", models / "tiny"]
    first = made("first", *words, "--lora", link)
    assert json.loads((tmp_path / "first.json").read_text())["loras"][0]["path"] == str(link)
    assert torch.equal(made("again", "--from", "first.json"), first)
    assert not torch.equal(made("plain", *words, "--lora", link.resolve()), first)  # the blob alone: scale 1
    (link.parent / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4}))
    refused(["generate", "--from", "first.json", "--out", "x.gif", "--quiet"], "its LoRA", "has changed since")


def test_a_single_file_behind_a_link_keeps_its_tokenizer(call, made, models, tmp_path):
    assert call("weights", "export", "one.safetensors", "--weights", models / "tiny", "--quiet")[0] == 0
    words = models / "tiny/tokenizer"
    files = [("one.safetensors", tmp_path / "one.safetensors")]
    link = cached(tmp_path / "cache", *files, *((f"tokenizer/{file.name}", file) for file in words.iterdir()))
    (tmp_path / "one.safetensors").unlink()
    shutil.rmtree(tmp_path / "tokenizer", ignore_errors=True)
    first = made("first", "a blue kite", *FAST, "--weights", link / "one.safetensors")
    assert torch.equal(made("again", "--from", "first.json"), first)


def test_a_controlnet_behind_a_link_keeps_its_config(call, done, models, tmp_path):
    pytest.importorskip("cv2")
    assert call("example", "--size", "64", "--frames", "2", "--out", "ball/")[0] == 0
    link = cached(tmp_path / "cache", *((file.name, file) for file in (models / "net").iterdir()))
    net = link / "diffusion_pytorch_model.safetensors"
    words = ["a blue kite", "--weights", models / "tiny", "--controlnet", net, "--steps", "2", "--device", "cpu"]
    done("control", "ball", *words, "--quiet", "--out", "first/")
    done("control", "--from", "first.json", "--quiet", "--out", "again/")
    assert np.array_equal(read_video("first").frames, read_video("again").frames)


def test_the_home_folder_may_be_written_as_a_tilde(call, done, models, tmp_path, monkeypatch):
    """A shell leaves --out=~/x.gif as it is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(models / "tiny", tmp_path / "home/tiny")
    flags = [*FAST, "--weights=~/tiny", "--vae=~/tiny/vae", "--tokenizer=~/tiny/tokenizer"]
    assert call("generate", "a blue kite", *flags, "--out=~/x.gif")[0] == 0
    assert call("generate", "--from=~/x.json", "--out=~/frames/", "--quiet")[0] == 0
    done("score", "~/frames", "--masks=~/frames")
    assert call("inspect", "~/tiny")[0] == 0
    assert call("weights", "export", "~/out.safetensors", "--weights=~/tiny", "--quiet")[0] == 0
    code, _, err = call("ablate", "~/is-none.toml", "--dry-run")
    assert code == 2 and str(tmp_path / "home/is-none.toml") in err
    assert sorted(os.listdir(tmp_path)) == ["home"] and (tmp_path / "home/out.safetensors").exists()


def test_a_name_that_is_no_utf_8_is_written_and_read(call, done, models, tmp_path):
    """Linux allows any bytes as a name; JSON only text. The run file leads back to the file all the same."""
    assert call("example", "--size", "64", "--frames", "2", "--out", "caf\udce9/")[0] == 0
    words = ["a blue kite", "--weights", models / "tiny", "--controlnet", models / "net", "--steps", "2", "--quiet"]
    done("control", "caf\udce9", *words, "--with", "asis", "--out", "first\udcff/", "--device", "cpu")
    done("control", "--from", "first\udcff.json", "--quiet", "--out", "again/")
    assert np.array_equal(read_video("first\udcff").frames, read_video("again").frames)


def test_defaults_of_a_checkpoint_are_taken_said_and_recorded(call, refused, models, tmp_path):
    shutil.copytree(models / "tiny", tmp_path / "own")
    own = {"generate": {"steps": 5, "guidance_scale": 2.5, "t": 601, "t_prime": 401}}
    (tmp_path / "own/defaults.json").write_text(json.dumps(own))
    flags = "--frames 2 --height 64 --width 64 --device cpu --weights own".split()
    code, _, err = call("generate", "a blue kite", *flags, "--guidance-scale", "3", "--out", "x.gif")
    assert code == 0 and "this model's own defaults: steps 5, t 601, t_prime 401" in err
    used = json.loads((tmp_path / "x.json").read_text())["settings"]
    assert [used[name] for name in ("steps", "guidance_scale", "t", "t_prime")] == [5, 3.0, 601, 401]
    assert call("weights", "export", "one.safetensors", "--weights", "own", "--quiet")[0] == 0
    code, _, err = call("generate", "a blue kite", *flags[:-1], "one.safetensors", "--out", "y.gif")
    assert code == 0 and "guidance_scale 2.5" in err
    assert call("weights", "export", "folder", "--weights", "one.safetensors", "--quiet")[0] == 0
    assert json.loads((tmp_path / "folder/defaults.json").read_text()) == own
    for wrong, said in (('{"generate": {"seed": 1}}', '"seed"'), ("[]", "not a dictionary"), ("{", "not JSON")):
        (tmp_path / "own/defaults.json").write_text(wrong)
        refused(["generate", "a blue kite", *flags, "--out", "z.gif"], said)
