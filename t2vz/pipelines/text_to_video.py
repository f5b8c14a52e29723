"""Text2Video-Zero, Algorithm 1: from a prompt to a video with a frozen text-to-image model.

    E6   denoise frame 1 from pure noise to T, and on to T'
    E7   δ^k = λ·(k − 1)·δ
    E8   warp frame 1's latent at T' by δ^k
    E9   noise the warped latents back up to T
    E10  denoise all frames together from T, every frame attending to frame 1 (E12)
    E13  optionally: blend the backgrounds at T, and E10 again
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import InputError
from ..motion import (
    correlate, dilate, global_motion, mask_to_latent, motion_dynamics, rotation_flow, smooth_background as blend,
    translation_flow, zoom_flow,
)
from ..vae import to_pixels
from ..video import Video
from .denoise import NoisePredictor, check_finite
from .masks import foreground_from_attention, subject_words
from .randomness import Noise
from .run import Descent, Progress
from .settings import Settings


def text_to_video(
    sd, prompt: str, frames: int = 8, steps: int = 50, guidance_scale: float = 7.5, negative_prompt: str = "",
    seed: int = 0, height: int | None = None, width: int | None = None, motion: tuple[float, float] | None = (12.0, 12.0),
    t_prime: int = 881, t: int = 941, attention: str = "first", smooth_background: float = 0.0, chunk: int | None = None,
    noise: dict[str, Tensor] | None = None, *, masks: Tensor | None = None, flow: Tensor | None = None,
    progress: Progress | None = None, on_step: Callable | None = None, **more,
) -> Video:
    """Make a video of m = `frames` frames from a prompt. sd: a StableDiffusion.

    steps: DDIM steps. guidance_scale: w of E5 (1: none). height, width: pixels, multiples of 8 (None: the model's own).
    motion: λ·(δ_x, δ_y) per frame, in 1/512ths of the frame, the release's unit; positive moves the picture's content
        left and up. None: motion dynamics off, all frames start from pure noise (see initial_noise). t_prime, t: the
        timesteps T' and T; the nearest of the `steps`-step grid are used, and named in the video's notes.
    attention: which frames each frame attends to ("first", "own", "previous", "first_previous", "causal", "all").
    smooth_background: α of E13; 0 is off, paper 0.6. masks: foreground per frame (m or 1, 1, H, W) in [0, 1]; without
        them they are taken from the model's own text attention to the words `foreground` (default: a guess).
    chunk: frames per UNet call (None: all); it bounds the memory and does not change the video.
    noise: tensors in place of random draws (see `randomness.Noise`). flow: (m, 2, H/8, W/8) in latent cells, any
        camera path in place of `motion`. progress(done, total, stage) is told the work done, in frames × steps;
        on_step(Step) sees every step's tensors. more: the other fields of `Settings` (eta, zoom, rotation, …).
    Returns a Video with frames, latents, settings and notes. Raises InputError for impossible requests, FailedError if
    the latents stop being finite. Source: arXiv 2303.13439, Algorithm 1.
    """
    settings = Settings(
        prompt, frames, steps, guidance_scale, negative_prompt, seed,
        sd.default_size if height is None else height, sd.default_size if width is None else width, motion,
        t_prime=t_prime, t=t, attention=attention, smooth_background=smooth_background, chunk=chunk, **more,
    )
    return generate(sd, settings, noise, masks, flow, progress, on_step)


def generate(
    sd, settings: Settings, noise: dict[str, Tensor] | None = None, masks: Tensor | None = None,
    flow: Tensor | None = None, progress: Progress | None = None, on_step: Callable | None = None,
) -> Video:
    """`text_to_video` for settings that are already one object (a run file's, a study's)."""
    notes = sd.prompt_notes(settings.prompt) + sd.prompt_notes(settings.negative_prompt)
    moves = settings.motion is not None or flow is not None
    rerun = settings.smooth_background > 0 and masks is None
    notes += _unused(settings)
    T, T_prime = _snap(sd.schedule, settings, moves, notes)
    m, h, w = settings.frames, settings.height // sd.vae.factor, settings.width // sd.vae.factor
    latent = (sd.unet.config.in_channels, h, w)
    draws = Noise(settings.seed, noise)
    context = sd.encode_text([settings.negative_prompt, settings.prompt])
    predict = NoisePredictor(sd.unet, context, settings.guidance_scale, settings.attention, settings.chunk)
    descent = Descent(predict, sd.schedule, settings, draws, T, T_prime, moves, rerun, device=sd.device,
                      progress=progress, on_step=on_step)
    _check_masks(masks, m)  # what cannot work is said before the work
    _check_flow(flow, m, h, w)
    subject = _subject(sd, settings) if rerun else []

    if not moves:
        flow = torch.zeros(m, 2, h, w)
        independent = draws.frames("initial", range(m), latent)
        x_T = correlate(independent, draws.frames("shared", range(1), latent), settings.initial_noise, settings.noise_strength)
        x_T = descent.place(x_T)
    else:
        x = descent.place(draws.frames("x_T", range(1), latent))
        x_1_T = descent(x, descent.grid[0], T, "frame 1 to T")  # E6
        x_1_T_prime = descent(x_1_T, T, T_prime, "frame 1 to T'")
        flow = camera_path(settings, h, w) if flow is None else flow  # E7
        ratio = sd.schedule.jump_ratio(T_prime, T, settings.jump_convention)
        forward = descent.place(draws.frames("forward", range(1, m), latent))
        x_T = motion_dynamics(x_1_T, x_1_T_prime, flow[1:], ratio, forward)  # E8, E9

    if settings.smooth_background > 0:  # E13
        if masks is None:
            record = descent.recording(lambda: descent(x_T, T, None, "all frames, to find the foreground"))
            used = sd.tokenizer.encode(settings.prompt).used
            foreground = foreground_from_attention(record, subject, used, h, w)
        else:
            foreground = mask_to_latent(masks, h, w).expand(m, -1, -1, -1)
        x_T = blend(x_T, dilate(foreground).to(x_T), flow, settings.smooth_background, settings.background_convention)
    x_0 = descent(x_T, T, None, "all frames")  # E10
    return Video(frames=decode(sd, x_0), latents=x_0, fps=settings.fps, settings=settings.to_dict(), notes=notes)


@torch.no_grad()
def decode(sd, latents: Tensor):
    """Latents (m, 4, h, w), scaled -> uint8 numpy (m, H, W, 3), frame by frame, so memory does not grow with m."""
    frames = []
    for latent in latents:
        image = sd.vae.decode((latent[None] / sd.vae.config.scaling_factor).to(sd.vae_dtype))
        check_finite(image, "VAE decoding", first=len(frames))
        frames.append(to_pixels(image).cpu())
    return torch.cat(frames).numpy()


def camera_path(settings: Settings, height: int, width: int) -> Tensor:
    """E7 as a flow (m, 2, height, width): translation, and zoom and rotation growing with k if they are set."""
    k = torch.arange(settings.frames, dtype=torch.float64)
    offsets = global_motion(settings.motion, settings.frames)
    flow = translation_flow(offsets, height, width, settings.flow_convention)
    if settings.zoom != 1.0:
        flow = flow + zoom_flow(settings.zoom**k, height, width)
    if settings.rotation != 0.0:
        flow = flow + rotation_flow(settings.rotation * k, height, width)
    return flow


def _snap(schedule, settings: Settings, moves: bool, notes: list[str]) -> tuple[int, int]:
    """T and T' on the sampler's grid, what was moved is said in the notes; without motion all starts at its first step."""
    if not moves:
        return schedule.timesteps(settings.steps)[0], schedule.timesteps(settings.steps)[0]
    T, T_prime = schedule.snap(settings.t, settings.steps), schedule.snap(settings.t_prime, settings.steps)
    if (T, T_prime) != (settings.t, settings.t_prime):
        notes.append(f"with {settings.steps} steps the nearest timesteps are T = {T} (asked: {settings.t}) and "
                     f"T' = {T_prime} (asked: {settings.t_prime})")
    if T == T_prime and settings.t != settings.t_prime:
        notes.append("T and T' fall on the same step, so frames get no noise of their own and only the camera moves; "
                     "use more steps or a smaller t_prime")
    return T, T_prime


def _unused(settings: Settings) -> list[str]:
    """Notes on settings that have no effect beside others."""
    if settings.attention == "all" and settings.chunk is not None and settings.chunk < settings.frames:
        return ['attention "all" looks at every frame at once, so chunk is ignored and memory grows with the frames']
    return []


def _subject(sd, settings: Settings) -> list[int]:
    """Positions among the 77 tokens of the words that name the foreground."""
    return sd.tokenizer.positions(settings.prompt, list(settings.foreground or subject_words(settings.prompt)))


def _check_masks(masks: Tensor | None, m: int) -> None:
    if masks is not None and (masks.ndim != 4 or masks.shape[0] not in (1, m) or masks.shape[1] != 1):
        raise InputError(f"masks must have shape ({m} or 1, 1, H, W), white (1) where the foreground is; got {tuple(masks.shape)}")


def _check_flow(flow: Tensor | None, m: int, h: int, w: int) -> None:
    if flow is not None and tuple(flow.shape) != (m, 2, h, w):
        raise InputError(f"flow must have shape {(m, 2, h, w)}, latent cells (x, y) for every frame; got {tuple(flow.shape)}")
    if flow is not None and not bool(torch.isfinite(flow).all()):
        raise InputError("flow holds a NaN or an infinity; displacements are finite numbers of latent cells")
