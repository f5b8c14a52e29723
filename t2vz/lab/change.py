"""The task "change": one source video changed by Video Instruct-Pix2Pix (E15) or by Tune-A-Video (E17), to compare.

A trial's prompt says the change for both, "INSTRUCTION => WHAT THE VIDEO SHOWS THEN": "make the ball blue => a blue
ball on a green meadow". The first follows the instruction; the second is tuned on the source video, which the setting
`source_prompt` describes, and makes it again from what stands after the arrow.
"""

import hashlib
import time
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from ..errors import InputError
from ..model import StableDiffusion
from ..pipelines.edit import edit_job
from ..pipelines.job import Job
from ..pipelines.kinds import Choice, Number, Text, Whole, setting, with_default
from ..pipelines.settings import EditSettings, Settings, TuneSettings
from ..pipelines.text_to_video import text_job
from ..pipelines.tune import tune

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


class ChangeJob:
    """job(sd, settings, frames, progress=None): the Job of one trial. The last tuned model is kept, for the trials of
    one seed differ in what is made with it."""

    def __init__(self):
        self.key, self.tuned, self.seconds = "", None, 0.0

    def __call__(self, sd, settings: ChangeSettings, frames, progress=None) -> Job:
        if settings.method == "instruct":
            names = [one.name for one in fields(EditSettings)]
            given = {name: getattr(settings, name) for name in names}
            instruction = settings.prompt.partition(ARROW)[0].strip()
            return edit_job(sd, EditSettings(**{**given, "prompt": instruction}), frames, progress=progress)
        own = TuneSettings(
            settings.source_prompt, settings.tune_steps, settings.learning_rate, settings.steps, settings.seed
        )
        self._tune(sd, own, frames)
        asked = {"prompt": caption_of(settings.prompt), "seed": settings.seed, "guidance_scale": settings.tuned_scale}
        job = text_job(self.tuned, Settings.for_model(self.tuned, fps=settings.fps, **asked), progress=progress)
        job.notes.append(f"tuned in {own.steps} steps, inverted in {own.inversion_steps}: {self.seconds:.0f} s")
        return job

    def _tune(self, sd, settings: TuneSettings, frames: np.ndarray) -> None:
        """Have a model tuned on these frames. sd: the edit model, whose text-to-image model lies at the same path."""
        key = f"{sd.path} {sd.dtype} {settings} {hashlib.sha256(np.ascontiguousarray(frames)).hexdigest()}"
        if key == self.key:
            return
        began = time.perf_counter()
        self.tuned = tune(StableDiffusion.load(sd.path, sd.dtype, sd.device), frames, settings)
        self.key, self.seconds = key, time.perf_counter() - began
