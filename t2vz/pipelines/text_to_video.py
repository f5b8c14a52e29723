"""Text2Video-Zero: from a prompt to a video with a frozen text-to-image model. The algorithm itself: algorithm_1.py."""

from collections.abc import Callable
from types import EllipsisType
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..conditions import motion_of_clip
from ..errors import InputError
from ..video import Video
from .algorithm_1 import algorithm_1
from .denoise import Step
from .job import Job, Progress
from .prediction import Predict, chunk_of, guided_by_text, with_ingredients
from .settings import Settings
from .source import video_shape

if TYPE_CHECKING:
    from ..model import StableDiffusion
    from ..video import Clip


def text_to_video(
    sd: "StableDiffusion",
    prompt: str,
    frames: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    motion: tuple[float, float] | EllipsisType | None = ...,
    t_prime: int | None = None,
    t: int | None = None,
    attention: str | None = None,
    smooth_background: float = 0.0,
    chunk: int | None = None,
    noise: dict[str, Tensor] | None = None,
    *,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    motion_from: "Clip | np.ndarray | None" = None,
    motion_dense: bool = False,
    progress: Progress | None = None,
    on_step: Callable[[Step], None] | None = None,
    **more,
) -> Video:
    """Make a video of m = `frames` frames from a prompt (paper §3.3).

    Settings left out (None; for motion `...`, since its None means off) are the checkpoint's own defaults
        (sd.defaults), else the paper's: 8 frames, 50 steps, guidance_scale 7.5, motion (12, 12), t_prime 881, t 941,
        attention "first", initial_noise "independent", 4 frames per second.
    steps: DDIM steps. guidance_scale: w of E5 (1: none). height, width: pixels, multiples of 8 (None: the model's own).
    motion: λ·(δ_x, δ_y) per frame, in 1/512ths of the frame, the release's unit; positive moves the picture's content
        left and up. None: no motion dynamics, all frames start from pure noise (see initial_noise).
    t_prime, t: the timesteps T' and T. The nearest steps are used; the notes say where they are others. 999: the first.
    attention: which frames each attends to, "own", "first", "previous", "first_previous", "causal" or "all".
    smooth_background: α of E13; 0 is off, paper 0.6. masks: foreground per frame (m or 1, 1, H, W) in [0, 1]; without
        them they are taken from the model's own text attention to the words `foreground` (default: a guess).
    chunk: frames per UNet call (None: all); it bounds the memory and does not change the video. ("causal" and "all"
        need every earlier frame's keys and values, and masks from attention a map per frame: there memory grows.)
    noise: tensors in place of random draws, by the names of `randomness.SHAPES`. flow: (m, 2, H/8, W/8) in latent
        cells, any camera path in place of `motion` (frame 1's is not used). motion_from: a video whose camera's path
        is taken, an array uint8 (≥ m, H, W, 3) or a Clip; motion_dense: its optical flow instead
        (conditions/camera.py).
    progress(done, total, stage) is told the work done; on_step(Step) sees every step's tensors.
    more: the other settings of settings.py, by name.
        zoom, rotation: camera path beside `motion`, per frame: 1.02 moves in, degrees turn the picture clockwise.
        initial_noise, noise_strength: how the frames' noises are related with motion off (motion.noise.correlate):
        "independent", "shared", "mixed", "progressive", "residual"; or a tuned model's "inverted".
        foreground: see masks. eta: 0 DDIM … 1 DDPM (E3). fps: of the file written.
        start_convention, jump_convention, flow_convention, background_convention: "release", or what the paper says
        ("paper"; flow: "exact"), see docs/method.md, differences 9, 1, 2 and E13.
        token_merging, deep_cache: approximations that save time, off at 0 and 1. temporal_shift: the share of channels
        that neighbouring frames exchange, off at 0. (attention/merging.py, unet/deep_cache.py, unet/shift.py)
    Returns a Video with frames, latents (on the CPU), settings and notes. Raises InputError for impossible requests,
    FailedError if the latents stop being finite. Source: arXiv 2303.13439, Algorithm 1.
    """
    settings = Settings.of_arguments(locals())
    notes: list[str] = []
    if motion_from is None and motion_dense:
        raise InputError("motion_dense goes with motion_from")
    if motion_from is not None:
        video_shape(motion_from, "video of motion_from")
        if flow is not None:
            raise InputError("flow and motion_from both say how the camera moves; give one")
        cells = settings.height // sd.vae.factor, settings.width // sd.vae.factor
        flow, notes = motion_of_clip(motion_from, settings.frames, settings.fps, *cells, motion_dense)
    video = generate(sd, settings, noise=noise, masks=masks, flow=flow, progress=progress, on_step=on_step)
    video.notes.extend(notes)
    return video


def generate(sd: "StableDiffusion", settings: Settings, **inputs) -> Video:
    """`text_to_video` with the settings as one object (a run file's, a study's). inputs: see `Job`."""
    job = text_job(sd, settings, **inputs)
    return job.video(algorithm_1(job))


def text_job(sd: "StableDiffusion", settings: Settings, unet: Callable | None = None, **inputs) -> Job:
    """The Job of a video made from its prompt: everything checked, nothing done yet.

    unet: ε_θ in place of sd's, called like a UNet (one steered by ControlNets). inputs: noise, masks, flow, progress,
    on_step and share, see `Job`.
    """
    if sd.unet.config.in_channels != sd.unet.config.out_channels:
        raise InputError(
            f"{sd.path or 'this model'}: its UNet reads {sd.unet.config.in_channels} channels, a source "
            "video's among them; use it with edit_video (t2vz edit), or load a Stable Diffusion 1.x model"
        )

    def make_predict(job: Job) -> Predict:
        """ε_θ guided by the prompt, E5; the text is encoded when the work begins."""
        texts = sd.encode_text([settings.negative_prompt, settings.prompt])
        return guided_by_text(  # E5
            unet or with_ingredients(sd.unet, settings),
            texts,
            settings.guidance_scale,
            settings.attention,
            chunk_of(sd.unet, settings),
            job.mine,
        )

    return Job(sd, settings, make_predict, **inputs)
