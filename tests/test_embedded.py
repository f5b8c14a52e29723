"""The checkpoint that comes with the repository: it loads with no path, and draws what the prompt names."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import relative

from t2vz import StableDiffusion, text_to_video
from t2vz.cli import main
from t2vz.video import read_video


@pytest.fixture(scope="module")
def sd():
    return StableDiffusion.load()


def test_it_is_small_and_complete(sd):
    assert sum(p.numel() for p in sd.unet.parameters()) < 10_000_000
    assert sd.default_size == 128 and sd.tokenizer.length == 77
    assert len({name for name, _ in sd.unet.named_modules() if name.endswith("attn1")}) == 16  # SD 1.5's anatomy


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("blue", 2)])
def test_the_prompt_s_colour_and_place_are_in_every_frame(sd, colour, channel):
    """A meadow's lower rows are green; somewhere a blot is as red, or blue, as nothing else in the picture is."""
    video = text_to_video(sd, f"a {colour} ball on a green meadow", frames=3, steps=20, seed=1)
    frames = video.frames.astype(float)
    others = [c for c in range(3) if c != channel]
    for frame in frames:
        ground = frame[112:].mean(axis=(0, 1))
        assert ground[1] > ground[0] + 20 and ground[1] > ground[2] + 20
        excess = frame[..., channel] - frame[..., others].max(axis=-1)
        share = float((excess > 60).mean())
        assert 0.01 < share < 0.6, f"{share:.3f} of the picture is {colour}"


def test_smoothing_with_masks_from_attention_does_not_depend_on_how_many_frames_follow(sd):
    """The threshold that makes a mask is frame 1's (E13). A trained network: on a random one nothing is background."""
    settings = {"steps": 25, "seed": 1}  # with fewer, T and T' would be one step, and frames warps of frame 1
    few, many = (
        text_to_video(sd, "a red ball on a green meadow", m, smooth_background=0.6, **settings).latents for m in (2, 4)
    )
    plain = text_to_video(sd, "a red ball on a green meadow", 2, **settings).latents
    assert relative(many[:2], few) < 1e-5
    assert relative(plain, few) > 0.01  # and smoothing did something


def test_the_readme_s_first_command_without_a_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "a red ball on a green meadow", "--steps", "5", "--frames", "2", "--sheet", "-q"]) == 0
    video = read_video("a-red-ball-on-a-green-meadow.mp4")
    assert video.frames.shape == (2, 128, 128, 3) and np.ptp(video.frames) > 100
    assert (tmp_path / "a-red-ball-on-a-green-meadow-sheet.png").exists()


def test_the_card_s_lines_for_diffusers_run(monkeypatch):
    """As they are printed: both pipelines load, in one float type, and make pictures."""
    monkeypatch.chdir(Path(__file__).parents[1])
    (lines,) = re.findall(r"```python\n(.*?)```", Path("weights/embedded/README.md").read_text(), re.DOTALL)
    pictures, video = lines.split("pipe = ")[1:]
    names: dict = {}
    exec(lines.split("pipe = ")[0], names)
    for call, more in ((pictures, {"output_type": "np"}), (video, {"video_length": 2, "t0": 2, "t1": 3})):
        exec("pipe = " + call, names)
        pipe = names["pipe"]
        assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}
        pipe.set_progress_bar_config(disable=True)
        images = pipe("a red ball on a green meadow", num_inference_steps=4, height=64, width=64, **more).images
        assert np.asarray(images).shape[1:] == (64, 64, 3) and np.isfinite(images).all()
