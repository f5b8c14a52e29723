"""Whole videos against TextToVideoZeroPipeline: same weights, same x_T, same forward noise.

Latents ≤ 1e-4 in float32 (relative L2); ≤ 1e-9 in float64 with exact tables in their scheduler, so that nothing but
rounding is left; decoded frames within 1/255.
"""

import numpy as np
import pytest
import torch
from tiny import tiny_sd
from twins import NEGATIVE, PROMPT, noise_for, pipeline_twin, relative
from twins import text_to_video as their_text_to_video

from t2vz import text_to_video
from t2vz.schedulers import NoiseSchedule

# steps, T', T: where each falls on the grid of that many steps
RUNS = {
    "50 steps": (50, 881, 941),
    "25 steps": (25, 881, 961),
    "25 steps, longer jump": (25, 601, 881),
    "10 steps": (10, 601, 801),
    "10 steps, T = T'": (10, 901, 901),
    "33 steps": (33, 751, 901),
    "2 steps": (2, 1, 501),
}


def both(
    folder,
    device,
    monkeypatch,
    dtype,
    run="50 steps",
    frames=8,
    height=64,
    width=48,
    guidance=7.5,
    motion=(12.0, 12.0),
    output="latent",
    seed=0,
    negative=NEGATIVE,
    **more,
):
    """Our Video, and what their pipeline returns, for the same request."""
    steps, t_prime, t = RUNS[run]
    sd = tiny_sd(folder, dtype, device, seed=seed)
    noise = noise_for(frames, height, width, seed)
    size = {"height": height, "width": width}
    more |= {"motion": motion, "t_prime": t_prime, "t": t, "noise": noise, **size}
    ours = text_to_video(sd, PROMPT, frames, steps, guidance, negative, **more)
    index = list(reversed(NoiseSchedule.stable_diffusion().timesteps(steps))).index  # their t0, t1 count from the end
    options = {"num_inference_steps": steps, "t0": index(t_prime), "t1": index(t), "guidance_scale": guidance, **size}
    options |= {"motion_field_strength_x": motion[0], "motion_field_strength_y": motion[1], "negative_prompt": negative}
    pipe = pipeline_twin(sd, folder / "tokenizer", tables=dtype)
    theirs = their_text_to_video(pipe, monkeypatch, PROMPT, noise, output, **options)
    assert not any("nearest" in note for note in ours.notes), "T and T' should lie on the grid"
    return ours, theirs


@pytest.mark.parametrize("run", RUNS)
def test_latents_float32(run, folder, device, monkeypatch, measured):
    ours, theirs = both(folder, device, monkeypatch, torch.float32, run)
    measured(f"latents, {run}, float32", relative(ours.latents, theirs), 1e-4)


@pytest.mark.parametrize("run", RUNS)
def test_latents_float64(run, folder, device, monkeypatch, measured):
    ours, theirs = both(folder, device, monkeypatch, torch.float64, run, frames=3)
    measured(f"latents, {run}, float64", relative(ours.latents, theirs), 1e-9)


@pytest.mark.parametrize(
    "request_",
    [
        {"guidance": 3.0, "negative": ""},
        {"motion": (-20.0, 7.0)},
        {"height": 40, "width": 72},
        {"chunk": 3},
        {"chunk": 1},
        {"frames": 2, "seed": 5},
    ],
    ids=str,
)
def test_other_requests(request_, folder, device, monkeypatch, measured):
    """Guidance, motion, sizes that halve unevenly; and chunks of ours against the whole of theirs."""
    request_ = {"frames": 4, **request_}
    ours, theirs = both(folder, device, monkeypatch, torch.float64, "10 steps", **request_)
    measured(f"latents, {request_}", relative(ours.latents, theirs), 1e-9)


@pytest.mark.parametrize("run", ["50 steps", "10 steps"])
def test_frames(run, folder, device, monkeypatch, measured):
    ours, theirs = both(folder, device, monkeypatch, torch.float32, run, output="np", frames=4)
    assert ours.frames.shape == theirs.shape and ours.frames.dtype == np.uint8
    measured(f"frames, {run}", float(np.abs(ours.frames / 255.0 - theirs).max()), 1 / 255)
    differ = (ours.frames != np.round(theirs * 255)).mean()
    assert differ < 0.01, f"{differ:.1%} of the pixels round to another level"
    assert 0.01 < theirs.std(), "a video of one colour would compare nothing"


def test_the_named_conventions_matter(folder, device, monkeypatch):
    """The comparison can fail: one step more in the jump, or the exact flow, is another video."""
    for choice in ({"jump_convention": "paper"}, {"flow_convention": "exact"}, {"attention": "own"}):
        ours, theirs = both(folder, device, monkeypatch, torch.float64, "10 steps", frames=3, **choice)
        assert relative(ours.latents, theirs) > 1e-5, choice
