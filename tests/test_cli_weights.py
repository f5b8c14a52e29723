"""`t2vz weights export`: what is written is the same model, bit for bit."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from test_cli_runfile import write_lora
from tiny import tiny_sd, tiny_tokenizer

from t2vz import StableDiffusion, text_to_video
from t2vz.checkpoints import checkpoint_hash, embedded_weights, save_folder
from t2vz.unet import UNetConfig
from t2vz.vae import VAEConfig

# Head counts, norm groups and a scaling factor that no single file's names and shapes tell.
UNET = UNetConfig(
    block_out_channels=(24, 48),
    has_attention=(True, False),
    layers_per_block=1,
    heads=(2, 4),
    context_dim=64,
    norm_groups=6,
    sample_size=8,
)
VAE_SIZES = VAEConfig(block_out_channels=(24, 24, 24, 48), layers_per_block=1, norm_groups=12, scaling_factor=0.731)
FAST = {"frames": 2, "steps": 3, "height": 64, "width": 64, "seed": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny checkpoint folder in float32 that is not of SD 1.x's proportions. Never changed."""
    place = tmp_path_factory.mktemp("model")
    sd = tiny_sd(place, unet=UNET, vae=VAE_SIZES)
    parts, said = (sd.unet, sd.vae, sd.text_encoder, tiny_tokenizer(place)), {"words": {"things": ["ball"]}}
    save_folder(place / "model", *parts, dtype=torch.float32, **said)
    return place / "model"


def assert_same_model(path, other, **options):
    """The same sizes, weights, schedule, words, and the same latents and pixels of a video."""
    ours, theirs = StableDiffusion.load(path), StableDiffusion.load(other, **options)
    assert (ours.unet.config, ours.vae.config) == (theirs.unet.config, theirs.vae.config)
    assert (ours.schedule, ours.words, ours.default_size) == (theirs.schedule, theirs.words, theirs.default_size)
    for part in ("unet", "vae", "text_encoder"):
        state, wanted = getattr(ours, part).state_dict(), getattr(theirs, part).state_dict()
        assert state.keys() == wanted.keys() and all(torch.equal(state[key], wanted[key]) for key in state)
    videos = [text_to_video(sd, "a red ball on a green meadow", **FAST) for sd in (ours, theirs)]
    assert torch.equal(videos[0].latents, videos[1].latents)
    assert (videos[0].frames == videos[1].frames).all()


def test_out_and_back_in_both_layouts(call, model, tmp_path):
    code, out, err = call("weights", "export", "there/one.safetensors", "--weights", model)
    assert code == 0 and "one file, float32" in out and "there/tokenizer" in err and err.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["one.safetensors", "tokenizer"]
    assert_same_model("there/one.safetensors", model)
    code, out, err = call("weights", "export", "back", "--weights", "there/one.safetensors")
    assert code == 0 and "a folder, float32" in out and not err
    assert_same_model("back", model)
    assert json.loads((tmp_path / "back/unet/config.json").read_text())["attention_head_dim"] == [2, 4]


def test_the_embedded_model_as_one_file(call, tmp_path):
    """float16 as it is stored; the trained network makes the same latents."""
    assert call("weights", "export", "embedded.safetensors", "--quiet")[0] == 0
    stored = {tensor.dtype for tensor in load_file(tmp_path / "embedded.safetensors").values()}
    assert stored == {torch.float16}
    assert_same_model(tmp_path / "embedded.safetensors", embedded_weights())


def test_a_lora_is_in_what_is_exported(call, model, tmp_path):
    loras = [(write_lora(tmp_path / "style.safetensors", channels=24), 0.5)]
    before = checkpoint_hash(model), checkpoint_hash(loras[0][0])
    assert call("weights", "export", "styled", "--weights", model, "--lora", "style.safetensors:0.5")[0] == 0
    assert (checkpoint_hash(model), checkpoint_hash(loras[0][0])) == before
    assert_same_model("styled", model, loras=loras)


def test_float_types_on_request(call, model, tmp_path):
    assert call("weights", "export", "half.safetensors", "--weights", model, "--dtype", "float16")[0] == 0
    full, half = StableDiffusion.load(model).unet.state_dict(), load_file(tmp_path / "half.safetensors")
    assert torch.equal(half["model.diffusion_model.out.2.weight"], full["conv_out.weight"].half())


def test_nothing_is_replaced_unasked(call, refused, model, tmp_path):
    assert call("weights", "export", "x.safetensors", "--weights", model)[0] == 0
    refused(["weights", "export", "x.safetensors", "--weights", model], "exists already")
    refused(["weights", "export", "y.safetensors"], "another model's tokenizer")  # the embedded model's is another one
    vocabulary = (tmp_path / "tokenizer/vocab.json").read_bytes()
    assert call("weights", "export", "y.safetensors", "--overwrite")[0] == 0
    assert (tmp_path / "tokenizer/vocab.json").read_bytes() != vocabulary
    refused(["weights", "export", "z.ckpt"], ".safetensors")
    shutil.copy("x.safetensors", tmp_path / "there.safetensors")
    shutil.rmtree(tmp_path / "tokenizer")
    refused(["weights", "export", "folder", "--weights", "there.safetensors"], "--tokenizer")
