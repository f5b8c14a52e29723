"""Videos that come in: decoded once, resized, and kept on disk, so that any stretch can be read again.

    with open_clip("dance.mp4", resolution=512) as clip:
        clip[16:24]                # uint8 (8, H, W, 3)
        clip.fps, clip.height, clip.width, clip.duration, clip.notes

A pipeline that takes a clip takes a plain array (m, H, W, 3) as well: both have `shape`, a length, and slices. So a
long video is worked through with the memory of a few frames.
"""

import hashlib
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import FailedError, InputError
from .read import open_frames

MULTIPLE = 8  # pixels of a latent cell: sides of a video that comes in. The authors' release has 64
RESOLUTIONS = (8, 4096)


class FramesOnDisk:
    """Frames of one size in a temporary file: written one after the other, read in slices, gone when closed.

    height, width: pixels; frames are uint8 (H, W, 3). `shape`, len() and slices as of an array (m, H, W, 3), but every
    slice is read from the disk and is the reader's own copy. The file has no name where the system allows it, so
    nothing is left behind even if the program is killed. Raises FailedError when the disk is full.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self._count = 0
        self._digest = hashlib.sha256()
        self._file = tempfile.TemporaryFile(prefix="t2vz-")

    def append(self, frame: np.ndarray) -> None:
        """Add a frame at the end."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise InputError(
                f"frame {self._count + 1} is {frame.dtype} {frame.shape}; it must be uint8 "
                f"{(self.height, self.width, 3)}"
            )
        data = np.ascontiguousarray(frame).data
        try:
            self._file.seek(0, 2)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise FailedError(
                f"frames could not be kept in {tempfile.gettempdir()} ({error.strerror}); free some "
                "space there, or name another folder in TMPDIR"
            ) from error
        self._digest.update(data)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(m, H, W, 3)."""
        return self._count, self.height, self.width, 3

    def __getitem__(self, which: int | slice) -> np.ndarray:
        """clip[k] -> uint8 (H, W, 3); clip[a:b] -> uint8 (b − a, H, W, 3)."""
        if not isinstance(which, slice):
            chosen = range(self._count)[which]  # IndexError past the end, as of any sequence: loops rely on it
            return self[chosen : chosen + 1][0]
        chosen = range(self._count)[which]
        if chosen.step != 1:
            raise IndexError("frames on disk are read in stretches: a step of 1 is needed")
        pixels = self.height * self.width * 3
        frames = np.empty((len(chosen), self.height, self.width, 3), np.uint8)
        self._file.seek(chosen.start * pixels)
        self._file.readinto(frames.reshape(-1))
        return frames

    def hash(self) -> str:
        """SHA-256 of all frames' bytes, for run files."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class Clip(FramesOnDisk):
    """A video that came in: frames on disk, with their rate.

    fps: frames per second; duration: seconds; notes: one-line remarks for the user (how the size was chosen …).
    """

    def __init__(self, height: int, width: int, fps: float | Fraction):
        super().__init__(height, width)
        self.fps = float(fps)
        self.notes: list[str] = []

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self) / self.fps

    def __repr__(self) -> str:
        return f"Clip({len(self)} frames, {self.height}×{self.width}, {self.fps:g} fps)"


def open_clip(
    path: str | Path,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    resolution: int = 512,
    multiple: int = MULTIPLE,
    size: tuple[int, int] | None = None,
) -> Clip:
    """Read a video once, frame by frame, into a Clip on disk. Close it, or use it in a `with` block.

    path: any file ffmpeg reads, a GIF, a picture, a folder of pictures (see `read_video`).
    start, end: seconds. fps: resample to this rate by the time stamps; None keeps every frame and the rate.
    resolution: pixels of the larger side; the other follows, and both are rounded to multiples of `multiple`
    (see `fitting_size`); size: (height, width) in place of both.
    Frame count, rate and duration are the file's unless start, end or fps say otherwise.
    Raises: InputError when there is no such file, no video in it (a sound file, something else), no frame between
    start and end, a single one, pictures of several sizes, an impossible resolution;
    FailedError when the file is damaged on the way, ffmpeg is missing or the disk is full.
    """
    least, most = RESOLUTIONS
    if not least <= resolution <= most:
        raise InputError(f"resolution = {resolution}: the larger side in pixels, from {least} to {most}, is needed")
    rate, frames, notes = open_frames(path, start, end, fps)
    clip = None
    try:
        for frame in frames:
            if clip is None:
                seen = frame.shape[:2]
                clip = Clip(*size or fitting_size(*seen, resolution, multiple), rate)
            clip.append(resized(frame, clip.height, clip.width))
    except BaseException:
        if clip is not None:
            clip.close()
        raise
    if len(clip) < 2:
        clip.close()
        raise InputError(
            f"{path} has a single frame {'there' if start or end or fps else 'in it'}; a video needs at least two"
        )
    clip.notes = notes if size else [*notes, *_size_notes(path, seen, clip, multiple)]
    return clip


def fitting_size(height: int, width: int, resolution: int, multiple: int = MULTIPLE) -> tuple[int, int]:
    """(height, width) with the larger side at `resolution`, both rounded to the nearest multiple of `multiple`.

    64 is the rule of the authors' release (prepare_video; halves go to the even multiple), and changes the shape: 16:9
    becomes 2:1. No side becomes 0: one shorter than half of `multiple` is rounded to a multiple of 8.
    """
    scale = resolution / max(height, width)
    sides = []
    for side in (height, width):
        near = multiple * round(side * scale / multiple)
        sides.append(near or MULTIPLE * max(1, round(side * scale / MULTIPLE)))
    return sides[0], sides[1]


def resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 (height, width, 3), bilinear, averaging where it shrinks, as in the release."""
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def frames_on_disk(frames: Iterable[np.ndarray]) -> FramesOnDisk:
    """Keep what a generator of frames (at least one) yields; see `FramesOnDisk`."""
    kept = None
    try:
        for frame in frames:
            kept = FramesOnDisk(*frame.shape[:2]) if kept is None else kept
            kept.append(frame)
    except BaseException:
        if kept is not None:
            kept.close()
        raise
    if kept is None:
        raise InputError("there are no frames to keep; give at least one")
    return kept


def _size_notes(path: str | Path, seen: tuple[int, int], clip: Clip, multiple: int) -> list[str]:
    """How the size was changed, if it was; seen: height and width in the file."""
    height, width = seen
    if (height, width) == (clip.height, clip.width):
        return []
    stretch = (clip.width / width) / (clip.height / height)
    shape = f", {abs(stretch - 1):.0%} {'wider' if stretch > 1 else 'narrower'}" if abs(stretch - 1) > 0.005 else ""
    return [
        f"{path} is {width}×{height}; worked on at {clip.width}×{clip.height} (sides rounded to multiples of "
        f"{multiple}{shape})"
    ]
