"""What a study can run: the pipelines, each under one name, with its settings and how one video is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from ..pipelines.algorithm_1 import algorithm_1
from ..pipelines.control import control_job
from ..pipelines.edit import edit_job
from ..pipelines.job import Job, Progress
from ..pipelines.settings import ControlSettings, EditSettings, Settings
from ..pipelines.text_to_video import text_job
from ..pipelines.values import ValueKind, declared
from ..video import Video
from .change import ChangeSettings, caption_of, change_job


@dataclass(frozen=True)
class Task:
    """A pipeline as a study sees it.

    words: for the report. settings: the class of its settings. job(sd, settings, [frames, [controlnet,]] progress=) ->
    Job. caption: what the video should show, from the prompt; None where the prompt does not say it (an edit's says
    what to change).
    """

    words: str
    settings: type[Settings]
    job: Callable[..., Job]
    caption: Callable[[str], str] | None = str

    @property
    def edits(self) -> bool:
        """Whether its model is one that edits (E15)."""
        return issubclass(self.settings, EditSettings)

    @property
    def needs_video(self) -> bool:
        """Whether it starts from a video, which then decides some of its settings."""
        return bool(self.settings.OF_THE_SOURCE)

    @property
    def name(self) -> str:
        """What studies call it."""
        return self.settings.TASK

    @property
    def free_settings(self) -> list[str]:
        """Those that a study may set: every trial has its own prompt and seed, and a source video decides some."""
        decided = ["prompt", "seed", *self.settings.OF_THE_SOURCE]
        return [one.name for one in fields(self.settings) if one.name not in decided]

    def kind(self, name: str) -> ValueKind:
        """The kind of value of a setting."""
        return declared(self.settings.__dataclass_fields__[name]).kind

    def make(self, sd, given: Mapping, source=None, controlnet=None, progress: Progress | None = None) -> Video:
        """One video. source: a `SourceVideo`, if the task needs one; it decides frames, sides and rate."""
        inputs, decided = [], {}
        if source is not None:
            decided = dict(zip(("frames", "height", "width"), source.frames.shape), fps=source.fps)
            inputs = [source.frames, *([controlnet] if controlnet is not None else [])]
        settings = self.settings.for_model(sd, **given, **decided)
        job = self.job(sd, settings, *inputs, progress=progress)
        video = job.video(algorithm_1(job))
        video.settings = settings.to_dict()  # a job's own may be another pipeline's (change.py)
        return video


TASKS = {
    task.name: task
    for task in (
        Task("text to video", Settings, text_job),
        Task("video with ControlNet", ControlSettings, control_job),
        Task("video edited by an instruction", EditSettings, edit_job, caption=None),
        Task("video changed by a frozen or a tuned model", ChangeSettings, change_job, caption_of),
    )
}
