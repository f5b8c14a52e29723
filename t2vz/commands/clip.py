"""The video that a command works on: what VIDEO, --start, --end, --fps and --resolution mean, for control and edit."""

from dataclasses import replace

from ..errors import InputError
from ..pipelines.settings import Settings
from ..video import Clip, open_clip, open_frames
from .output import say
from .request import Request


def check_clip(request: Request) -> float:
    """The frame rate of the video asked for: worth calling before a model is loaded.

    Raises what `open_clip` would raise, as far as times and the first frame show it.
    """
    if request.video is None:
        raise InputError("give a video; t2vz example draws one to begin with")
    fps, frames, _ = open_frames(request.video, request.start, request.end, request.fps)
    next(frames)
    frames.close()
    return float(fps)


def open_source(request: Request, own_size: int) -> Clip:
    """The video asked for as a `Clip`, to be closed; its notes are said. own_size: of the model's pictures."""
    resolution = own_size if request.resolution is None else request.resolution
    clip = open_clip(request.video, request.start, request.end, request.fps, resolution)
    for note in clip.notes:
        say(request, f"note: {note}")
    before = request.run_file.get("video") or {}
    if before and before.get("sha256") != clip.hash():
        say(request, f"note: these are other frames than those of {request.from_}, so the video will differ")
    return clip


def of_source(settings: Settings, clip: Clip) -> Settings:
    """The settings with all that the video decides."""
    return replace(settings, frames=len(clip), height=clip.height, width=clip.width, fps=clip.fps)
