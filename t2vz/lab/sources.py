"""The videos that control and edit studies start from: read once, as arrays, with a hash for the runs' keys."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..pipelines.settings import Declarations
from ..pipelines.values import Choice, Number, Whole, setting
from ..video import open_clip
from ..world import paint_clip, scene_from_words

EXAMPLE = "example:"  # before the words of a scene to draw, in place of a file's name


@dataclass(frozen=True)
class SourceCut(Declarations):
    """What is used of a source video."""

    frames: int = setting(8, Whole(2), "how many frames, the first from `start` on")
    resolution: int = setting(256, Whole(8), "pixels of the larger side")
    start: float | None = setting(None, Number(0), "seconds")
    end: float | None = setting(None, Number(above=0), "seconds")
    fps: float | None = setting(None, Number(above=0), "frames per second")
    condition: str = setting(
        "asis", Choice({"edges": "edges of the video", "asis": "the video as it is"}), "what a control study follows"
    )


@dataclass(frozen=True)
class SourceVideo:
    """frames uint8 (m, H, W, 3), frames per second, SHA-256 of both, and what reading them remarks."""

    frames: np.ndarray
    fps: float
    sha256: str
    notes: list[str]


def read_sources(study) -> dict[str | None, SourceVideo | None]:
    """Every video of a `Study` by its name there; {None: None} for a study that starts from noise.

    "example: a red ball on a green meadow" is painted: a scene of the picture world that moves. Raises InputError as
    `open_clip`.
    """
    return {name: _read(name, study.cut) if name else None for name in study.videos}


def _read(name: str, cut: SourceCut) -> SourceVideo:
    if name.startswith(EXAMPLE):
        scene = scene_from_words(name.removeprefix(EXAMPLE).strip() or "a red ball on a green meadow", seed=0)
        frames, fps, notes = paint_clip(scene, cut.resolution, cut.frames)[0], cut.fps or 4.0, []
    else:
        with open_clip(name, cut.start, cut.end, cut.fps, cut.resolution) as video:
            frames, fps, notes = video[: cut.frames], float(video.fps), video.notes
    if cut.condition == "edges":
        from ..conditions import condition_frames, edges

        frames = np.stack(list(condition_frames(frames, edges)))
    if len(frames) < 2:
        raise InputError(f"{name}: a study needs at least 2 frames of it; see frames in [clip]")
    digest = hashlib.sha256(f"{frames.shape} {fps}".encode())
    digest.update(np.ascontiguousarray(frames))
    return SourceVideo(frames, fps, digest.hexdigest(), notes)
