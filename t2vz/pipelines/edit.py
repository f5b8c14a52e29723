"""Video Instruct-Pix2Pix (paper §3.5): a video changed by an instruction, such as "make it snow".

    E15  ε = ε_∅ + s_I·(ε_I − ε_∅) + s_T·(ε_{I,τ} − ε_I): the UNet reads each frame's noisy latent beside the source
         frame's; s_I holds on to the source, s_T follows the instruction
    E12  cross-frame attention over the three predictions, each to frame 1 of its own third
    E4   from pure noise by Euler-ancestral, or by DDIM (E3)

Otherwise it is Algorithm 1 (algorithm_1.py). In the release each frame starts from noise of its own, the default here;
in the paper all start from one noise, warped from frame to frame (docs/method.md, difference 10).
Source: arXiv 2303.13439, §3.5; InstructPix2Pix: Brooks et al. 2022 (arXiv 2211.09800).
"""

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..attention import Look
from ..errors import InputError
from ..schedulers import image_text_guidance
from ..vae import encode_frames
from ..video import Video
from .algorithm_1 import algorithm_1
from .denoise import Step
from .job import Job, Progress
from .prediction import InChunks, Predict, chunk_of, with_ingredients
from .settings import EditSettings
from .source import for_video, frames_of, video_shape

if TYPE_CHECKING:
    from ..model import StableDiffusion


def edit_video(
    sd: "StableDiffusion",
    video: Sequence | None = None,
    instruction: str = "",
    steps: int | None = None,
    guidance_scale: float | None = None,
    image_scale: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    sampler: str | None = None,
    attention: str | None = None,
    chunk: int | EllipsisType | None = ...,
    noise: dict[str, Tensor] | None = None,
    *,
    fps: float | None = None,
    masks: Tensor | None = None,
    flow: Tensor | None = None,
    progress: Progress | None = None,
    on_step: Callable[[Step], None] | None = None,
    frames: Sequence | None = None,
    **more,
) -> Video:
    """Change a video as an instruction says (paper §3.5). sd: loaded with edit=True.

    video: the source, uint8 (m, H, W, 3), sides multiples of 8: an array, a Video, or anything with a length whose
        slices are arrays (a `video.Clip`), which is read frame by frame. (frames: its old name.)
    Settings left out (None; for motion and chunk `...`, since their None has a meaning) are the checkpoint's own
        defaults (sd.defaults), else the release's: 50 steps, guidance_scale 7.5, image_scale 1, "euler_ancestral",
        attention "first", motion None, initial_noise "independent", t_prime and t 999; 8 frames in a chunk. more: the
        other settings by name, as in `text_to_video`.
    guidance_scale: s_T of E15. image_scale: s_I. The three predictions weigh 1 − s_I, s_I − s_T and s_T; one of weight
        0 is not computed, so that s_I = 1 costs two UNet calls a step and not three.
    sampler: "euler_ancestral" (the release's) or "ddim". attention: as in `text_to_video`; "own" is the paper's
        comparison, frame-by-frame InstructPix2Pix.
    motion: None as in the release, each frame starts from noise of its own (initial_noise "shared" gives all the same).
        λ·(δ_x, δ_y), with the paper (12, 12): all start from one noise, warped from frame to frame, which is
        Algorithm 1 with T' = T at the first timestep. Other t_prime and t, and eta: with the sampler "ddim" only.
    noise: "initial" is the frames' pure noise, "ancestral" what the sampler adds. fps: of the result (None: the
        source's, where it has one). All other arguments: see `text_to_video`.
    Returns a Video of m frames. Raises InputError for impossible requests, FailedError if the latents stop being
    finite.
    """
    given = locals()
    if frames is not None and (video is not None or isinstance(frames, int)):
        raise InputError("frames is the old name of video, the source, all of which is edited; give video alone")
    source = video if frames is None else frames
    m, height, width = video_shape(frames_of(source))
    fps = getattr(source, "fps", None) if fps is None else fps
    decided = {"prompt": instruction, "frames": m, "height": height, "width": width, "fps": fps}
    settings = EditSettings.of_arguments(given, **decided)
    inputs = {"noise": noise, "masks": masks, "flow": flow, "progress": progress, "on_step": on_step}
    job = edit_job(sd, settings, source, **inputs)
    return job.video(algorithm_1(job))


def edit_job(sd: "StableDiffusion", settings: EditSettings, video: Sequence, **inputs) -> Job:
    """The Job of an edit: everything checked, nothing done yet. video: the source; inputs: see `text_job`."""
    if sd.unet.config.in_channels != 2 * sd.unet.config.out_channels:
        raise InputError(
            f"{sd.path or 'this model'}: its UNet reads {sd.unet.config.in_channels} channels and sees no "
            "source video; it makes videos with text_to_video (t2vz generate). To edit, load an "
            "InstructPix2Pix model: StableDiffusion.load(path, edit=True)"
        )
    pictures = frames_of(video)
    settings = for_video(settings, video_shape(pictures), "source video")

    def make_predict(job: Job) -> Predict:
        """ε_θ guided by the source and the instruction, E15; both are encoded when the work begins."""
        latents = []
        for latent in encode_frames(sd.vae, pictures, job.mine):
            latents.append(latent)
            job.tell(1, "encoding")
        image = torch.cat(latents)  # not times the scaling factor: so the model was trained
        texts = sd.encode_text([settings.negative_prompt, settings.prompt])
        scales = settings.image_scale, settings.guidance_scale
        frames = settings.attention, chunk_of(sd.unet, settings), job.mine
        return guided_by_image_and_text(with_ingredients(sd.unet, settings), texts, image, *scales, *frames)  # E15

    return Job(sd, settings, make_predict, **inputs, encodes=True)


def guided_by_image_and_text(
    unet: Callable,
    texts: Tensor,
    image: Tensor,
    image_scale: float,
    text_scale: float,
    attention: str = "first",
    chunk: int | None = None,
    frames: Sequence[int] | None = None,
) -> Predict:
    """ε(x, t) for a source video and an instruction, joined by E15.

    texts (2, tokens, dim): the negative prompt's states, the instruction's. image (m, c, h, w): the source's latents.
    The UNet's batch has up to three rows: zeros beside x and the negative prompt; the source and the negative prompt;
    the source and the instruction. Rows whose prediction has no weight are left out. attention, chunk,
    frames: see `InChunks`.
    """
    weights = (1 - image_scale, image_scale - text_scale, text_scale)
    used = [i for i, weight in enumerate(weights) if weight != 0]
    beside = torch.stack([(torch.zeros_like(image), image, image)[i] for i in used])
    eps = InChunks(unet, texts[[(0, 0, 1)[i] for i in used]], attention, chunk, frames, beside)

    def predict(x: Tensor, t: float, look: Look | None = None) -> Tensor:
        found = dict(zip(used, eps(x.expand(len(used), *x.shape), t, look), strict=True))
        none, image, both = (found.get(i, torch.zeros_like(x)) for i in range(3))  # what has no weight: any numbers do
        return image_text_guidance(none, image, both, image_scale, text_scale)  # E15

    return predict
