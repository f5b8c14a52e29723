"""`t2vz weights export`: what is written is the same model, bit for bit; and --vae, --lora and --from on generate."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
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
TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FAST = {"frames": 2, "steps": 3, "height": 64, "width": 64, "seed": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny checkpoint folder in float32 that is not of SD 1.x's proportions. Never changed."""
    place = tmp_path_factory.mktemp("model")
    sd = tiny_sd(place, unet=UNET, vae=VAE_SIZES)
    parts, said = (sd.unet, sd.vae, sd.text_encoder, tiny_tokenizer(place)), {"words": {"things": ["ball"]}}
    save_folder(place / "model", *parts, dtype=torch.float32, **said)
    return place / "model"


def lora(path, seed=0):
    """A LoRA of one layer, rank 2."""
    generator = torch.Generator().manual_seed(seed)
    save_file(
        {
            f"unet.{TO_Q}.lora_A.weight": torch.randn(2, 24, generator=generator),
            f"unet.{TO_Q}.lora_B.weight": torch.randn(24, 2, generator=generator),
        },
        path,
    )
    return path


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
    loras = [(lora(tmp_path / "style.safetensors"), 0.5)]
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


def test_the_run_file_keeps_vae_and_loras_and_checks_them(call, refused, model, tmp_path):
    other = tiny_sd(tmp_path / "words", seed=9, unet=UNET, vae=VAE_SIZES)
    save_folder(tmp_path / "other", other.unet, other.vae, other.text_encoder, tiny_tokenizer(tmp_path / "words"))
    lora(tmp_path / "a.safetensors", 1), lora(tmp_path / "b.safetensors", 2)
    small = ["--frames", 2, "--steps", 3, "--height", 64, "--width", 64, "--latents", "--device", "cpu", "-q"]
    words = ["generate", "a red ball", *small, "--weights", model]
    more = "--out first/ --vae other/vae --lora a.safetensors:0.5 --lora b.safetensors".split()
    assert call(*words, *more)[0] == 0
    run = json.loads((tmp_path / "first.json").read_text())
    assert run["vae"]["path"] == str(tmp_path / "other/vae") and len(run["vae"]["sha256"]) == 64
    assert [(entry["path"], entry["weight"]) for entry in run["loras"]] == [
        (str(tmp_path / "a.safetensors"), 0.5),
        (str(tmp_path / "b.safetensors"), 1.0),
    ]

    def latents(name):
        return load_file(tmp_path / f"{name}-latents.safetensors")["latents"]

    assert call("generate", "--from", "first.json", "--out", "again/", "--latents", "-q")[0] == 0
    assert torch.equal(latents("first"), latents("again"))
    assert json.loads((tmp_path / "again.json").read_text())["loras"] == run["loras"]
    without = "--lora off --vae off --out plain/ --latents -q".split()
    assert call("generate", "--from", "first.json", *without)[0] == 0
    assert call(*words, "--out", "bare/")[0] == 0
    assert torch.equal(latents("plain"), latents("bare")) and not torch.equal(latents("plain"), latents("first"))

    code, _, err = call("generate", "--from", "first.json", "--lora", "b.safetensors", "--out", "x/", "--latents")
    assert code == 0 and "another LoRA than that of first.json" in err
    lora(tmp_path / "b.safetensors", 3)
    refused(["generate", "--from", "first.json", "--out", "y/", "-q"], "its LoRA", "has changed since")
    (tmp_path / "b.safetensors").unlink()
    refused(["generate", "--from", "first.json", "--out", "y/", "-q"], "is gone", "--lora")
