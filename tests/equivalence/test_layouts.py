"""One model, three ways to disk: diffusers' folder, our folder, and a single file give bit for bit the same outputs."""

import pytest
import torch
from tiny import tiny_sd
from twins import NEGATIVE, PROMPT, noise_for, pipeline, relative
from twins import text_to_video as their_text_to_video

from t2vz import StableDiffusion, text_to_video


def outputs(sd, device):
    """Everything a checkpoint decides: a video, the text states, and a picture encoded."""
    noise = noise_for(3, 64, 64, seed=1)
    video = text_to_video(sd, PROMPT, 3, 3, 7.5, NEGATIVE, height=64, width=64, t=667, t_prime=334, noise=noise)
    images = noise["x_T"][:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).clamp(-1, 1).to(device, sd.vae_dtype)
    with torch.no_grad():
        mean, log_variance = sd.vae.encode_moments(images)
    return {
        "latents": video.latents,
        "frames": torch.from_numpy(video.frames),
        "text": sd.encode_text([PROMPT, ""]),
        "mean": mean,
        "log-variance": log_variance,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_all_layouts_give_identical_outputs(saved, dtype, device):
    made = {name: outputs(StableDiffusion.load(path, dtype, device), device) for name, path in saved.items()}
    for name in ("ours", "single"):
        for what, tensor in made["theirs"].items():
            assert torch.equal(made[name][what], tensor), f"{what} of {name} differs from that of diffusers' folder"


def test_loading_changes_no_number(saved, device, tmp_path):
    """Loaded from diffusers' folder, the model computes what it did before it was saved."""
    made = tiny_sd(tmp_path, torch.float64, device)
    loaded = StableDiffusion.load(saved["theirs"], torch.float64, device)
    for before, after in zip(outputs(made, device).values(), outputs(loaded, device).values(), strict=True):
        assert relative(after, before) <= 1e-6  # the weights went through float32


def test_diffusers_loads_our_folder(saved, device, monkeypatch):
    """Our folder, opened by their pipeline's own loader, and run: the same video."""
    from diffusers import StableDiffusionPipeline

    parts = StableDiffusionPipeline.from_pretrained(saved["ours"], local_files_only=True, torch_dtype=torch.float32)
    parts.to(device)
    assert parts.scheduler.timesteps.numel() == 1000 and parts.scheduler.config.steps_offset == 1
    theirs = pipeline(parts.unet, parts.vae, parts.text_encoder, parts.tokenizer)
    noise = noise_for(3, 64, 64, seed=2)
    options = {"num_inference_steps": 3, "t0": 1, "t1": 2, "negative_prompt": NEGATIVE, "height": 64, "width": 64}
    made = their_text_to_video(theirs, monkeypatch, PROMPT, noise, **options)
    sd = StableDiffusion.load(saved["ours"], torch.float32, device)
    ours = text_to_video(sd, PROMPT, 3, 3, 7.5, NEGATIVE, height=64, width=64, t_prime=334, t=667, noise=noise)
    assert relative(ours.latents, made) <= 1e-4
