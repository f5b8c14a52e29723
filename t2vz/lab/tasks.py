"""What a study can run: the pipelines, each under one name, with its settings' class and how one video is made."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from ..errors import InputError
from ..pipelines import control, edit, text_to_video
from ..pipelines.job import Progress
from ..pipelines.settings import Sampling, Settings
from ..video import Video

STAND_IN = {"height": 512, "width": 512}  # sides to check other settings with, before the model says its own


@dataclass(frozen=True)
class Task:
    """A pipeline as a study sees it.

    words: for the report. module: where the pipeline is (its code decides the result). settings: the class of its
    settings. make(sd, controlnet, settings, source, progress) -> Video. needs_video: whether it starts from one.
    shows_prompt: whether the video should show what the prompt says (an edit's says what to change).
    given: settings that the source video decides.
    """

    words: str
    module: str
    settings: type[Sampling]
    make: Callable[..., Video]
    needs_video: bool = False
    shows_prompt: bool = True
    given: tuple[str, ...] = ()

    def check(self, given: dict) -> dict:
        """All settings of a run as plain values, defaults filled in; InputError for what the pipeline would refuse.

        Sides that are not given are None: the model's own, or the source video's.
        """
        names = {field.name for field in fields(self.settings)}
        sides = {name: side for name, side in STAND_IN.items() if name in names and given.get(name) is None}
        settings = self.settings.from_dict({**given, **sides})
        return {**settings.to_dict(), **dict.fromkeys(sides)}


def _text_to_video(sd, controlnet, given: dict, source, progress: Progress | None) -> Video:
    sides = {name: sd.default_size for name in STAND_IN if given[name] is None}
    return text_to_video.generate(sd, Settings.from_dict({**given, **sides}), progress=progress)


def _control(sd, controlnet, given: dict, source, progress: Progress | None) -> Video:
    m, height, width, _ = source.frames.shape
    values = {**given, "frames": m, "height": height, "width": width, "fps": source.fps}
    return control.control_video(
        sd, control=source.frames, controlnet=controlnet, progress=progress, **_arguments(values, ("frames",))
    )


def _edit(sd, controlnet, given: dict, source, progress: Progress | None) -> Video:
    values = {**given, "fps": source.fps}
    decided = ("frames", "height", "width")
    return edit.edit_video(sd, source.frames, values.pop("prompt"), progress=progress, **_arguments(values, decided))


def _arguments(values: dict, without: tuple[str, ...] = ()) -> dict:
    """Plain values as arguments: JSON's lists were tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name not in without
    }


TASKS = {
    "generate": Task("text to video", text_to_video.__name__, Settings, _text_to_video),
    "control": Task(
        "video with ControlNet",
        control.__name__,
        control.ControlSettings,
        _control,
        needs_video=True,
        given=("frames", "height", "width", "fps"),
    ),
    "edit": Task(
        "video edited by an instruction",
        edit.__name__,
        edit.EditSettings,
        _edit,
        needs_video=True,
        shows_prompt=False,
        given=("frames", "height", "width", "fps"),
    ),
}


def get_task(name: str, where: str = "the study") -> Task:
    """The task of that name. Raises InputError if there is none. where: whose error it would be."""
    if name not in TASKS:
        raise InputError(f'{where}: task "{name}" does not exist; choose one of: {", ".join(TASKS)}')
    return TASKS[name]
