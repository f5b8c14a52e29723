"""Video Instruct-Pix2Pix (E15) against StableDiffusionInstructPix2PixPipeline with cross-frame attention, and the
Euler-ancestral scheduler against theirs: same weights, same pictures, same noise.

Steps ≤ 1e-6, whole edits ≤ 1e-4 in float32, relative L2. Their Euler-ancestral steps are computed in float32 whatever
the type; DDIM has exact tables in float64, and there only rounding is left.
"""

import warnings

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from diffusers.schedulers import scheduling_euler_ancestral_discrete as euler
from tiny import tiny_edit_sd
from twins import BETAS, NEGATIVE, UNCHECKED, cross_frame, ddim, parts, relative

from t2vz import edit_video
from t2vz.schedulers import NoiseSchedule, euler_ancestral_step, euler_timesteps, scale_input, sigma_at

INSTRUCTION = "make the red ball blue"
SCHEDULE = NoiseSchedule.stable_diffusion()
STEPS = (2, 7, 50, 333, 999)


def ancestral(**options) -> EulerAncestralDiscreteScheduler:
    """The release's sampler: InstructPix2Pix's scheduler with its own default spacing, linspace."""
    return EulerAncestralDiscreteScheduler(**BETAS, **options)


@pytest.mark.parametrize("steps", STEPS)
def test_timesteps_and_noise_levels(steps):
    theirs = ancestral()
    theirs.set_timesteps(steps)
    ours = euler_timesteps(SCHEDULE, steps)
    assert relative(torch.tensor(ours), theirs.timesteps) <= 1e-6
    assert relative(torch.tensor([sigma_at(SCHEDULE, t) for t in ours] + [0.0]), theirs.sigmas) <= 1e-6
    assert sigma_at(SCHEDULE, 999) == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_noise_levels_of_other_grids(spacing):
    theirs = ancestral(timestep_spacing=spacing)
    theirs.set_timesteps(30)
    ours = [sigma_at(SCHEDULE, t) for t in theirs.timesteps.tolist()]
    assert relative(torch.tensor(ours), theirs.sigmas[:-1]) <= 1e-6


@pytest.mark.parametrize("tables", ["theirs", "exact"])
@pytest.mark.parametrize("steps", STEPS)
def test_step(steps, tables, device, normal, measured):
    """Their float32 table of σ is off by 1e-5 where σ is small. A latent's picture hides that; with exact values in its
    place they agree on pure noise too."""
    theirs = ancestral()
    theirs.set_timesteps(steps)
    sigmas = [sigma_at(SCHEDULE, t) for t in euler_timesteps(SCHEDULE, steps)] + [0.0]
    if tables == "exact":
        theirs.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    worst = worst_input = 0.0
    for i in sorted({*range(0, steps, max(steps // 5, 1)), steps - 1}):
        theirs.set_begin_index(i)
        theirs._step_index = None
        x_0, n, eps = (normal((3, 4, 9, 13), torch.float32, 3 * i + seed) for seed in range(3))
        z = sigmas[i] * n + (x_0 if tables == "theirs" else 0)
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(i)).to(device)
        t = theirs.timesteps[i]
        worst_input = max(worst_input, relative(scale_input(z, sigmas[i]), theirs.scale_model_input(z, t)))
        expected = theirs.step(eps, t, z, generator=torch.Generator().manual_seed(i)).prev_sample
        worst = max(worst, relative(euler_ancestral_step(z, eps, sigmas[i], sigmas[i + 1], noise), expected))
    rounding = 1e-6 if tables == "theirs" and steps > 333 else 0  # neighbours in their table cancel
    measured(f"Euler-ancestral step, {steps} steps, {tables} tables", worst, 1e-6 + rounding)
    measured(f"scaled input, {steps} steps, {tables} tables", worst_input, 1e-6)


def their_edit(sd, folder, monkeypatch, frames, noise, sampler, attention, output="latent", **options):
    """Run their pipeline on a video as a batch of pictures, with our noise in place of its draws."""
    dtype, m = sd.dtype, len(frames)
    scheduler = ancestral() if sampler == "euler_ancestral" else ddim(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionInstructPix2PixPipeline(
            **parts(sd, folder / "tokenizer"), scheduler=scheduler, **UNCHECKED
        )
    cross_frame(pipe.unet, attention, 3)
    pipe.set_progress_bar_config(disable=True)
    draws = list(noise.get("ancestral", []))
    pictures = torch.from_numpy(frames).to(sd.device, dtype).permute(0, 3, 1, 2) / 255
    with monkeypatch.context() as patch:
        patch.setattr(euler, "randn_tensor", lambda shape, **kind: draws.pop(0).to(sd.device, dtype))
        made = pipe([INSTRUCTION] * m, pictures, latents=noise["initial"].to(dtype), output_type=output, **options)
    assert not draws, "a draw of theirs was never made"
    return made.images


def both(folder, device, monkeypatch, dtype, steps=10, sampler="euler_ancestral", output="latent", **request):
    """Our Video, and what their pipeline returns, for the same request."""
    asked = {"m": 2, "height": 48, "width": 64, "text": 7.5, "image": 1.0, "negative": NEGATIVE}
    asked |= {"attention": "first", "seed": 0, **request}
    m, height, width, text, image, negative, attention, seed = (
        asked.pop(name) for name in ("m", "height", "width", "text", "image", "negative", "attention", "seed")
    )
    sd = tiny_edit_sd(folder, dtype, device, seed=seed)
    pixels = np.random.default_rng(seed).integers(0, 256, (m, height // 8, width // 8, 3), dtype=np.uint8)
    frames = pixels.repeat(8, axis=1).repeat(8, axis=2)
    generator = torch.Generator().manual_seed(seed)
    shape = (m, 4, height // 8, width // 8)
    noise = {"initial": torch.randn(shape, generator=generator, dtype=torch.float64)}
    if sampler == "euler_ancestral":
        noise["ancestral"] = torch.randn((steps, *shape), generator=generator, dtype=torch.float64)
    more = asked | {"sampler": sampler, "attention": attention, "noise": noise}
    ours = edit_video(sd, frames, INSTRUCTION, steps, text, image, negative, **more)
    options = {"num_inference_steps": steps, "guidance_scale": text, "image_guidance_scale": image}
    options["negative_prompt"] = [negative] * m
    return ours, their_edit(sd, folder, monkeypatch, frames, noise, sampler, attention, output, **options)


@pytest.mark.parametrize(
    "steps, sampler",
    [(3, "euler_ancestral"), (10, "euler_ancestral"), (50, "euler_ancestral"), (3, "ddim"), (25, "ddim")],
)
def test_latents_float32(sampler, steps, folder, device, monkeypatch, measured):
    ours, theirs = both(folder, device, monkeypatch, torch.float32, steps, sampler)
    measured(f"edit, {sampler}, {steps} steps, float32", relative(ours.latents, theirs), 1e-4)


@pytest.mark.parametrize(
    "sampler, request_",
    [
        ("ddim", {"image": 1.5, "text": 3.0}),
        ("ddim", {"image": 7.5}),
        ("ddim", {"attention": "own"}),
        ("euler_ancestral", {"image": 4.0, "text": 1.5, "negative": ""}),
        ("ddim", {"chunk": 2, "image": 2.0, "m": 3}),
        ("euler_ancestral", {"chunk": 1}),
        ("ddim", {"height": 40, "width": 72}),
        ("euler_ancestral", {"m": 1, "seed": 3}),
    ],
    ids=str,
)
def test_other_requests(sampler, request_, folder, device, monkeypatch, measured):
    """Scales, sizes that halve unevenly, chunks of ours against the whole of theirs; DDIM is exact in float64."""
    ours, theirs = both(folder, device, monkeypatch, torch.float64, 3, sampler, **request_)
    tolerance = 1e-9 if sampler == "ddim" else 1e-5
    measured(f"edit, {sampler}, {request_}", relative(ours.latents, theirs), tolerance)


def test_frames(folder, device, monkeypatch, measured):
    ours, theirs = both(folder, device, monkeypatch, torch.float32, output="np")
    measured("edited frames", float(np.abs(ours.frames / 255.0 - theirs).max()), 1 / 255)
    assert 0.01 < theirs.std(), "a video of one colour would compare nothing"


def test_below_one_their_pipeline_guides_no_more_and_ours_follows_the_formula(folder, device, monkeypatch):
    """s_I < 1 or s_T ≤ 1 turns their guidance off, so the other scale is ignored: they compute s_I = s_T = 1."""
    ours, theirs = both(folder, device, monkeypatch, torch.float64, 3, "ddim", image=0.5, attention="own")
    plain, _ = both(folder, device, monkeypatch, torch.float64, 3, "ddim", image=1.0, text=1.0, attention="own")
    assert relative(plain.latents, theirs) <= 1e-9 and relative(ours.latents, theirs) > 1e-2


def test_the_comparison_can_fail(folder, device, monkeypatch):
    for choice in ({"attention": "own"}, {"image_scale": 1.1}, {"sampler": "ddim"}):
        sd = tiny_edit_sd(folder, torch.float32, device)
        frames = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
        first = edit_video(sd, frames, INSTRUCTION, 3).latents
        assert relative(edit_video(sd, frames, INSTRUCTION, 3, **choice).latents, first) > 1e-3, choice
