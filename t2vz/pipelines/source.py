"""The videos that pipelines read: a control video, a source video to edit, a clip to tune on.

Each is an array, a Video, or anything with a length whose slices are arrays (a `video.Clip`, which stays on disk): here
only its first frame is read.
"""

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..video import Video
from .settings import Settings


def frames_of(video: Sequence | Video) -> Sequence | np.ndarray:
    """A video's frames, which a Video holds and an array or a Clip is."""
    return video.frames if isinstance(video, Video) else video


def video_shape(frames: Sequence | np.ndarray, name: str = "source video", channels: int = 3) -> tuple[int, int, int]:
    """(m, H, W) of a video. name: for messages.

    Raises InputError unless it is uint8 (m, H, W, channels) with at least one frame.
    """
    if isinstance(frames, str) or not hasattr(frames, "__len__") or not hasattr(frames, "__getitem__"):
        raise InputError(
            f"the {name} is a {type(frames).__name__}; give its frames, uint8 (m, H, W, {channels}), as "
            "read_video(path).frames or open_clip(path) has them"
        )
    if len(frames) == 0:
        raise InputError(f"the {name} has no frames; give at least one")
    first = np.asarray(frames[0:1])
    if first.dtype != np.uint8 or first.ndim != 4 or first.shape[0] != 1 or first.shape[3] != channels:
        raise InputError(
            f"the frames of the {name} must be uint8 (m, H, W, {channels}); the first is {first.dtype} "
            f"{first.shape[1:]}"
        )
    return len(frames), first.shape[1], first.shape[2]


def for_video(settings: Settings, size: tuple[int, int, int], name: str) -> Settings:
    """The settings with a video's height and width where they have none. size: its frames, height, width; name: which.

    Raises InputError if they are for another size.
    """
    settings = settings.with_sides(*size[1:])
    asked = settings.frames, settings.height, settings.width
    if size != asked:
        raise InputError(
            f"the settings are for {size_in_words(asked)}, the {name} has {size_in_words(size)}; give the "
            "video they were made for"
        )
    return settings


def size_in_words(size: tuple[int, int, int]) -> str:
    """(8, 48, 32) -> "8 frames of 32×48"."""
    frames, height, width = size
    return f"{frames} frames of {width}×{height}"
