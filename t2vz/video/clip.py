"""Videos that come in: decoded once, resized, and kept on disk, so that any stretch can be read again.

    with open_clip("dance.mp4", resolution=512) as clip:
        clip[16:24]                # uint8 (8, H, W, 3)
        clip.fps, clip.height, clip.width, clip.duration, clip.notes

A pipeline that takes a clip takes a plain array (m, H, W, 3) as well: both have `shape`, a length, and slices. So a
long video is worked through with the memory of a few frames.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import FailedError, InputError
from .frames import of_one_size
from .read import open_frames

MULTIPLE = 8  # pixels of a latent cell: sides of a video that comes in. The authors' release has 64
RESOLUTIONS = (8, 4096)


class FramesOnDisk(contextlib.AbstractContextManager):
    """Frames of one size, written to a temporary file one after the other; read in slices; gone when closed.

    frames: uint8 (H, W, 3) each, at least one; a generator is used up. `shape`, len() and slices as of an array
    (m, H, W, 3), but every slice is read from the disk and is the reader's own copy; height, width: H and W. The file
    has no name where the system allows it, so nothing is left behind even if the program is killed. Raises InputError
    for what is no frame or of another size, FailedError when the disk is full.
    """

    def __init__(self, frames: Iterable[np.ndarray]):
        self._file, self._digest, count = tempfile.TemporaryFile(prefix="t2vz-"), hashlib.sha256(), 0
        try:
            for frame in of_one_size(frames):
                self._write(np.ascontiguousarray(frame).data)
                count += 1
        except BaseException:
            with contextlib.suppress(OSError):  # closing writes what is left, and the disk may be full
                self._file.close()
            raise
        self.shape = (count, *frame.shape)
        self.height, self.width = frame.shape[:2]
        self._frames = np.memmap(self._file, np.uint8, "r", shape=self.shape)

    def _write(self, data: memoryview) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            place = f"{tempfile.gettempdir()} ({error.strerror})"
            hint = "free some space there, or name another folder in TMPDIR"
            raise FailedError(f"frames could not be kept in {place}; {hint}") from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: int | slice) -> np.ndarray:
        """clip[k] -> uint8 (H, W, 3); clip[a:b] -> uint8 (b − a, H, W, 3)."""
        return np.array(self._frames[which])

    def hash(self) -> str:
        """SHA-256 of all frames' bytes, for run files."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Give the disk space back."""
        self._frames = None
        self._file.close()

    def __exit__(self, *exception) -> None:
        self.close()


class Clip(FramesOnDisk):
    """A video that came in: frames on disk, with their rate.

    fps: frames per second; duration: seconds; notes: one-line remarks for the user (how the size was chosen …).
    """

    def __init__(self, frames: Iterable[np.ndarray], fps: float | Fraction, notes: list[str]):
        super().__init__(frames)
        self.fps, self.notes = float(fps), notes
        self.duration = len(self) / self.fps

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

    path, start, end, fps: as for `read_video`; frame count, rate and duration are the file's unless the last three say
    otherwise. resolution: pixels of the larger side; the other follows, and both are rounded to multiples of `multiple`
    (see `fitting_size`); size: (height, width) in place of both.
    Raises as `read_video`; InputError for a single frame, pictures of several sizes, an impossible resolution;
    FailedError when the disk is full.
    """
    least, most = RESOLUTIONS
    if not least <= resolution <= most:
        raise InputError(f"resolution = {resolution}: the larger side in pixels, from {least} to {most}, is needed")
    rate, frames, notes = open_frames(path, start, end, fps)
    first = next(frames)
    seen = first.shape[:2]
    height, width = size or fitting_size(*seen, resolution, multiple)
    if size is None and seen != (height, width):
        stretch = (width / seen[1]) / (height / seen[0]) - 1
        shape = f", {abs(stretch):.0%} {'wider' if stretch > 0 else 'narrower'}" if abs(stretch) > 0.005 else ""
        rounded = f"(sides rounded to multiples of {multiple}{shape})"
        notes = [*notes, f"{path} is {seen[1]}×{seen[0]}; worked on at {width}×{height} {rounded}"]
    clip = Clip((resized(frame, height, width) for frame in chain([first], frames)), rate, notes)
    if len(clip) < 2:
        clip.close()
        where = "there" if start or end or fps else "in it"
        raise InputError(f"{path} has a single frame {where}; a video needs at least two")
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
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
