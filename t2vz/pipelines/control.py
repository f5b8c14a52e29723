"""Text2Video-Zero with ControlNet (paper §3.4): a video that follows edges, poses or depth, frame by frame.

    E14  ε_θ(x_t, t, τ; c): the UNet, with s·C_i(x_t, t, τ, c^k) added to the skips and the middle of frame k
    E12  cross-frame attention in both networks, the UNet and the ControlNet
    E3   DDIM from pure noise, the same for all frames; no motion dynamics, for the condition brings the motion

Otherwise it is Algorithm 1, whose stages and Run are used here with another ε_θ. So motion dynamics (E6–E9) and
background smoothing (E13) can be had as well; the release has neither here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..attention import KeyValueCache, Look
from ..errors import InputError
from ..model import check_controlnet
from ..unet import ControlNet
from ..video import DEFAULT_FPS, Video
from .decoding import decode
from .run import Progress, Run
from .settings import ControlSettings
from .text_to_video import motion_latents, smoothed_latents
from .trace import observe


def control_video(
    sd,
    prompt: str,
    control: Sequence,
    controlnet: ControlNet | list[ControlNet],
    steps: int | None = None,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    attention: str = "first",
    motion: tuple[float, float] | None = None,
    control_scale: float | Sequence[float] | None = None,
    control_start: float | Sequence[float] = 0.0,
    control_end: float | Sequence[float] = 1.0,
    chunk: int | None = None,
    noise: dict[str, Tensor] | None = None,
    *,
    fps: float | None = None,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    progress: Progress | None = None,
    on_step: Callable | None = None,
    **more,
) -> Video:
    """Make a video from a prompt that follows a control video. sd: a StableDiffusion.

    control: condition pictures, uint8 (m, H, W, 3), what the ControlNet was trained to read (white edges on black …):
        an array, a Video, or anything with a length whose slices are arrays (a `video.Clip`), which is read chunk by
        chunk. controlnet: from `load_controlnet`. For several at once: a list of each; their residuals add up.
    steps, guidance_scale and control_scale left out (None) are the checkpoint's own defaults (sd.defaults), else the
        release's: 20, 9 and 1.
    height, width: pixels; they must be those of the pictures (None: they are). Sides are multiples of 8.
    attention: in both networks. control_scale: s of E14. control_start, control_end: the share of the steps between
        which the ControlNet steers, 0 to 1. Each of the three: one number, or one for each ControlNet.
    motion: λ·(δ_x, δ_y) turns motion dynamics on, as in `text_to_video`: frame 1 is denoised to T' under its own
        condition picture and warped for the others. The condition pictures stay where they are.
    noise: "shared" (1, 4, h, w) is the noise that all frames start from. fps: of the result (None: the control
        video's, where it has one). steps, guidance_scale, negative_prompt, seed, chunk, masks, flow, progress, on_step,
        more (t, t_prime, smooth_background, initial_noise …): see `text_to_video`.
    Returns a Video of m frames. Raises InputError for impossible requests, FailedError if the latents stop being
    finite. Source: arXiv 2303.13439, §3.4; ControlNet: arXiv 2302.05543.
    """
    frames, *size = picture_sizes(control, controlnet)
    if fps is None:
        first = control[0] if isinstance(controlnet, (list, tuple)) else control
        fps = getattr(first, "fps", DEFAULT_FPS)
    for side, asked, found in (("height", height, size[0]), ("width", width, size[1])):
        if asked not in (None, found):
            raise InputError(f"{side} = {asked}, but the control pictures have {found}; resize them first")
    settings = ControlSettings.for_model(
        sd,
        prompt=prompt,
        steps=steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        seed=seed,
        attention=attention,
        frames=frames,
        height=size[0],
        width=size[1],
        motion=motion,
        control_scale=control_scale,
        control_start=control_start,
        control_end=control_end,
        chunk=chunk,
        fps=fps,
        **more,
    )
    run = control_run(sd, settings, control, controlnet, noise, masks, flow, progress, on_step)
    x_0 = control_latents(run)
    pictures = decode(sd, x_0, run.tell)
    return Video(frames=pictures, latents=x_0.cpu(), fps=settings.fps, settings=settings.to_dict(), notes=run.notes)


def control_latents(run: Run) -> Tensor:
    """A controlled generation up to its latents x_0 (m, c, h, w): to be decoded at once, or frame by frame.

    run = control_run(sd, settings, control, controlnet)
    for frame in decoded(sd, control_latents(run), run.tell): …
    """
    x_T = motion_latents(run) if run.moves else run.initial_noise()  # the same noise for all frames
    observe("x_T", x_T)
    if run.settings.smooth_background > 0:
        x_T = smoothed_latents(run, x_T)  # E13
    x_0 = run.denoise(x_T, run.T, None, "all frames")  # E14 with E12 in both networks, E5, E3
    observe("latents", x_0)
    return x_0


def control_run(
    sd,
    settings: ControlSettings,
    control: Sequence,
    controlnet: ControlNet | list[ControlNet],
    noise: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    progress: Progress | None = None,
    on_step: Callable | None = None,
) -> Run:
    """The Run of a controlled generation: everything checked, nothing done yet. Arguments as in `control_video`."""
    found = picture_sizes(control, controlnet)
    settings = settings.with_sides(*found[1:])
    asked = settings.frames, settings.height, settings.width
    if found != asked:
        raise InputError(
            f"the settings are for {_in_words(asked)}, the control video has {_in_words(found)}; give the "
            "video they were made for"
        )
    pairs, grid = _pairs(control, controlnet), sd.schedule.timesteps(settings.steps)
    numbers = [settings.for_each(name, len(pairs)) for name in settings.NUMBERS]
    controls = []
    for (pictures, network), scale, start, end in zip(pairs, *numbers, strict=True):
        check_controlnet(sd, network)
        controls.append(Control(network, pictures, scale, controlled_timesteps(grid, start, end)))
    run = Run(sd, settings, noise, masks, flow, progress, on_step, ControlledUNet(sd.unet, controls))
    for i, one in enumerate(controls):
        if not one.timesteps or one.scale == 0:
            name = "the ControlNet" if len(controls) == 1 else f"ControlNet {i + 1}"
            run.notes.append(
                f"{name} steers none of the {settings.steps} steps at scale {one.scale:g}; widen "
                "control_start and control_end, or raise control_scale"
            )
    return run


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


class ControlledUNet:
    """ε_θ of E14, called like a UNet: the ControlNets' residuals first, added up, then the UNet with them."""

    def __init__(self, unet, controls: list[Control]):
        self.unet, self.controls = unet, controls

    def __call__(
        self,
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
        for i, control in enumerate(self.controls):
            if t not in control.timesteps or control.scale == 0:
                continue
            condition = control.condition(first_frame, first_frame + x.shape[1], like=x)
            own = cache.beside(f"ControlNet {i + 1}") if cache is not None else None
            more = control.network(
                x, t, context, condition, attention, first_frame=first_frame, cache=own, scale=control.scale
            )
            residuals = more if residuals is None else [a + b for a, b in zip(residuals, more, strict=True)]
        return self.unet(x, t, context, attention, first_frame=first_frame, cache=cache, look=look, residuals=residuals)


def controlled_timesteps(grid: list[int], start: float, end: float) -> frozenset[int]:
    """The timesteps of the grid that are steered: step i of n if start ≤ i/n and (i + 1)/n ≤ end (as in diffusers)."""
    n = len(grid)
    return frozenset(t for i, t in enumerate(grid) if start <= i / n and (i + 1) / n <= end)


def picture_sizes(control: Sequence, controlnet: ControlNet | list[ControlNet]) -> tuple[int, int, int]:
    """Frames, height and width of the control video; of several, which must agree.

    Only the first picture of each is read. Raises InputError unless each is uint8 (m, H, W, 3) with m ≥ 2.
    """
    found = []
    for pictures, network in _pairs(control, controlnet):
        frames, channels = len(pictures), network.config.condition_channels
        if frames < 2:
            raise InputError(
                f"the control video has {'no frames' if frames == 0 else 'one frame'}; a video needs at "
                "least two (a picture can be repeated)"
            )
        first = np.asarray(pictures[0:1])
        if first.dtype != np.uint8 or first.ndim != 4 or first.shape[0] != 1 or first.shape[3] != channels:
            raise InputError(
                f"control pictures must be uint8 (m, H, W, {channels}); the first is {first.dtype} {first.shape[1:]}"
            )
        found.append((frames, *first.shape[1:3]))
    if len(set(found)) > 1:
        raise InputError(
            f"the control videos differ ({', '.join(map(_in_words, found))}); cut and resize them to one "
            "length and size"
        )
    return found[0]


def _in_words(sizes: tuple[int, int, int]) -> str:
    frames, height, width = sizes
    return f"{frames} frames of {width}×{height}"


def _pairs(control: Sequence, controlnet: ControlNet | list[ControlNet]) -> list[tuple[Sequence, ControlNet]]:
    """(pictures, ControlNet) of each: lists belong together item by item, and one ControlNet is a list of one."""
    if not isinstance(controlnet, (list, tuple)):
        control, controlnet = [control], [controlnet]
    if not isinstance(control, (list, tuple)) or len(control) != len(controlnet) or not controlnet:
        raise InputError(f"{len(controlnet)} ControlNets in a list need a list of as many control videos")
    if not all(isinstance(network, ControlNet) for network in controlnet):
        raise InputError("controlnet must be a ControlNet, or a list of them; load_controlnet(path) gives one")
    videos = [video.frames if isinstance(video, Video) else video for video in control]
    if not all(hasattr(video, "__len__") and hasattr(video, "__getitem__") for video in videos):
        raise InputError(
            "the control video must be pictures, uint8 (m, H, W, 3), as read_video(path).frames or "
            "open_clip(path) has them"
        )
    return list(zip(videos, controlnet, strict=True))
