"""The videos that control and edit studies start from: read once, as arrays, with a hash for the runs'."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..video import open_clip
from .study import Clip, Study

EXAMPLE = "example:"  # before the words of a scene to draw, in place of a file's name


@dataclass(frozen=True)
class Source:
    """frames uint8 (m, H, W, 3), frames per second, SHA-256 of both."""

    frames: np.ndarray
    fps: float
    sha256: str


def read_sources(study: Study, draw: Callable[[str, int, int], np.ndarray]) -> dict[str | None, Source | None]:
    """Every video of a study by its name there; {None: None} for a study that starts from noise.

    draw(words, side, frames) -> uint8 (m, side, side, 3) paints "example: a red ball on a green meadow".
    Raises InputError as `open_clip`.
    """
    return {name: _read(name, study.clip, draw) if name else None for name in study.videos}


def _read(name: str, clip: Clip, draw: Callable[[str, int, int], np.ndarray]) -> Source:
    if name.startswith(EXAMPLE):
        frames, fps = draw(name.removeprefix(EXAMPLE).strip(), clip.resolution, clip.frames), clip.fps or 4.0
    else:
        with open_clip(name, clip.start, clip.end, clip.fps, clip.resolution) as video:
            frames, fps = video[: clip.frames], float(video.fps)
    if clip.condition == "edges":
        from ..conditions import condition_frames, edges

        frames = np.stack(list(condition_frames(frames, edges)))
    if len(frames) < 2:
        raise InputError(f"{name}: a study needs at least 2 frames of it; see frames in [clip]")
    digest = hashlib.sha256(f"{frames.shape} {fps}".encode())
    digest.update(np.ascontiguousarray(frames))
    return Source(frames, fps, digest.hexdigest())
