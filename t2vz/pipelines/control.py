"""Text2Video-Zero with ControlNet (paper §3.4): a video that follows edges, poses or depth, frame by frame.

    E14  ε_θ(x_t, t, τ; c): the UNet, with s·C_i(x_t, t, τ, c^k) added to the skips and the middle of frame k
    E12  cross-frame attention in both networks, the UNet and the ControlNet

Otherwise it is Algorithm 1 (algorithm_1.py). In the release all frames start from one noise, the default here; in the
paper that noise is warped from frame to frame (docs/method.md, difference 10).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..attention import KeyValueCache, Look
from ..errors import InputError
from ..model import check_controlnet
from ..unet import ControlNet
from ..video import Video
from .algorithm_1 import algorithm_1
from .denoise import Step
from .job import Job, Progress
from .prediction import with_ingredients
from .settings import ControlSettings
from .source import for_video, frames_of, size_in_words, video_shape
from .text_to_video import text_job

if TYPE_CHECKING:
    from ..model import StableDiffusion


def control_video(
    sd: "StableDiffusion",
    prompt: str,
    control: Sequence,
    controlnet: ControlNet | list[ControlNet],
    steps: int | None = None,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    attention: str | None = None,
    motion: tuple[float, float] | EllipsisType | None = ...,
    control_scale: float | Sequence[float] | None = None,
    control_start: float | Sequence[float] = 0.0,
    control_end: float | Sequence[float] = 1.0,
    chunk: int | EllipsisType | None = ...,
    noise: dict[str, Tensor] | None = None,
    *,
    fps: float | None = None,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    progress: Progress | None = None,
    on_step: Callable[[Step], None] | None = None,
    **more,
) -> Video:
    """Make a video from a prompt that follows a control video (paper §3.4).

    control: condition pictures, uint8 (m, H, W, 3), what the ControlNet was trained to read (white edges on black …):
        an array, a Video, or anything with a length whose slices are arrays (a `video.Clip`), which is read chunk by
        chunk. controlnet: from `load_controlnet`. For several at once: a list of each; their residuals add up.
    Settings left out (None; for motion and chunk `...`, since their None has a meaning) are the checkpoint's own
        defaults (sd.defaults), else the release's: 20 steps, guidance_scale 9, control_scale 1, attention "first",
        motion None, initial_noise "shared", t_prime 881, t 941; 8 frames in a chunk. more: the other settings by name,
        as in `text_to_video`.
    height, width: pixels; they must be those of the pictures (None: they are). Sides are multiples of 8.
    attention: in both networks. control_scale: s of E14. control_start, control_end: the share of the steps between
        which the ControlNet steers, 0 to 1. Each of the three: one number, or one for each ControlNet.
    motion: None as in the release, all frames start from one noise. λ·(δ_x, δ_y) turns motion dynamics on, as in
        `text_to_video`: frame 1 is denoised to T' under its own condition picture and warped for the others; the
        condition pictures stay where they are. With t_prime = t = 999 the noise itself is warped, as the paper says
        (docs/method.md, difference 10).
    noise: "shared" is the noise that all frames start from. fps: of the result (None: the control video's, where it
        has one). All other arguments: see `text_to_video`.
    Returns a Video of m frames. Raises InputError for impossible requests, FailedError if the latents stop being
    finite. Source: arXiv 2303.13439, §3.4; ControlNet: arXiv 2302.05543.
    """
    given = locals()
    frames, *size = picture_sizes(control, controlnet)
    if fps is None:
        first = control[0] if isinstance(controlnet, (list, tuple)) else control
        fps = getattr(first, "fps", None)
    for side, asked, found in (("height", height, size[0]), ("width", width, size[1])):
        if asked not in (None, found):
            raise InputError(f"{side} = {asked}, but the control pictures have {found}; resize them first")
    settings = ControlSettings.of_arguments(given, frames=frames, height=size[0], width=size[1], fps=fps)
    inputs = {"noise": noise, "masks": masks, "flow": flow, "progress": progress, "on_step": on_step}
    job = control_job(sd, settings, control, controlnet, **inputs)
    return job.video(algorithm_1(job))


def control_job(
    sd: "StableDiffusion",
    settings: ControlSettings,
    control: Sequence,
    controlnet: ControlNet | list[ControlNet],
    **inputs,
) -> Job:
    """The Job of a controlled video: everything checked, nothing done yet.

    Arguments as in `control_video`; inputs: see `text_job`.
    """
    settings = for_video(settings, picture_sizes(control, controlnet), "control video")
    pairs, grid = _pairs(control, controlnet), sd.schedule.timesteps(settings.steps)
    numbers = [settings.for_each(name, len(pairs)) for name in settings.NUMBERS]
    controls = []
    for (pictures, network), scale, start, end in zip(pairs, *numbers, strict=True):
        check_controlnet(sd, network)
        controls.append(Control(network, pictures, scale, controlled_timesteps(grid, start, end)))
    unet = controlled(with_ingredients(sd.unet, settings), controls)
    job = text_job(sd, settings, unet, **inputs)
    for i, one in enumerate(controls):
        if not one.timesteps or one.scale == 0:
            name = "the ControlNet" if len(controls) == 1 else f"ControlNet {i + 1}"
            job.notes.append(
                f"{name} steers none of the {settings.steps} steps at scale {one.scale:g}; widen "
                "control_start and control_end, or raise control_scale"
            )
    return job


@dataclass(frozen=True)
class Control:
    """One ControlNet at work: which pictures it reads, how strongly it steers (s of E14), and at which timesteps."""

    network: ControlNet
    pictures: Sequence  # slices are uint8 (f, H, W, 3)
    scale: float
    timesteps: frozenset[int]

    def condition(self, start: int, stop: int, like: Tensor) -> Tensor:
        """c of frames start … stop − 1: (1, f, 3, H, W) in [0, 1], on the device and in the type of `like`."""
        pictures = torch.from_numpy(np.array(self.pictures[start:stop])).to(like.device)  # a copy: theirs may be locked
        return rearrange(pictures, "f H W c -> 1 f c H W").to(like.dtype).div_(255)


def controlled(unet: Callable, controls: list[Control]) -> Callable:
    """ε_θ of E14, called like a UNet: the ControlNets' residuals first, added up, then the UNet with them."""

    def steered_unet(
        x: Tensor,
        t: int,
        context: Tensor,
        attention: str,
        *,
        first_frame: int = 0,
        cache: KeyValueCache | None = None,
        look: Look | None = None,
    ) -> Tensor:
        """x (b, f, c, h, w) -> ε (b, f, c, h, w); arguments of `UNet.forward`. Each network has a cache of its own."""
        residuals = None
        for i, control in enumerate(controls):
            if t not in control.timesteps or control.scale == 0:
                continue
            condition = control.condition(first_frame, first_frame + x.shape[1], like=x)
            own = cache.beside(f"ControlNet {i + 1}") if cache is not None else None
            more = control.network(
                x, t, context, condition, attention, first_frame=first_frame, cache=own, scale=control.scale
            )
            residuals = more if residuals is None else [a + b for a, b in zip(residuals, more, strict=True)]
        return unet(x, t, context, attention, first_frame=first_frame, cache=cache, look=look, residuals=residuals)

    return steered_unet


def controlled_timesteps(grid: list[int], start: float, end: float) -> frozenset[int]:
    """The timesteps of the grid that are steered: step i of n if start ≤ i/n and (i + 1)/n ≤ end (as in diffusers)."""
    n = len(grid)
    return frozenset(t for i, t in enumerate(grid) if start <= i / n and (i + 1) / n <= end)


def picture_sizes(control: Sequence, controlnet: ControlNet | list[ControlNet]) -> tuple[int, int, int]:
    """Frames, height and width of the control video; of several, which must agree.

    Raises InputError unless each is uint8 (m, H, W, 3) with m ≥ 2.
    """
    pairs = _pairs(control, controlnet)
    found = [video_shape(video, "control video", network.config.condition_channels) for video, network in pairs]
    if min(found)[0] < 2:
        raise InputError("the control video has one frame; a video needs at least two (a picture can be repeated)")
    if len(set(found)) > 1:
        raise InputError(
            f"the control videos differ ({', '.join(map(size_in_words, found))}); cut and resize them to one "
            "length and size"
        )
    return found[0]


def _pairs(control: Sequence, controlnet: ControlNet | list[ControlNet]) -> list[tuple[Sequence, ControlNet]]:
    """(frames, ControlNet) of each: lists belong together item by item, and one ControlNet is a list of one."""
    if not isinstance(controlnet, (list, tuple)):
        control, controlnet = [control], [controlnet]
    if not isinstance(control, (list, tuple)) or len(control) != len(controlnet) or not controlnet:
        raise InputError(f"{len(controlnet)} ControlNets in a list need a list of as many control videos")
    if not all(isinstance(network, ControlNet) for network in controlnet):
        raise InputError("controlnet must be a ControlNet, or a list of them; load_controlnet(path) gives one")
    return list(zip(map(frames_of, control), controlnet, strict=True))
