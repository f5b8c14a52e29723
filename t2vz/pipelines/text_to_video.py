"""Text2Video-Zero, Algorithm 1: from a prompt to a video with a frozen text-to-image model.

E6   denoise frame 1 from pure noise to T, and on to T'
E7   δ^k = λ·(k − 1)·δ
E8   warp frame 1's latent at T' by δ^k
E9   noise the warped latents back up to T
E10  denoise all frames together from T, every frame attending to frame 1 (E12)
E13  optionally: blend the backgrounds at T before E10
"""

from collections.abc import Callable

from torch import Tensor

from ..motion import dilate, mask_to_latent, motion_dynamics, smooth_background, warp
from ..video import Video
from .decoding import decode
from .masks import AttentionRecord, foreground_from_attention, layer_sizes
from .run import Progress, Run
from .settings import Settings
from .trace import observe


def text_to_video(
    sd,
    prompt: str,
    frames: int = 8,
    steps: int | None = None,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    motion: tuple[float, float] | None = (12.0, 12.0),
    t_prime: int | None = None,
    t: int | None = None,
    attention: str = "first",
    smooth_background: float = 0.0,
    chunk: int | None = None,
    noise: dict[str, Tensor] | None = None,
    *,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    progress: Progress | None = None,
    on_step: Callable | None = None,
    **more,
) -> Video:
    """Make a video of m = `frames` frames from a prompt. sd: a StableDiffusion.

    steps, guidance_scale, t_prime and t left out (None) are the checkpoint's own defaults (sd.defaults), else the
        paper's: 50, 7.5, 881 and 941.
    steps: DDIM steps. guidance_scale: w of E5 (1: none). height, width: pixels, multiples of 8 (None: the model's own).
    motion: λ·(δ_x, δ_y) per frame, in 1/512ths of the frame, the release's unit; positive moves the picture's content
        left and up. None: motion dynamics off, all frames start from pure noise (see initial_noise). t_prime, t: the
        timesteps T' and T; the nearest of the `steps`-step grid are used, and named in the video's notes if others.
    attention: which frames each frame attends to ("first", "own", "previous", "first_previous", "causal", "all").
    smooth_background: α of E13; 0 is off, paper 0.6. masks: foreground per frame (m or 1, 1, H, W) in [0, 1]; without
        them they are taken from the model's own text attention to the words `foreground` (default: a guess).
    chunk: frames per UNet call (None: all); it bounds the memory and does not change the video. ("causal" and "all"
        need every earlier frame's keys and values, and masks from attention a map per frame: there memory grows.)
    noise: tensors in place of random draws (see `randomness.Noise`). flow: (m, 2, H/8, W/8) in latent cells, any
        camera path in place of `motion` (frame 1's is not used). progress(done, total, stage) is told the work done;
        on_step(Step) sees every step's tensors. more: the other fields of `Settings` (eta, zoom, rotation, …).
    Returns a Video with frames, latents (on the CPU), settings and notes. Raises InputError for impossible requests,
    FailedError if the latents stop being finite. Source: arXiv 2303.13439, Algorithm 1.
    """
    settings = Settings.for_model(
        sd,
        prompt=prompt,
        steps=steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        seed=seed,
        attention=attention,
        frames=frames,
        height=height,
        width=width,
        motion=motion,
        t_prime=t_prime,
        t=t,
        smooth_background=smooth_background,
        chunk=chunk,
        **more,
    )
    return generate(sd, settings, noise, masks, flow, progress, on_step)


def generate(
    sd,
    settings: Settings,
    noise: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    progress: Progress | None = None,
    on_step: Callable | None = None,
) -> Video:
    """Algorithm 1. The arguments of `text_to_video`, with the settings as one object (a run file's, a study's)."""
    run = Run(sd, settings, noise, masks, flow, progress, on_step)
    x_T = motion_latents(run) if run.moves else run.initial_noise()  # E6–E9, or the ablation without them
    observe("x_T", x_T)
    if settings.smooth_background > 0:
        x_T = smoothed_latents(run, x_T)  # E13
    x_0 = run.denoise(x_T, run.T, None, "all frames")  # E10: cross-frame attention E12, guidance E5, DDIM E3
    observe("latents", x_0)
    frames = decode(run.sd, x_0, run.tell)
    return Video(frames=frames, latents=x_0.cpu(), fps=settings.fps, settings=settings.to_dict(), notes=run.notes)


def motion_latents(run: Run) -> Tensor:
    """E6–E9: all frames' latents at T (m, c, h, w), from frame 1's alone."""
    x, forward = run.noise("x_T", range(1)), run.noise("forward", range(1, run.frames))
    x_1_T = run.denoise(x, run.start, run.T, "frame 1 to T")  # E6
    x_1_T_prime = run.denoise(x_1_T, run.T, run.T_prime, "frame 1 to T'")
    ratio = run.sd.schedule.jump_ratio(run.T_prime, run.T, run.settings.jump_convention)
    x_T = motion_dynamics(x_1_T, x_1_T_prime, run.flow[1:], ratio, forward)  # E8 with E7's flow, E9
    observe("x_T'", x_1_T_prime)
    if run.frames > 1:
        observe("warped", lambda: warp(x_1_T_prime, run.flow[1:]))  # what motion_dynamics did first
        observe("forward", x_T[1:])
    return x_T


def smoothed_latents(run: Run, x_T: Tensor) -> Tensor:
    """E13 at T: x_T (m, c, h, w) with the backgrounds blended. Masks: the caller's, or from a first E10's attention."""
    if run.masks is None:
        record = AttentionRecord(cells=layer_sizes(run.height, run.width))
        run.denoise(x_T, run.T, None, "all frames, to find the foreground", record)
        used = run.sd.tokenizer.encode(run.settings.prompt).used
        foreground = foreground_from_attention(record, run.subject, used, run.height, run.width)
    else:
        foreground = mask_to_latent(run.masks, run.height, run.width).expand(run.frames, -1, -1, -1)
    foreground = dilate(foreground).to(x_T)
    alpha, convention = run.settings.smooth_background, run.settings.background_convention
    smoothed = smooth_background(x_T, foreground, run.flow, alpha, convention)
    observe("foreground", foreground)
    observe("smoothed", smoothed)
    return smoothed
