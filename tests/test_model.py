"""StableDiffusion: moved between types and devices, frames to latents and back, and what its arguments may be."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import VAE_SIZES, refused, tiny_sd, tiny_tokenizer

from t2vz import StableDiffusion, text_to_video
from t2vz.checkpoints import save_folder
from t2vz.model import load_controlnet

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FAST = {"frames": 2, "steps": 3, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny checkpoint in float32. Never changed."""
    place = tmp_path_factory.mktemp("model")
    sd = tiny_sd(place)
    save_folder(place / "model", sd.unet, sd.vae, sd.text_encoder, tiny_tokenizer(place), dtype=torch.float32)
    return place / "model"


def states(sd):
    parts = {"unet": sd.unet, "vae": sd.vae, "text": sd.text_encoder}
    return {f"{part}.{name}": t for part, network in parts.items() for name, t in network.state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_to_makes_what_load_makes(folder, dtype, device):
    moved, loaded = StableDiffusion.load(folder).to(device, dtype), StableDiffusion.load(folder, dtype, device)
    for name, tensor in states(loaded).items():
        other = states(moved)[name]
        assert (other.dtype, other.device, other.stride()) == (tensor.dtype, tensor.device, tensor.stride()), name
        assert torch.equal(other, tensor), name
    assert moved.dtype == dtype and moved.vae_dtype == (torch.float32 if dtype == torch.float16 else dtype)


def test_there_and_back_changes_nothing_that_is_computed(folder):
    sd = StableDiffusion.load(folder)
    before = text_to_video(sd, "a red ball", **FAST).latents
    assert sd.to(dtype="float64") is sd and sd.to(dtype="float32", device="cpu") is sd
    assert torch.equal(text_to_video(sd, "a red ball", **FAST).latents, before)


def test_a_name_is_as_good_as_a_type(folder):
    assert StableDiffusion.load(folder, dtype="bfloat16").dtype == torch.bfloat16
    assert load_controlnet(dtype="float64").conv_in.weight.dtype == torch.float64


@pytest.mark.parametrize("options", [{"dtype": "float8"}, {"dtype": "int32"}, {"dtype": 16}, {"device": "gpu"}])
def test_other_types_and_devices_are_one_line(folder, options):
    sd = StableDiffusion.load(folder)
    for call in (lambda: StableDiffusion.load(folder, **options), lambda: load_controlnet(**options)):
        refused(call, str(*options.values()))
    refused(lambda: sd.to(**options))


def test_frames_to_latents_by_hand(folder):
    """The posterior's mean of pictures in [−1, 1], times the scaling factor; each frame by itself."""
    sd = StableDiffusion.load(folder, torch.float64)
    frames = np.random.default_rng(3).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    latents = sd.encode(frames)
    assert latents.shape == (3, 4, 2, 3) and latents.dtype == torch.float64
    pictures = torch.from_numpy(frames).double().permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(latents, VAE_SIZES.scaling_factor * sd.vae.encode(pictures), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sd.encode(torch.from_numpy(frames[1:2])), latents[1:2])
    assert torch.equal(sd.encode(frames[:, ::-1]), sd.encode(frames[:, ::-1].copy()))
    with torch.device("meta"):  # where new tensors go is nobody's business but the model's
        assert torch.equal(sd.encode(frames), latents) and sd.decode(latents).shape == frames.shape


def test_latents_to_frames_as_a_video_has_them(folder):
    sd = StableDiffusion.load(folder)
    video = text_to_video(sd, "a red ball", **FAST)
    frames = sd.decode(video.latents)
    assert frames.dtype == np.uint8 and (frames == video.frames).all()


def test_wrong_shapes_are_refused(folder):
    sd = StableDiffusion.load(folder)
    for call in (sd.encode, sd.decode):
        refused(lambda: call([[1, 2], [3]]), "got a list")
    for frames in (np.zeros((2, 16, 16, 3)), np.zeros((16, 16, 3), np.uint8), np.zeros((1, 12, 16, 3), np.uint8)):
        refused(lambda: sd.encode(frames), "encode")
    for latents in (torch.zeros(4, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(0, 4, 8, 8)):
        refused(lambda: sd.decode(latents), "decode")


def test_loras_are_paths_or_pairs(folder, tmp_path):
    style = tmp_path / "style.safetensors"
    save_file({f"{TO_Q}.lora_A.weight": torch.ones(1, 32), f"{TO_Q}.lora_B.weight": torch.ones(32, 1)}, style)
    weights = [
        StableDiffusion.load(folder, loras=loras).unet.state_dict()[f"{TO_Q}.weight".removeprefix("unet.")]
        for loras in ([style], [str(style)], style, [(style, 1.0)], [(style, 0.5), (style, 0.5)], [])
    ]
    assert all(torch.equal(weight, weights[0]) for weight in weights[1:4])
    torch.testing.assert_close(weights[4], weights[0])
    torch.testing.assert_close(weights[5] + 1, weights[0])
    refused(lambda: StableDiffusion.load(folder, loras=[(style,)]), "PATH")
