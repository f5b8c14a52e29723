"""DreamBooth checkpoints are ordinary ones; what trainers and converters leave in them changes nothing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import assert_same_weights
from transformers import CLIPTokenizer

from t2vz import StableDiffusion

POSITION_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
# What other trainers and merging tools leave beside the networks.
LEFTOVERS = {
    "model_ema.decay": torch.ones(()),
    "model_ema.num_updates": torch.ones((), dtype=torch.int32),
    "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(32, 4, 3, 3),
    "betas": torch.ones(1000),
    "alphas_cumprod": torch.ones(1000),
    "sqrt_one_minus_alphas_cumprod": torch.ones(1000),
    "logvar": torch.ones(1000),
    "cond_stage_model.logit_scale": torch.ones(()),
    "cond_stage_model.transformer.text_projection.weight": torch.ones(64, 64),
}


def assert_same(loaded, models):
    wanted = StableDiffusion.load(models / "tiny")
    for part in ("unet", "vae", "text_encoder"):
        assert_same_weights(getattr(loaded, part), getattr(wanted, part))
    assert torch.equal(loaded.encode_text(["a red ball"]), wanted.encode_text(["a red ball"]))
    assert loaded.schedule == wanted.schedule


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors | LEFTOVERS,
        lambda tensors: tensors | {POSITION_IDS: torch.arange(77)[None]},  # int64, as the original program writes
        lambda tensors: tensors | {POSITION_IDS: torch.arange(77).half()[None] + 0.6},  # spoilt by a merge in float16
        lambda tensors: {key: t.double() if key.startswith("first_stage") else t for key, t in tensors.items()},
        lambda tensors: {key.replace("transformer.text_model.", "transformer."): t for key, t in tensors.items()},
    ],
    ids=["leftovers", "position ids", "spoilt position ids", "float64 VAE", "no text_model"],
)
def test_single_files_as_published(models, tmp_path, change):
    tensors = load_file(models / "tiny.safetensors")
    header = {"t2vz.unet": '{"sample_size": 8}', "format": "pt", "sd_merge_models": "{}", "modelspec.title": "style"}
    save_file(change(tensors), tmp_path / "dreambooth.safetensors", header)
    assert_same(StableDiffusion.load(tmp_path / "dreambooth.safetensors", tokenizer=models / "tokenizer"), models)


def test_a_folder_as_the_training_script_leaves_it(models, published, tmp_path):
    """Another sampler's config, a checker and an image processor beside it, a training checkpoint, float16 variants."""
    folder = shutil.copytree(models / "tiny", tmp_path / "dreambooth")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(published["scheduler"]))
    for name in ("safety_checker", "feature_extractor", "checkpoint-400", "logs"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    (folder / "safety_checker/pytorch_model.bin").write_bytes(b"\x80never opened")
    for part in ("unet", "vae"):
        weights = folder / part / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert_same(StableDiffusion.load(folder), models)


def test_a_tokenizer_as_transformers_5_saves_it(models, tmp_path):
    """tokenizer.json alone, in place of vocab.json and merges.txt: the same numbers."""
    folder = shutil.copytree(models / "tiny", tmp_path / "new")
    saved = CLIPTokenizer.from_pretrained(models / "tokenizer")
    shutil.rmtree(folder / "tokenizer")
    saved.save_pretrained(folder / "tokenizer")
    if not (folder / "tokenizer/tokenizer.json").is_file():
        pytest.skip("this transformers writes vocab.json and merges.txt")
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).unlink(missing_ok=True)
    loaded = StableDiffusion.load(folder)
    prompt = "A red ball, rolls on: a xylophone!"
    assert torch.equal(
        loaded.tokenizer.encode(prompt).ids, StableDiffusion.load(models / "tiny").tokenizer.encode(prompt).ids
    )
    assert_same(loaded, models)
