"""Pictures by Pillow: single ones, animations (GIF, WebP, APNG, AVIF), the pages of a TIFF, all files of a folder."""

import contextlib
import math
import re
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import accumulate, compress, repeat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence, features

from ..errors import FailedError, InputError
from .stream import Opened, varying_rate
from .video import DEFAULT_FPS

ENDINGS = tuple(".png .apng .jpg .jpeg .jfif .mpo .webp .gif .bmp .tif .tiff .ppm .pgm .pfm".split())
ENDINGS += (".avif",) if "avif" in features.get_supported() else ()
# Pictures that Pillow does not read. ffmpeg would show a piece of some, or their first frame.
OTHERS = (".avif", ".heic", ".heif", ".jxl", ".svg", ".exr", ".hdr", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw")
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # other files of several pictures hold previews, or views of a stereo camera
STANDARD = Fraction(1, 10)  # seconds that browsers show a frame without a duration
ROUNDING = 0.0051  # seconds: a GIF counts in 1/100 s
MOST_REPEATED = 10  # frames made of one, on average, before a regular rate is no likely reason for the durations


def is_picture(path: Path) -> bool:
    """Whether a file is one for Pillow, by its ending. Raises InputError for pictures that Pillow does not read."""
    ending = path.suffix.lower()
    if ending not in ENDINGS and ending in OTHERS:
        raise InputError(f"{path}: {ending} pictures cannot be read; save them as .png or .jpg first")
    return ending in ENDINGS


def open_pictures(path: Path, start: Fraction, end: Fraction | float, fps: float | Fraction | None) -> Opened:
    """What is seen from start to end, in seconds, of a folder of pictures, an animation, or another file with pictures.

    Raises InputError for what cannot be read, FailedError for an animation that is damaged before `end`.
    """
    if path.is_dir():
        files, notes = pictures_of(path)
        shown, seconds = (next(frames(file)) for file in files), None
    else:
        shown, seconds, notes = frames(path), durations(path, end), []
    if seconds is None:  # they have no times: fps says how many a second has
        rate = Fraction(DEFAULT_FPS if fps is None else fps)
        return rate, _on_screen(zip(repeat(1 / rate), shown), rate, start, end), notes
    rate = regular_rate(seconds) if fps is None else Fraction(fps)
    if rate is not None:
        if fps is None and (made := rate * sum(seconds)) > len(seconds):
            notes = [f"{path}: {len(seconds)} pictures make {made} frames, since some are shown longer than others"]
        return rate, _on_screen(zip(seconds, shown), rate, start, end), notes
    chosen = [start <= stops - stays < end for stays, stops in zip(seconds, accumulate(seconds))]
    rate = Fraction(sum(chosen) / sum(compress(seconds, chosen))) if any(chosen) else Fraction(1)
    notes = [varying_rate(path, min(seconds), max(seconds), rate)]
    return rate, (frame for wanted, frame in zip(chosen, shown) if wanted), notes


def _on_screen(
    shown: Iterable[tuple[Fraction, np.ndarray]], fps: Fraction, start: Fraction, end: Fraction | float
) -> Iterator[np.ndarray]:
    """shown: pairs (seconds it stays, frame). Yield what is seen at fps frames a second, from start to end.

    Frame k lasts from k/fps to (k+1)/fps, and is what the screen shows halfway.
    """
    k = math.ceil(start * fps)
    changes_at = Fraction(0)
    for seconds, frame in shown:
        changes_at += seconds
        while (k + Fraction(1, 2)) / fps < changes_at and k / fps < end:
            yield frame
            k += 1


def pictures_of(folder: Path) -> tuple[list[Path], list[str]]:
    """(picture files of a folder in natural order, notes on what was left out); hidden files do not count.

    Raises InputError when there are none, or pictures among them that cannot be read.
    """
    files = [path for path in folder.iterdir() if path.name[0] != "."]
    files.sort(key=lambda path: natural_order(path.name))
    pictures = [path for path in files if path.is_file() and is_picture(path)]
    if not pictures:
        raise InputError(f"the folder {folder} holds no pictures; it should hold .png or .jpg files")
    kept = set(pictures)
    notes = left_out(folder, "picture", [path.name for path in files if path not in kept])
    if moving := [path.name for path in pictures if durations(path, 0) is not None]:
        notes.append(f"{folder}: of animations only the first frame was taken: {', '.join(moving[:3])}")
    return pictures, notes


def left_out(folder: str | Path, what: str, names: list[str]) -> list[str]:
    """The note on files in a folder that are not what was looked for; no note if there are none."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{folder}: what is no {what} was left out: {', '.join(names[:3])}{more}"] if names else []


def natural_order(name: str) -> list[int | str]:
    """What names are sorted by, so that frame_2 comes before frame_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def durations(path: Path, end: Fraction | float) -> list[Fraction] | None:
    """How long each frame of an animation is shown, in seconds; None where frames have no times (a picture, a TIFF).

    Raises FailedError when it is damaged before `end` seconds.
    """
    seconds = []
    with _opened(path) as image:
        if image.format not in ANIMATED or getattr(image, "n_frames", 1) == 1:
            return None
        try:
            for frame in _frames(image):
                frame.load()  # a WebP knows the duration only now
                seconds.append(Fraction(round(frame.info.get("duration", 0)), 1000) or STANDARD)
        except (OSError, SyntaxError, struct.error) as error:
            if not seconds:
                raise
            if (until := sum(seconds)) < end:
                much = f"after {len(seconds)} frames; copy the file again, or end at {float(until):g} s"
                raise FailedError(f"{path} is damaged {much}") from error
    return seconds


def frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of an animation, the pages of a TIFF, or the one picture of another file."""
    with _opened(path) as image:
        for frame in _frames(image) if image.format in (*ANIMATED, "TIFF") else [image]:
            yield _rgb(frame, path)


def regular_rate(seconds: list[Fraction]) -> Fraction | None:
    """The constant frame rate that explains how long frames are shown, or None.

    Writers of GIFs store frames that are equal as one that stays longer, and round times to 1/100 s. So the rate is one
    at which every frame stays for a whole number of ticks, the shortest for one.
    """
    total, shortest = sum(seconds), min(seconds)
    ends = np.cumsum([float(s) for s in seconds])
    most = min(int(total / shortest * 5 / 4), MOST_REPEATED * len(seconds))
    for ticks in range(len(seconds), most + 1):
        tick = float(total) / ticks
        places, error = np.round(ends / tick), min(ROUNDING, tick / 4)
        if np.diff(places, prepend=0).min() < 1:
            continue
        if ((ends - error) / places).max() <= ((ends + error) / places).min():  # there is a tick that suits all
            return ticks / total
    return None


def _frames(image: Image.Image) -> Iterator[Image.Image]:
    """The frames of an animation, without the still picture that an APNG may show where animations are unknown."""
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        if number > 0 or not getattr(image, "default_image", False):
            yield frame


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The Pillow image of a file; what goes wrong while it is open, decoding included, is one InputError."""
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a picture Pillow can read; is it damaged or misnamed?") from error


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    """A Pillow image of any kind -> uint8 (H, W, 3), upright, transparent parts black."""
    kind = image.format  # transposing forgets it
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        image = Image.fromarray(_grey(np.asarray(image), kind, path))
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, image.convert("RGBA")).convert("RGB"))


def _grey(values: np.ndarray, kind: str, path: Path) -> np.ndarray:
    """Grey (H, W) of 16 bit, or floats from 0 (black) to 1 (white), -> uint8 (H, W). Raises InputError for others."""
    if values.dtype.kind == "f":
        least, most = float(values.min()), float(values.max())
        if not (least >= -1e-3 and most <= 1 + 1e-3):  # not a number: neither
            raise InputError(f"{path} holds numbers from {least:g} to {most:g}; as floats, 0 is black and 1 white")
        return (values * 255).round().clip(0, 255).astype(np.uint8)
    if values.dtype.itemsize == 4 and kind == "TIFF":  # Pillow also reads 16 bit of other formats into 32
        raise InputError(f"{path} holds 32-bit whole numbers, which have no white; save 8 or 16 bit, or floats")
    return (values / 257).round().clip(0, 255).astype(np.uint8)
