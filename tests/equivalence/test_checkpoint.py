"""The comparison on a checkpoint of yours, a folder or a single file of Stable Diffusion 1.x:

    pytest tests/equivalence/test_checkpoint.py --weights v1-5-pruned-emaonly.safetensors -rP

Both programs load it with their own loaders, in float32. Without --weights the same runs on tiny made-up checkpoints of
both layouts, so that it is known to work. A single file needs a tokenizer/ folder beside it (vocab.json, merges.txt);
nothing is fetched.
"""

import json
from pathlib import Path

import pytest
import torch
import twins
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from tiny import unet_config
from transformers import CLIPTextConfig, CLIPTextModel
from twins import NEGATIVE, PROMPT, ddim, relative

from t2vz import StableDiffusion, text_to_video
from t2vz.checkpoints import find_tokenizer
from t2vz.vae import VAEConfig


@pytest.fixture(scope="module", params=["a diffusers folder", "a t2vz folder", "a single file", "--weights"])
def path(request, saved):
    made_up = {"a diffusers folder": "theirs", "a t2vz folder": "ours", "a single file": "single"}
    if request.param in made_up:
        return saved[made_up[request.param]]
    given = request.config.getoption("--weights")
    if given is None:
        pytest.skip("--weights PATH was not given: this one compares on a checkpoint of yours")
    return Path(given)


@pytest.fixture(scope="module")
def programs(path, request, tmp_path_factory):
    """Our model and their pipeline, each loaded from the path by its own code."""
    device = torch.device(request.config.getoption("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"--device {device}: this machine has no CUDA device")
    sd = StableDiffusion.load(path, torch.float32, device)
    theirs = their_folder(path) if path.is_dir() else their_single_file(path, sd, tmp_path_factory.mktemp("config"))
    return sd, theirs.to(device, torch.float32)


def their_folder(path: Path):
    """Part by part, so that a folder without model_index.json, or of half precision only, will do."""

    def load(kind, name, stem):
        plain = any((path / name).glob(f"{stem}.safetensors*")) or any((path / name).glob(f"{stem}-*-of-*.safetensors"))
        return kind.from_pretrained(
            path / name, local_files_only=True, use_safetensors=True, variant=None if plain else "fp16"
        ).eval()

    unet = load(UNet2DConditionModel, "unet", "diffusion_pytorch_model")
    vae = load(AutoencoderKL, "vae", "diffusion_pytorch_model")
    text_encoder = load(CLIPTextModel, "text_encoder", "model")
    return twins.pipeline(unet, vae, text_encoder, twins.clip_words(find_tokenizer(path)))


def their_single_file(path: Path, sd: StableDiffusion, configs: Path):
    """`from_single_file` with config files written here: theirs come from the hub. What the file's shapes show is taken
    from our networks, and must fit theirs; the rest is SD 1.x's."""

    def write(name, content):
        (configs / name).parent.mkdir(exist_ok=True)
        (configs / name).write_text(json.dumps(content))

    unet, vae, text = sd.unet.config, sd.vae.config, sd.text_encoder.config
    levels, heads = (unet.block_out_channels, unet.has_attention, unet.layers_per_block), (8,) * len(unet.heads)
    unet_sizes = unet_config(*levels, heads=heads, context_dim=unet.context_dim)
    vae_sizes = VAEConfig(block_out_channels=vae.block_out_channels, layers_per_block=vae.layers_per_block)
    write("unet/config.json", {"_class_name": "UNet2DConditionModel", **twins.unet_options(unet_sizes)})
    write("vae/config.json", {"_class_name": "AutoencoderKL", **twins.vae_options(vae_sizes)})
    shown = {name: getattr(text, name) for name in ("vocab_size", "hidden_size", "intermediate_size")}
    shown |= {"num_hidden_layers": text.num_hidden_layers, "num_attention_heads": text.hidden_size // 64}
    words = {"bos_token_id": 0, "eos_token_id": text.vocab_size - 1, "architectures": ["CLIPTextModel"]}
    CLIPTextConfig(**shown, **words).save_pretrained(configs / "text_encoder")
    index = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {name: ["diffusers", kind] for name, kind in index.items()}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    write("model_index.json", {"_class_name": "StableDiffusionPipeline", **index})
    options = {"config": str(configs), "local_files_only": True, "torch_dtype": torch.float32, "scheduler": ddim()}
    options |= {"tokenizer": twins.clip_words(find_tokenizer(path)), "safety_checker": None, "feature_extractor": None}
    parts = StableDiffusionPipeline.from_single_file(str(path), **options)
    return twins.pipeline(parts.unet, parts.vae, parts.text_encoder, options["tokenizer"])


def size(sd) -> int:
    """Pixels a side: enough to see every layer at work, few enough for a CPU at SD 1.5's real size."""
    return min(sd.default_size, 256)


@pytest.mark.parametrize("attention", ["own", "first"])
def test_unet(programs, attention, normal, measured):
    sd, theirs = programs
    side = size(sd) // sd.vae.factor
    x = normal((2, 2, 4, side, side), torch.float32)
    context = sd.encode_text([NEGATIVE, PROMPT])
    with torch.no_grad():
        ours = sd.unet(x, 901, context, attention)
    measured(f"UNet, {attention}", relative(ours, twins.predict(theirs.unet, x, 901, context, attention)), 1e-5)
    twins.cross_frame(theirs.unet, "own")


def test_vae(programs, normal, measured):
    sd, theirs = programs
    side = size(sd)
    images = normal((1, 3, side // 8, side // 8), torch.float32).clamp(-1, 1)
    images = images.repeat_interleave(8, 2).repeat_interleave(8, 3)
    for what, error in twins.vae_errors(sd.vae, theirs.vae, images).items():
        measured(f"VAE {what}", error, 1e-5)
    assert sd.vae.config.scaling_factor == theirs.vae.config.scaling_factor


def test_text(programs, measured):
    sd, theirs = programs
    for prompt in (PROMPT, "", "an astronaut, 4k; “naïve” 🙂", "word " * 100):
        with torch.no_grad():
            text, none = theirs.encode_prompt([prompt], sd.device, 1, True, [NEGATIVE])
        error = relative(sd.encode_text([NEGATIVE, prompt]), torch.cat([none, text]))
        measured(f"text states of {prompt[:12]!r}", error, 1e-5)


def test_video(programs, monkeypatch, measured):
    """4 steps, 3 frames: frame 1 alone, the jump, the warp, all frames with first-frame attention, decoding."""
    sd, theirs = programs
    side = size(sd)
    noise = twins.noise_for(3, side, side)
    ours = text_to_video(sd, PROMPT, 3, 4, 7.5, NEGATIVE, height=side, width=side, t_prime=501, t=751, noise=noise)
    options = {"num_inference_steps": 4, "t0": 2, "t1": 3, "negative_prompt": NEGATIVE, "height": side, "width": side}
    latents = twins.text_to_video(theirs, monkeypatch, PROMPT, noise, **options)
    measured("video's latents", relative(ours.latents, latents), 1e-4)
    with torch.no_grad():
        frames = theirs.decode_latents(latents)
    measured("video's frames, largest difference", float(abs(ours.frames / 255.0 - frames).max()), 1 / 255)
