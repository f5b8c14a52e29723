"""ControlNet (E14) against diffusers: residuals of one call, and whole controlled videos.

Same random weights, noise and condition pictures. Residuals ≤ 1e-12 in float64, ≤ 1e-5 in float32. Latents of
StableDiffusionControlNetPipeline with the release's cross-frame attention processor in both networks: ≤ 1e-4 in
float32, ≤ 1e-9 in float64.
"""

import functools

import pytest
import torch
import twins
from diffusers import MultiControlNetModel, StableDiffusionControlNetPipeline
from tiny import UNET, randomize, tiny_sd
from twins import NEGATIVE, PROMPT, TOLERANCE, UNCHECKED, ddim, relative

from t2vz.pipelines.control import control_video
from t2vz.unet import ControlNet, ControlNetConfig

TYPES = [torch.float64, torch.float32]
THEIR_WORDS = {
    "control_scale": "controlnet_conditioning_scale",
    "control_start": "control_guidance_start",
    "control_end": "control_guidance_end",
}
SIZES = {
    "tiny": (UNET, {}),
    "sd15 topology": (twins.SD15_TOPOLOGY, {}),
    "small stem": (twins.ODD_HEADS, {"condition_channels": 1, "condition_out_channels": (5, 7, 9)}),
}


def make(name, dtype, device, seed=0):
    unet, stem = SIZES[name]
    controlnet = randomize(ControlNet(ControlNetConfig(**vars(unet), **stem)), seed)
    return controlnet.to(device, dtype).eval().requires_grad_(False)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("attention", ["own", "first"])
@pytest.mark.parametrize("name", SIZES)
def test_e14_residuals(name, attention, dtype, device, normal, measured):
    controlnet = make(name, dtype, device)
    config, factor, frames = controlnet.config, controlnet.factor, 3
    theirs = twins.control_twin(controlnet)
    twins.cross_frame(theirs, attention)
    for (h, w), t, scale in (((8, 8), 981, 1.0), ((5, 7), 21, 0.6)):
        x = normal((2, frames, 4, h, w), dtype, seed=t)
        context = normal((2, 11, config.context_dim), dtype, seed=t + 1)
        sides = (frames, config.condition_channels, factor * h, factor * w)
        condition = torch.sigmoid(normal((1, *sides), dtype, seed=t + 2))
        errors = twins.control_errors(controlnet, theirs, x, t, context, condition, attention, scale)
        for i, error in enumerate(errors):
            measured(f"residual {i} of {name}, {attention}, {h}×{w}, {dtype}", error, TOLERANCE[dtype])


@pytest.fixture(scope="module")
def models(request, folder):
    """models(dtype) -> our StableDiffusion and two ControlNets, and their UNet, ControlNets and the rest; made once."""
    device = torch.device(request.config.getoption("--device"))

    @functools.cache
    def made(dtype):
        sd = tiny_sd(folder, dtype, device, seed=3)
        controlnets = [make("tiny", dtype, device, seed) for seed in (20, 21)]
        return sd, controlnets, twins.parts(sd, folder / "tokenizer"), list(map(twins.control_twin, controlnets))

    return made


def ours_and_theirs(models, dtype, steps=4, count=1, guidance=9.0, attention="first", **options):
    """Latents (m, 4, h, w) of control_video and of their pipeline for one request. options: of control_video."""
    sd, controlnets, _, _ = models(dtype)
    shared, pictures = inputs(count)
    given = ([one.numpy() for one in pictures], controlnets[:count])
    given = given if count > 1 else (given[0][0], given[1][0])
    more = {"noise": {"shared": shared}, "attention": attention, **options}
    ours = control_video(sd, PROMPT, *given, steps, guidance, NEGATIVE, **more)
    return ours.latents, their_latents(models, dtype, steps, count, guidance, attention, **options)


def inputs(count, frames=3, height=48, width=32):
    """The noise all frames share, and `count` control videos (m, H, W, 3)."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(1, 4, height // 8, width // 8, generator=generator, dtype=torch.float64)
    return shared, torch.randint(0, 256, (count, frames, height, width, 3), generator=generator, dtype=torch.uint8)


def their_latents(models, dtype, steps=4, count=1, guidance=9.0, attention="first", **options):
    """StableDiffusionControlNetPipeline on the same weights, cross-frame attention in every network: (m, 4, h, w)."""
    _, _, parts, networks = models(dtype)
    steering = networks[0] if count == 1 else MultiControlNetModel(networks[:count])
    pipe = StableDiffusionControlNetPipeline(**parts, controlnet=steering, scheduler=ddim(dtype), **UNCHECKED)
    pipe.set_progress_bar_config(disable=True)
    for network in (pipe.unet, *networks[:count]):
        twins.cross_frame(network, attention, 2 if guidance > 1 else 1)
    shared, pictures = inputs(count)
    # Their pipeline rounds pictures to float32, which is all that is left of the difference in float64.
    images = [(one.to(pipe.device, dtype) / 255).permute(0, 3, 1, 2) for one in pictures]
    frames = len(images[0])
    return pipe(
        [PROMPT] * frames,
        images if count > 1 else images[0],
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=[NEGATIVE] * frames,
        latents=shared.to(pipe.device, dtype).repeat(frames, 1, 1, 1),
        output_type="latent",
        **{theirs: options[ours] for ours, theirs in THEIR_WORDS.items() if ours in options},
    ).images


@pytest.mark.parametrize(
    ("dtype", "steps"), [(torch.float32, 1), (torch.float32, 3), (torch.float32, 20), (torch.float64, 7)], ids=str
)
def test_e14_whole_video(dtype, steps, models, measured):
    error = relative(*ours_and_theirs(models, dtype, steps))
    measured(f"controlled latents, {steps} steps, {dtype}", error, 1e-9 if dtype == torch.float64 else 1e-4)


REQUESTS = {
    "scale": {"control_scale": 0.5},
    "no guidance": {"guidance": 1.0},
    "frame by frame": {"attention": "own"},
    "first half": {"control_end": 0.5},
    "the middle": {"control_start": 0.3, "control_end": 0.8},
    "two, each its own": {"count": 2}
    | {"control_scale": [0.7, 1.3], "control_start": [0.0, 0.25], "control_end": [0.5, 1.0]},
    "two in chunks": {"count": 2, "chunk": 2},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_e14_other_requests(name, models, measured):
    """Scales, shares of the steps, several ControlNets; chunks of ours against the whole of theirs."""
    measured(f"controlled latents, {name}", relative(*ours_and_theirs(models, torch.float64, **REQUESTS[name])), 1e-9)


def test_e14_the_comparison_can_fail(models):
    """Each of the settings compared above changes their video by far more than the tolerance."""
    base = their_latents(models, torch.float64)
    for change in ({"control_scale": 0.9}, {"control_end": 0.75}, {"attention": "own"}, {"count": 2}):
        assert relative(their_latents(models, torch.float64, **change), base) > 1e-4, change
