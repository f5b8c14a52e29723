"""Saving: diffusers loads the folder unchanged, both layouts come back equal, and nothing half-written is
left."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import assert_same_weights, refused, tiny_sd
from twins import SD15_TOPOLOGY

from t2vz.checkpoints import build, layouts, open_checkpoint, save, save_folder, save_single_file, save_tokenizer
from t2vz.errors import FailedError
from t2vz.schedulers import NoiseSchedule
from t2vz.vae import VAEConfig


@pytest.fixture
def sd(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def parts(sd):
    return sd.unet, sd.vae, sd.text_encoder


@pytest.fixture
def words(models):
    return models / "tokenizer"


def test_diffusers_loads_the_folder_unchanged(sd, parts, words, tmp_path):
    from diffusers import StableDiffusionPipeline

    schedule = NoiseSchedule(beta_first=0.001)
    save_folder(tmp_path / "new", *parts, words, schedule, dtype=torch.float32)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "new", safety_checker=None, requires_safety_checker=False)
    for theirs, ours in zip((pipe.unet, pipe.vae), parts, strict=False):
        assert_same_weights(theirs, ours)
    text = {layouts.text_name(key): tensor for key, tensor in pipe.text_encoder.state_dict().items()}
    assert_same_weights(sd.text_encoder, text)  # transformers 5 leaves out the first part of the published names
    assert (
        pipe.tokenizer("a red ball", padding="max_length")["input_ids"]
        == sd.tokenizer.encode("a red ball").ids.tolist()
    )
    assert pipe.tokenizer.model_max_length == 77
    assert pipe.scheduler.config.beta_start == 0.001 and pipe.scheduler.config.set_alpha_to_one is False
    images = pipe("abc", num_inference_steps=2, height=16, width=16, output_type="np").images
    assert images.shape == (1, 16, 16, 3)


def test_folder_comes_back(parts, words, tmp_path):
    save_folder(tmp_path / "new", *parts, words)
    checkpoint = open_checkpoint(tmp_path / "new")
    assert checkpoint.unet.config == parts[0].config and checkpoint.vae.config == parts[1].config
    unet = build(checkpoint.unet, torch.float32)
    assert_same_weights(unet, parts[0].half().float())
    text = load_file(tmp_path / "new/text_encoder/model.safetensors")
    assert all(key.startswith("text_model.") and tensor.dtype == torch.float16 for key, tensor in text.items())


def test_single_file_has_the_published_names_and_axes(manifest, tmp_path):
    """Of small networks with SD 1.5's levels every name but those of ten text layers."""
    sd = tiny_sd(tmp_path, unet=SD15_TOPOLOGY, vae=VAEConfig(block_out_channels=(32, 64, 96, 96)))
    save_single_file(tmp_path / "one.safetensors", sd.unet, sd.vae, sd.text_encoder)
    written = {key: tensor.ndim for key, tensor in load_file(tmp_path / "one.safetensors").items()}
    assert written == {
        key: len(shape)
        for _, key, shape, *_ in manifest.rows
        if not re.search(r"text_model\.encoder\.layers\.([2-9]|1\d)\.|position_ids$", key)
    }


def read_words_of(path):
    """The header's words, by the format's definition: eight bytes of length, then JSON."""
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def test_the_header_says_only_what_shapes_do_not(parts, tmp_path):
    """Of these networks only the picture size is not SD 1.x's; the other rules need no words."""
    save_single_file(tmp_path / "one.safetensors", *parts)
    assert read_words_of(tmp_path / "one.safetensors") == {"format": "pt", "t2vz.unet": '{"sample_size": 8}'}
    parts[0].config = replace(parts[0].config, sample_size=64)
    save_single_file(tmp_path / "two.safetensors", *parts)
    assert read_words_of(tmp_path / "two.safetensors") == {"format": "pt"}


def test_the_header_brings_back_what_shapes_do_not_say(parts, tmp_path):
    parts[0].config = replace(parts[0].config, heads=(4, 2), norm_groups=16)
    parts[1].config = replace(parts[1].config, norm_groups=4, scaling_factor=0.7125)
    parts[2].config = replace(parts[2].config, num_attention_heads=2, hidden_act="gelu")
    schedule = NoiseSchedule(train_steps=500, beta_first=0.001, beta_last=0.02, steps_offset=0)
    save_single_file(tmp_path / "one.safetensors", *parts, schedule=schedule)
    said = open_checkpoint(tmp_path / "one.safetensors")
    assert said.unet.config == parts[0].config and said.vae.config == parts[1].config
    assert said.text.config == parts[2].config
    assert said.schedule == schedule


@pytest.mark.parametrize(
    "words, complaint",
    [
        ({"t2vz.unet": "{"}, "is not JSON"),
        ({"t2vz.unet": "[8]"}, "not a dictionary"),
        ({"t2vz.unet": '{"attention_head_dim": [3, 3]}'}, "heads"),
        ({"t2vz.unet": '{"norm_num_groups": 0}'}, "norm_num_groups"),
        ({"t2vz.vae": '{"scaling_factor": -1}'}, "scaling_factor"),
        ({"t2vz.text": '{"hidden_act": "relu"}'}, "hidden_act"),
        ({"t2vz.scheduler": '{"prediction_type": "v_prediction"}'}, "prediction_type"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(parts, tmp_path, words, complaint):
    save_single_file(tmp_path / "one.safetensors", *parts)
    save_file(load_file(tmp_path / "one.safetensors"), tmp_path / "two.safetensors", words)
    refused(lambda: open_checkpoint(tmp_path / "two.safetensors"), complaint)


def test_existing_things_are_replaced_only_when_told_and_only_checkpoints(parts, words, tmp_path):
    path = tmp_path / "new"
    save_folder(path, *parts, words)
    refused(lambda: save_folder(path, *parts, words), "overwrite")
    (path / "marker").write_text("of the old one")
    save_folder(path, *parts, path / "tokenizer", overwrite=True)  # the tokenizer may come from what is replaced
    assert not (path / "marker").exists() and open_checkpoint(path).kind == "sd1"
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.png").write_text("cat")
    refused(lambda: save_folder(other, *parts, words, overwrite=True), "not replaced")
    assert (other / "cat.png").read_text() == "cat"
    assert {entry.name for entry in tmp_path.iterdir()} == {"new", "photos"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_failed_save(parts, words, tmp_path, monkeypatch, error):
    path = tmp_path / "new"
    save_folder(path, *parts, words)
    before = (path / "model_index.json").read_text()

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(save.shutil, "copyfile", fail)  # the last thing that is written
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else FailedError) as caught:
        save_folder(path, *parts, words, overwrite=True)
    if isinstance(error, OSError):
        assert "disk is full" in str(caught.value) and "\n" not in str(caught.value)
    assert (path / "model_index.json").read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


def test_tokenizer_files_are_copied(parts, words, tmp_path):
    source = shutil.copytree(words, tmp_path / "tokenizer")
    (source / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 5}))
    save_folder(tmp_path / "new", *parts, source)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        assert (tmp_path / "new/tokenizer" / name).read_bytes() == (source / name).read_bytes()
    save_tokenizer(words, tmp_path / "short", 10)
    assert json.loads((tmp_path / "short/tokenizer_config.json").read_text())["model_max_length"] == 10
    refused(lambda: save_folder(tmp_path / "other", *parts, tmp_path), "vocab.json")
    assert not (tmp_path / "other").exists()
