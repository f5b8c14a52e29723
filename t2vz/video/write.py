"""The writers: H.264 in MP4, GIF, a folder of PNGs, one picture. Each appears whole or not at all.

All take frames as uint8 arrays (H, W, 3), values 0..255, in red, green, blue.
"""

import io
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import FailedError, InputError
from ..files import atomic_folder, atomic_path, check_name, check_replaceable_folder, write_bytes
from .ffmpeg import encode_mp4, find_ffmpeg
from .frames import of_one_size

ENDINGS = ".mp4 (H.264), .gif, or a folder of PNGs: a name that ends in / or has no ending"
GIF_MAX_FPS = 50  # GIF counts in 1/100 s, and browsers slow a frame shorter than 2/100 s down to 10/100 s
PALETTE_SAMPLE = 1 << 16  # pixels looked at to choose a GIF's colours: more changes nothing one can see


def output_kind(path: str | Path) -> str:
    """ "mp4", "gif" or "folder", by the ending of `path`. Raises InputError for any other ending."""
    text = str(path)
    ending = Path(text).suffix.lower()
    if text.endswith(("/", "\\")) or (text and not ending):
        return "folder"
    if ending in (".mp4", ".gif"):
        return ending[1:]
    raise InputError(f"cannot save a video as {text!r}; the ending must be {ENDINGS}")


def check_output(path: str | Path, overwrite: bool = True, fps: float | None = None) -> str:
    """Return `output_kind(path)`, or raise what saving there would raise, as far as it shows beforehand.

    Worth calling before minutes of sampling. InputError for a wrong ending, an existing file with
    overwrite=False, a file where a folder should be or the reverse, a folder that holds other things, an fps
    (if given) that the format cannot hold;
    FailedError when ffmpeg is missing or the folder may not be written to.
    """
    kind = output_kind(path)
    check_name(path)
    target = Path(path)
    if kind == "folder":
        check_replaceable_folder(path, holds_only_frames)
    elif target.is_dir():
        raise InputError(f"{path} is a folder, and a file is to be written there; choose another name")
    if not overwrite and target.exists():
        raise InputError(f"{path} exists already; choose another name, or allow overwriting")
    nearest = next(p for p in target.resolve().parents if os.path.exists(p))
    if not nearest.is_dir():
        raise InputError(f"cannot write {path}: {nearest.name} is a file, not a folder; choose another name")
    if not os.access(nearest, os.W_OK):
        raise FailedError(f"not allowed to write {path}; choose a folder you may write to")
    if kind == "mp4":
        find_ffmpeg()
    if fps is not None and kind != "folder":
        check_fps(fps, kind)
    return kind


def write_frames(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames by the ending of `path`: .mp4, .gif, or a folder. A generator is taken frame by frame, and only a
    GIF needs them all at once. Raises as the writers below."""
    kind = output_kind(path)
    if kind == "mp4":
        write_mp4(path, frames, fps)
    elif kind == "gif":
        write_gif(path, frames, fps)
    else:
        write_folder(path, frames)


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write an MP4 that plays in every browser: H.264, yuv420p, BT.709 colours, index first (faststart).

    frames: iterable of uint8 (H, W, 3), at least one, all of one size; a generator is taken frame by frame.
    H.264 with halved colour resolution needs even sizes: an odd height or width is padded by one row or
    column that repeats the edge. fps: 0.01 to 1000.
    Raises: FailedError (no ffmpeg, disk full, not allowed), InputError (no frames, sizes differ, fps).
    """
    check_fps(fps, "mp4")
    padded = (_pad_to_even(frame) for frame in of_one_size(frames))
    find_ffmpeg()
    with atomic_path(path) as temporary:
        encode_mp4(temporary, padded, fps)


def write_gif(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write a GIF that loops for ever, with one palette of 255 colours chosen for the whole video.

    frames: uint8 (m, H, W, 3). fps: at most 50. No dithering: its noise would flicker from frame to frame.
    A video of few colours (drawings, masks) is stored exactly. GIF counts time in 1/100 s: durations are
    rounded so that the error does not add up. Frames equal to the one before are stored as a longer pause.
    Raises: InputError (fps above 50, no frames, sizes differ), FailedError (disk full, not allowed).
    """
    check_fps(fps, "gif")
    pictures = _to_palette(np.stack(list(of_one_size(frames))))
    ends = [round(100 * k / fps) for k in range(len(pictures) + 1)]
    durations = [10 * (b - a) for a, b in pairwise(ends)]  # Pillow counts in milliseconds
    data = io.BytesIO()
    pictures[0].save(data, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False)
    write_bytes(path, data.getvalue())


def write_folder(path: str | Path, frames: Iterable[np.ndarray]) -> None:
    """Write frame_0001.png, frame_0002.png, … into the folder `path`, which appears with all frames at once.

    frames: iterable of uint8 (H, W, 3). A folder that is there already is replaced if it is empty or holds
    nothing but such frames; a folder with anything else in it is never touched (InputError).
    Raises otherwise as `write_gif`.
    """
    with atomic_folder(path, holds_only_frames) as folder:
        for k, frame in enumerate(of_one_size(frames), start=1):
            (folder / f"frame_{k:04d}.png").write_bytes(_encode_image(frame, "PNG"))


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write one picture, uint8 (H, W, 3), as .png, .jpg or .webp. Raises InputError for another ending."""
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    ending = Path(path).suffix.lower()
    if ending not in formats:
        raise InputError(f"cannot save a picture as {str(path)!r}; the ending must be {', '.join(formats)}")
    write_bytes(path, _encode_image(image, formats[ending]))


def holds_only_frames(folder: Path) -> bool:
    """True when every entry of `folder` (a Path) is a file named as `write_folder` names its frames."""
    return all(re.fullmatch(r"frame_\d{4,}\.png", p.name) and p.is_file() for p in folder.iterdir())


def check_fps(fps: float, kind: str = "") -> None:
    """Raise InputError for a rate that no video has, or that a GIF (kind "gif") cannot show."""
    if not 0.01 <= fps <= 1000:
        raise InputError(f"fps is {fps}; it must be between 0.01 and 1000 frames per second")
    if kind == "gif" and fps > GIF_MAX_FPS:
        raise InputError(f"a GIF shows at most {GIF_MAX_FPS} frames per second, not {fps:g}; save as .mp4")


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode_image(image: np.ndarray, kind: str) -> bytes:
    """The bytes of a picture file. In memory first: on a full disk Pillow would not say why it failed."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(data, kind, quality=95)
    return data.getvalue()


def _to_palette(frames: np.ndarray) -> list[Image.Image]:
    """frames (m, H, W, 3) -> m Pillow images with one palette: exact if 255 colours suffice, else the best.

    "Best": median cut, then k-means, on pixels taken evenly from all frames. Nearest colour, no dithering.
    """
    seen = np.zeros(1 << 24, bool)  # one entry for each colour there is: quicker than sorting the pixels
    for frame in frames:
        seen[_colour_number(frame)] = True
    colours = np.flatnonzero(seen)
    if len(colours) <= 255:
        place = np.zeros(1 << 24, np.uint8)
        place[colours] = np.arange(len(colours))
        palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
        pictures = [Image.fromarray(place[_colour_number(frame)]) for frame in frames]
        for picture in pictures:
            picture.putpalette(palette.tobytes())
        return pictures
    pixels = frames.reshape(-1, 3)
    sample = pixels[:: -(-len(pixels) // PALETTE_SAMPLE)]
    sample = Image.fromarray(np.ascontiguousarray(sample[None]))
    palette = sample.quantize(255, Image.Quantize.MEDIANCUT, kmeans=1)
    return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _colour_number(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> uint32 (H, W), red·2¹⁶ + green·2⁸ + blue."""
    red, green, blue = np.moveaxis(frame.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue
