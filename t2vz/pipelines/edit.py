"""Video Instruct-Pix2Pix (paper §3.5): a video changed by an instruction, such as "make it snow".

    E15  ε = ε_∅ + s_I·(ε_I − ε_∅) + s_T·(ε_{I,τ} − ε_I): the UNet reads each frame's noisy latent beside the source
         frame's; s_I holds on to the source, s_T follows the instruction
    E12  cross-frame attention over the three predictions, each to frame 1 of its own third
    E4   from pure noise by Euler-ancestral, or by DDIM (E3); no motion dynamics: the source brings the motion

Source: arXiv 2303.13439, §3.5; InstructPix2Pix: Brooks et al. 2022 (arXiv 2211.09800).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..schedulers import image_text_guidance
from ..video import DEFAULT_FPS, Video
from .decoding import decode
from .denoise import FramePredictor, denoise, denoise_ancestral
from .encoding import encode, source_shape
from .randomness import Noise
from .run import Generation, Progress
from .settings import EditSettings
from .trace import observe


def edit_video(
    sd,
    frames: Sequence,
    instruction: str,
    steps: int | None = None,
    guidance_scale: float | None = None,
    image_scale: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    sampler: str | None = None,
    attention: str = "first",
    chunk: int | None = None,
    noise: dict[str, Tensor] | None = None,
    *,
    fps: float | None = None,
    progress: Progress | None = None,
    on_step: Callable | None = None,
    **more,
) -> Video:
    """Change a video as an instruction says. sd: a StableDiffusion loaded with edit=True.

    frames: the source, uint8 (m, H, W, 3), sides multiples of 8: an array, a Video, or anything with a length whose
        slices are arrays (a `video.Clip`), which is read frame by frame.
    steps, guidance_scale, image_scale and sampler left out (None) are the checkpoint's own defaults (sd.defaults), else
        the release's: 50, 7.5, 1 and "euler_ancestral".
    guidance_scale: s_T of E15. image_scale: s_I. The three predictions weigh 1 − s_I, s_I − s_T and s_T; one of weight
        0 is not computed, so that s_I = 1 costs two UNet calls a step and not three.
    sampler: "euler_ancestral" (the release's) or "ddim". attention: as in `text_to_video`; "own" is the paper's
        comparison, frame-by-frame InstructPix2Pix.
    noise: "initial" (m, 4, h, w), the frames' pure noise, independent as in the release (initial_noise "shared" gives
        all the same), "shared" (1, 4, h, w), and "ancestral" (steps, m, 4, h, w), what the sampler adds.
    fps: of the result (None: the source's, where it has one). steps, negative_prompt, seed, chunk, progress, on_step,
        more (initial_noise, noise_strength): see `text_to_video`.
    Returns a Video of m frames. Raises InputError for impossible requests, FailedError if the latents stop being
    finite.
    """
    if fps is None:
        fps = getattr(frames, "fps", DEFAULT_FPS)
    settings = EditSettings.for_model(
        sd,
        prompt=instruction,
        steps=steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        seed=seed,
        attention=attention,
        chunk=chunk,
        fps=fps,
        image_scale=image_scale,
        sampler=sampler,
        **more,
    )
    run = EditRun(sd, frames.frames if isinstance(frames, Video) else frames, settings, noise, progress, on_step)
    x_0 = edit_latents(run)
    pictures = decode(sd, x_0, run.tell)
    return Video(frames=pictures, latents=x_0.cpu(), fps=settings.fps, settings=settings.to_dict(), notes=run.notes)


def edit_latents(run: "EditRun") -> Tensor:
    """An edit up to its latents x_0 (m, c, h, w): to be decoded at once, or frame by frame.

    run = EditRun(sd, frames, settings)
    for frame in decoded(sd, edit_latents(run), run.tell): …
    """
    settings, sd = run.settings, run.sd
    x_T = run.initial_noise()
    image = encode(sd, run.source, run.tell)  # not times the scaling factor: so the model was trained
    texts = sd.encode_text([settings.negative_prompt, settings.prompt])
    predict = EditPredictor(
        sd.unet, texts, image, settings.image_scale, settings.guidance_scale, settings.attention, settings.chunk
    )
    observe("x_T", x_T)
    x_0 = run.walk(x_T, run.sampler(predict, x_T, "all frames"), "all frames")
    observe("latents", x_0)
    return x_0


class EditPredictor(FramePredictor):
    """ε(x, t) of E15 for a source video and an instruction.

    texts (2, tokens, dim): the negative prompt's states, the instruction's. image (m, c, h, w): the source's latents.
    The guidance batch is (∅, I, I and τ): zeros or the source beside x, and the negative prompt, again, or the
    instruction; of these, those whose prediction has a weight. The other arguments are FramePredictor's.
    """

    def __init__(
        self,
        unet,
        texts: Tensor,
        image: Tensor,
        image_scale: float,
        text_scale: float,
        attention: str = "first",
        chunk: int | None = None,
    ):
        weights = (1 - image_scale, image_scale - text_scale, text_scale)
        self.used = [i for i, weight in enumerate(weights) if weight != 0]
        super().__init__(unet, texts[[0, 0, 1]][self.used], attention, chunk)
        self.image, self.image_scale, self.text_scale = image, image_scale, text_scale

    def batch(self, x: Tensor, start: int) -> Tensor:
        """x (f, c, h, w) with the source's channels after its own: (b, f, 2c, h, w)."""
        image = self.image[start : start + len(x)].to(x)
        beside = (torch.zeros_like(image), image, image)
        return torch.stack([torch.cat([x, beside[i]], dim=1) for i in self.used])

    def guided(self, eps: Tensor) -> Tensor:
        """E15; what was not computed has weight 0, so that any numbers do in its place."""
        found = dict(zip(self.used, eps, strict=True))
        three = (found.get(i, torch.zeros_like(eps[0])) for i in range(3))
        return image_text_guidance(*three, self.image_scale, self.text_scale)


class EditRun(Generation):
    """A source video and settings turned into what E15 works with: everything checked, nothing done yet.

    source: the frames, read one at a time. Arguments as in `edit_video`.
    """

    NOISE = Noise.EDIT_NAMES

    def __init__(
        self,
        sd,
        frames: Sequence,
        settings: EditSettings,
        noise: dict[str, Tensor] | None = None,
        progress: Progress | None = None,
        on_step: Callable | None = None,
    ):
        check_edits(sd)
        m, height, width = source_shape(frames)
        super().__init__(sd, settings, m, height, width, noise, progress, on_step)
        self.source = frames
        sd.schedule.check_steps(settings.steps)
        self.check_initial_noise()
        self.check_step_noise("ancestral", settings.steps)
        if "ancestral" in self.draws.given and settings.sampler == "ddim":
            raise InputError('noise "ancestral" has no use with the sampler "ddim", which adds none')
        self.total = m + m * settings.steps + m  # encoding, denoising, decoding

    def sampler(self, predict: FramePredictor, x_T: Tensor, stage: str):
        """The denoising steps, an iterator of Step, by the sampler of the settings."""
        steps, schedule = self.settings.steps, self.sd.schedule
        if self.settings.sampler == "ddim":
            return denoise(predict, x_T, schedule.timesteps(steps), steps, schedule, stage)
        return denoise_ancestral(predict, x_T, steps, schedule, self._ancestral_noise, stage)

    def _ancestral_noise(self, i: int, t: float) -> Tensor:
        return self.step_noise("ancestral", i, t, self.frames)


def check_edits(sd) -> None:
    """Raise InputError unless the model's UNet reads a picture beside the noisy latent."""
    if sd.unet.config.in_channels != 2 * sd.unet.config.out_channels:
        raise InputError(
            f"{sd.path or 'this model'}: its UNet reads {sd.unet.config.in_channels} channels and sees no "
            "source video; it makes videos with text_to_video (t2vz generate). To edit, load an "
            "InstructPix2Pix model: StableDiffusion.load(path, edit=True)"
        )
