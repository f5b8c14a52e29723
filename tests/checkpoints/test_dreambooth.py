"""DreamBooth checkpoints are ordinary ones; what trainers and converters leave in them changes nothing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_sd, tiny_tokenizer
from transformers import CLIPTokenizer

from t2vz import StableDiffusion
from t2vz.checkpoints import save_folder, save_single_file
from t2vz.errors import InputError

# As the training script's starting point, runwayml/stable-diffusion-v1-5, publishes them.
PNDM = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """folder/, one.safetensors and their tokenizer/: the same tiny model, float16. Never changed."""
    place = tmp_path_factory.mktemp("dreambooth")
    sd = tiny_sd(place)
    parts = (sd.unet, sd.vae, sd.text_encoder)
    save_folder(place / "folder", *parts, tiny_tokenizer(place))
    save_single_file(place / "one.safetensors", *parts)
    return place


def assert_same(loaded, made):
    wanted = StableDiffusion.load(made / "folder")
    for part in ("unet", "vae", "text_encoder"):
        state, theirs = getattr(loaded, part).state_dict(), getattr(wanted, part).state_dict()
        assert state.keys() == theirs.keys() and all(torch.equal(state[key], theirs[key]) for key in state)
    assert torch.equal(loaded.encode_text(["a red ball"]), wanted.encode_text(["a red ball"]))
    assert loaded.schedule == wanted.schedule


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors | LEFTOVERS,
        lambda tensors: tensors | {POSITION_IDS: torch.arange(77)[None]},  # int64, as the original program writes
        lambda tensors: tensors | {POSITION_IDS: torch.arange(77).half()[None] + 0.6},  # spoilt by a merge in float16
        lambda tensors: {key: t.float() if key.startswith("first_stage") else t for key, t in tensors.items()},
        lambda tensors: {key.replace("transformer.text_model.", "transformer."): t for key, t in tensors.items()},
    ],
    ids=["leftovers", "position ids", "spoilt position ids", "float32 VAE", "no text_model"],
)
def test_single_files_as_published(made, tmp_path, change):
    tensors = load_file(made / "one.safetensors")
    header = {"t2vz.unet": '{"sample_size": 8}', "format": "pt", "sd_merge_models": "{}", "modelspec.title": "style"}
    save_file(change(tensors), tmp_path / "dreambooth.safetensors", header)
    assert_same(StableDiffusion.load(tmp_path / "dreambooth.safetensors", tokenizer=made / "tokenizer"), made)


def test_a_folder_as_the_training_script_leaves_it(made, tmp_path):
    """Another sampler's config, a checker and an image processor beside it, a training checkpoint, float16 variants."""
    folder = shutil.copytree(made / "folder", tmp_path / "dreambooth")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(PNDM))
    for name in ("safety_checker", "feature_extractor", "checkpoint-400", "logs"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    (folder / "safety_checker/pytorch_model.bin").write_bytes(b"\x80never opened")
    for part in ("unet", "vae"):
        weights = folder / part / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert_same(StableDiffusion.load(folder), made)


def test_a_tokenizer_as_transformers_5_saves_it(made, tmp_path):
    """tokenizer.json alone, in place of vocab.json and merges.txt: the same numbers."""
    folder = shutil.copytree(made / "folder", tmp_path / "new")
    saved = CLIPTokenizer.from_pretrained(made / "tokenizer")
    shutil.rmtree(folder / "tokenizer")
    saved.save_pretrained(folder / "tokenizer")
    if not (folder / "tokenizer/tokenizer.json").is_file():
        pytest.skip("this transformers writes vocab.json and merges.txt")
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).unlink(missing_ok=True)
    loaded = StableDiffusion.load(folder)
    prompt = "A red ball, rolls on: a xylophone!"
    assert torch.equal(
        loaded.tokenizer.encode(prompt).ids, StableDiffusion.load(made / "folder").tokenizer.encode(prompt).ids
    )
    assert_same(loaded, made)


def test_a_spoilt_tokenizer_is_one_line(made, tmp_path):
    folder = shutil.copytree(made / "folder", tmp_path / "spoilt")
    (folder / "tokenizer/vocab.json").write_text("<html>")
    with pytest.raises(InputError, match="tokenizer cannot be read") as caught:
        StableDiffusion.load(folder)
    assert "\n" not in str(caught.value)
