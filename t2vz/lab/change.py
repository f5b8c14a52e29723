"""The task "change": one source video changed by Video Instruct-Pix2Pix (E15) or by Tune-A-Video (E17), to compare.

A trial's prompt says the change for both, "INSTRUCTION => WHAT THE VIDEO SHOWS THEN": "make the ball blue => a blue
ball on a green meadow". The first follows the instruction; the second is tuned on the source video, which the setting
`source_prompt` describes, and makes it again from what stands after the arrow.
"""

import time
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ..errors import InputError
from ..model import StableDiffusion
from ..pipelines.edit import edit_job
from ..pipelines.job import Job, Progress
from ..pipelines.settings import EditSettings, Settings, TuneSettings
from ..pipelines.text_to_video import text_job
from ..pipelines.tune import tune
from ..pipelines.values import Choice, Number, Text, Whole, setting, with_default

ARROW = "=>"
METHOD = {
    "instruct": "Instruct-Pix2Pix: a frozen model follows the instruction (E15)",
    "tune": "Tune-A-Video: a model tuned on the source video makes it again from a prompt (E17)",
}


@dataclass(frozen=True)
class ChangeSettings(EditSettings):
    """`EditSettings`, and Tune-A-Video's beside them."""

    TASK: ClassVar[str] = "change"

    method: str = setting("instruct", Choice(METHOD), "how the video is changed")
    source_prompt: str = setting("", Text(), "what the source video shows", "the source: {}", off="no source prompt")
    tune_steps: int = setting(500, Whole(1), "steps of tuning", "{} steps of tuning")
    learning_rate: float = with_default(TuneSettings, "learning_rate", 3e-5)
    tuned_scale: float = setting(7.5, Number(0), "guidance scale of the tuned model", "tuned model at guidance {}")

    def __post_init__(self):
        super().__post_init__()
        if not all(part.strip() for part in (*self.prompt.partition(ARROW),)):
            raise InputError(
                f'prompt = "{self.prompt}": an instruction and what the video shows then are needed, for example '
                f'"make the ball blue {ARROW} a blue ball on a green meadow"'
            )
        if self.method == "tune" and not self.source_prompt:
            raise InputError("source_prompt is needed, to tune on: what the source video shows")


def caption_of(prompt: str) -> str:
    """What the changed video should show."""
    return prompt.partition(ARROW)[2].strip()


def change_job(sd, settings: ChangeSettings, frames: np.ndarray, progress: Progress | None = None) -> Job:
    """The Job of one trial. sd: an edit model, whose text-to-image model lies at the same path, for Tune-A-Video."""
    if settings.method == "instruct":
        given = {one.name: getattr(settings, one.name) for one in fields(EditSettings)}
        instruction = settings.prompt.partition(ARROW)[0].strip()
        return edit_job(sd, EditSettings(**{**given, "prompt": instruction}), frames, progress=progress)
    own = TuneSettings(
        settings.source_prompt, settings.tune_steps, settings.learning_rate, settings.steps, settings.seed
    )
    tuned, seconds = tuned_on(sd.path, sd.dtype, sd.device, own, frames.tobytes(), frames.shape)
    asked = {"prompt": caption_of(settings.prompt), "seed": settings.seed, "guidance_scale": settings.tuned_scale}
    job = text_job(tuned, Settings.for_model(tuned, fps=settings.fps, **asked), progress=progress)
    job.notes.append(f"tuned in {own.steps} steps, inverted in {own.inversion_steps}: {seconds:.0f} s")
    return job


@lru_cache(maxsize=1)  # the trials of one seed differ in what is made with the tuned model
def tuned_on(path, dtype, device, settings: TuneSettings, frames: bytes, shape: tuple) -> tuple[StableDiffusion, float]:
    """The text-to-image model at a path, tuned on a video, and the seconds it took. frames: uint8 of that shape."""
    began = time.perf_counter()
    video = np.frombuffer(bytearray(frames), np.uint8).reshape(shape)
    tuned = tune(StableDiffusion.load(path, dtype, device), video, settings)
    return tuned, time.perf_counter() - began
