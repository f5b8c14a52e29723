"""Reading videos and masks: any file ffmpeg reads, GIFs and pictures (by Pillow), folders of pictures.

Underneath is a generator of frames, so that a long video can be worked through without holding it in memory.
`read_masks` reads the foreground masks M^k of E13 (background smoothing) that a caller brings.
"""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence

from ..errors import InputError
from .ffmpeg import decode_frames, probe_fps
from .video import DEFAULT_FPS, Video

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def read_video(
    path: str | Path, start: float | None = None, end: float | None = None, fps: float | Fraction | None = None
) -> Video:
    """Read a video into memory, as a Video without latents.

    path: a video file, a .gif or picture, or a folder of pictures (natural order: frame_2 before frame_10).
    start, end: seconds; None means from the beginning, to the end.
    fps: frames are repeated or dropped to this rate; None keeps the file's. Pictures have no rate of their
    own: for a folder `fps` says how many of them a second has (None: 4), and every picture is used.
    Transparent parts become black.
    Raises: InputError when there is no such file, no video in it, or no frame between start and end;
    FailedError when ffmpeg is missing or the file is damaged.
    """
    fps, frames = open_frames(path, start, end, fps)
    return Video(np.stack(list(frames)), fps=float(fps), settings={"source": str(path)})


def iter_frames(
    path: str | Path, start: float | None = None, end: float | None = None, fps: float | Fraction | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames `read_video` would hold, uint8 (H, W, 3), one at a time. Raises as `read_video`."""
    yield from open_frames(path, start, end, fps)[1]


def open_frames(
    path: str | Path, start: float | None = None, end: float | None = None, fps: float | Fraction | None = None
) -> tuple[float | Fraction, Iterator[np.ndarray]]:
    """(fps, iterator of frames): the rate is known before a frame is decoded. Raises as `read_video`."""
    _check_times(start, end, fps)
    source = Path(path)
    if not source.exists():
        raise InputError(f"there is no file or folder {path}; check the name")
    if source.is_dir():
        fps = Fraction(DEFAULT_FPS if fps is None else fps)
        frames = _on_screen_at_rate(((_picture(p), 1 / fps) for p in _pictures_of(source)), fps, start, end)
    elif source.suffix.lower() in PICTURE_ENDINGS:
        seconds = _durations(source)
        fps = _rate_of(seconds, fps)
        frames = _on_screen_at_rate(_animation(source, seconds or [1 / fps]), fps, start, end)
    else:
        frames = decode_frames(source.resolve(), start, end, fps)
        fps = probe_fps(source.resolve()) if fps is None else fps
    return fps, _checked(frames, path, start, end)


def read_masks(path: str | Path, frames: int, height: int, width: int) -> torch.Tensor:
    """Read one foreground mask per frame. -> float32 tensor (m, 1, H, W) in [0, 1], 1 (white) is foreground.

    path: a folder of pictures, a video or a picture, as `read_video` takes them.
    frames: m, the number of frames; a single mask is used for all of them.
    height, width: H, W; masks of another size are stretched, averaged to shrink and nearest to grow.
    Colours count by the mean of red, green and blue; transparent is background.
    Raises: InputError when there are neither m masks nor one; otherwise as `read_video`.
    """
    masks = list(islice(iter_frames(path), frames + 1))  # one too many is enough to know
    if len(masks) not in (1, frames):
        seen = f"more than {frames}" if len(masks) > frames else len(masks)
        raise InputError(f"{path} holds {seen} masks for {frames} frames; give {frames}, or one for all")
    planes = []
    for mask in masks:
        grey = Image.fromarray(mask.mean(axis=2, dtype=np.float32) / 255)
        planes.append(np.asarray(grey.resize((width, height), Image.Resampling.BOX)))
    stack = torch.from_numpy(np.stack(planes))[:, None].clamp(0, 1)
    return stack.expand(frames, -1, -1, -1).clone()


def _on_screen_at_rate(
    shown: Iterable[tuple[np.ndarray, Fraction]], fps: Fraction, start: float | None, end: float | None
) -> Iterator[np.ndarray]:
    """shown: pairs (frame, seconds it stays). Yield what is seen at fps frames a second, from start to end.

    Frame k lasts from k/fps to (k+1)/fps, and is what the screen shows halfway. Times are fractions: as
    floats they would fall on the wrong side of an edge (0.2 is a little more than 1/5).
    """
    start, end = (None if t is None else Fraction(t).limit_denominator(10**6) for t in (start, end))
    k = math.ceil((start or 0) * fps)
    changes_at = Fraction(0)
    for frame, seconds in shown:
        changes_at += seconds
        while (k + Fraction(1, 2)) / fps < changes_at and (end is None or k / fps < end):
            yield frame
            k += 1


def _durations(path: Path) -> list[Fraction] | None:
    """How long each frame of an animation stays, in seconds (Fractions); None for a still picture."""
    with _opened(path) as image:
        if getattr(image, "n_frames", 1) == 1:
            return None
        milliseconds = [round(frame.info.get("duration", 0)) for frame in ImageSequence.Iterator(image)]
    return [Fraction(ms or 100, 1000) for ms in milliseconds]  # no duration: browsers take 1/10 s


def _rate_of(seconds: list[Fraction] | None, fps: float | Fraction | None) -> Fraction:
    """The rate to read an animation at: `fps` if given, else such that its shortest frame is read once.

    A frame that stays twice as long (GIF writers merge equal ones) is then read twice.
    """
    if fps is not None or seconds is None:
        return Fraction(DEFAULT_FPS if fps is None else fps)
    return sum(round(s / min(seconds)) for s in seconds) / sum(seconds)


def _animation(path: Path, seconds: list[Fraction]) -> Iterator[tuple[np.ndarray, Fraction]]:
    with _opened(path) as image:
        for frame, stays in zip(ImageSequence.Iterator(image), seconds):
            yield _to_rgb(frame), stays


def _pictures_of(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order, hidden ones aside."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_ENDINGS and p.name[0] != "."]
    if not files:
        raise InputError(f"the folder {folder} holds no pictures; it should hold .png or .jpg files")
    return sorted(files, key=lambda p: [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", p.name)])


def _picture(path: Path) -> np.ndarray:
    with _opened(path) as image:
        return _to_rgb(image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The Pillow image of a file; what goes wrong while it is open, decoding included, is one InputError."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a picture Pillow can read; is it damaged or misnamed?") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any kind -> uint8 (H, W, 3), upright, transparent parts black."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bit grey, which Pillow would clip to 255 rather than scale
        grey = (np.asarray(image, dtype=np.float64) / 257).round().clip(0, 255)
        image = Image.fromarray(grey.astype(np.uint8))
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, image.convert("RGBA")).convert("RGB"))


def _checked(
    frames: Iterable[np.ndarray], path: str | Path, start: float | None, end: float | None
) -> Iterator[np.ndarray]:
    """Pass the frames on; InputError when one has another size than the first, or when there are none."""
    shape = None
    for k, frame in enumerate(frames, start=1):
        if shape is not None and frame.shape != shape:
            sizes = f"{frame.shape[1]}×{frame.shape[0]} and the first {shape[1]}×{shape[0]}"
            raise InputError(f"picture {k} of {path} is {sizes}; make all of one size")
        shape = frame.shape
        yield frame
    if shape is None:
        until = "the end" if end is None else f"{end} s"
        raise InputError(f"{path} has no frame between {start or 0} s and {until}; choose other times")


def _check_times(start: float | None, end: float | None, fps: float | Fraction | None) -> None:
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value}; it must be a time in seconds, 0 or later")
    if end is not None and end <= (start or 0):
        raise InputError(f"end is {end} s and start {start or 0} s; the end must come later")
    if fps is not None and not 0.01 <= fps <= 1000:
        raise InputError(f"fps is {fps}; it must be between 0.01 and 1000 frames per second")
