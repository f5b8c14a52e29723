"""The writers: H.264 in MP4, GIF, a folder of PNGs, one picture. Each appears whole or not at all.

All take an iterable of frames, uint8 (H, W, 3), values 0..255, in red, green, blue: at least one, all of one size.
"""

import io
import os
import re
from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path
from subprocess import PIPE

import numpy as np
from PIL import Image

from ..errors import FailedError, InputError
from ..files import atomic_folder, atomic_path, check_replaceable_file, check_replaceable_folder, write_bytes
from .ffmpeg import as_rate, complaint, find_ffmpeg, running
from .frames import of_one_size

ENDINGS = ".mp4 (H.264), .gif, or a folder of PNGs: a name that ends in / or has no ending"
# Colours are converted by the BT.709 matrix and the file says so. Left alone, ffmpeg uses BT.601 and says
# nothing, and players guess by the size: the same file would look greener in one browser than in another.
BT709 = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"
BT709_TAGS = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
CRF = 17  # x264's quality: 0 is lossless, 23 the default; at 17 the eye sees no difference
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

    Worth calling before minutes of sampling. InputError for a wrong ending, an existing file with overwrite=False, a
    file where a folder should be or the reverse, a folder that holds other things, an fps (if given) that the format
    cannot hold; FailedError when ffmpeg is missing or the folder may not be written to.
    """
    kind = output_kind(path)
    target = check_replaceable_folder(path, holds_only_frames) if kind == "folder" else check_replaceable_file(path)
    if not overwrite and target.exists():
        raise InputError(f"{path} exists already; choose another name, or allow overwriting")
    nearest = next(p for p in target.parents if os.path.exists(p))
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
    GIF needs them all at once.

    Raises InputError for no frames, frames of several sizes, and a rate that the format cannot hold; FailedError when
    the disk is full, the folder may not be written to, or there is no ffmpeg for an MP4.
    """
    {"mp4": write_mp4, "gif": write_gif, "folder": write_folder}[output_kind(path)](path, frames, fps)


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write an MP4 that plays in every browser: H.264, yuv420p, BT.709 colours, index first (faststart).

    H.264 with halved colour resolution needs even sizes: an odd height or width is padded by one row or
    column that repeats the edge. fps: 0.01 to 1000. Raises as `write_frames`; ffmpeg's own complaint is one line.
    """
    check_fps(fps)
    frames = (_pad_to_even(frame) for frame in of_one_size(frames))
    first = next(frames)
    height, width = first.shape[:2]
    command = [find_ffmpeg(), "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", as_rate(fps), "-i", "-"]
    command += ["-vf", BT709, "-c:v", "libx264", "-crf", str(CRF), "-preset", "medium", *BT709_TAGS]
    command += ["-movflags", "+faststart"]  # the index first: a browser plays while it still downloads
    with atomic_path(path) as file, running([*command, "-f", "mp4", str(file)], stdin=PIPE) as (process, log):
        try:
            for frame in chain([first], frames):
                process.stdin.write(np.ascontiguousarray(frame))
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg gave up early; why is in its complaint
        if process.wait() != 0:
            raise FailedError(f"ffmpeg could not write the video: {complaint(log())}")


def write_gif(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write a GIF that loops for ever, with one palette of 255 colours chosen for the whole video.

    fps: at most 50. No dithering: its noise would flicker from frame to frame. A video of few colours (drawings, masks)
    is stored exactly. GIF counts time in 1/100 s: durations are rounded so that the error does not add up. Frames equal
    to the one before are stored as a longer pause. Raises as `write_frames`.
    """
    check_fps(fps, "gif")
    first, *others = _to_palette(np.stack(list(of_one_size(frames))))
    ends = [round(100 * k / fps) for k in range(len(others) + 2)]
    durations = [10 * (b - a) for a, b in pairwise(ends)]  # Pillow counts in milliseconds
    times = {"save_all": True, "append_images": others, "duration": durations, "loop": 0, "optimize": False}
    write_bytes(path, _encoded(first, "GIF", **times))


def write_folder(path: str | Path, frames: Iterable[np.ndarray], fps: float | None = None) -> None:
    """Write frame_0001.png, frame_0002.png, … into the folder `path`, which appears with all frames at once.

    A folder that is there already is replaced if it is empty or holds nothing but such frames; a folder with anything
    else in it is never touched (InputError). fps is stored nowhere. Raises otherwise as `write_frames`.
    """
    with atomic_folder(path, holds_only_frames) as folder:
        for k, frame in enumerate(of_one_size(frames), start=1):
            (folder / f"frame_{k:04d}.png").write_bytes(_encoded(Image.fromarray(frame), "PNG"))


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write one picture, uint8 (H, W, 3), as .png, .jpg or .webp. Raises InputError for another ending."""
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    ending = Path(path).suffix.lower()
    if ending not in formats:
        raise InputError(f"cannot save a picture as {str(path)!r}; the ending must be {', '.join(formats)}")
    write_bytes(path, _encoded(Image.fromarray(image), formats[ending], quality=95))


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


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a picture file. In memory first: on a full disk Pillow would not say why it failed."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def _to_palette(frames: np.ndarray) -> list[Image.Image]:
    """frames (m, H, W, 3) -> m Pillow images with one palette: exact if 255 colours suffice, else the best.

    "Best": median cut, then k-means, on pixels taken evenly from all frames. Nearest colour, no dithering.
    """
    numbers = [frame.astype(np.uint32) @ np.uint32([1 << 16, 1 << 8, 1]) for frame in frames]  # one for each colour
    seen = np.zeros(1 << 24, bool)  # quicker than sorting the pixels
    for plane in numbers:
        seen[plane] = True
    colours = np.flatnonzero(seen)
    if len(colours) > 255:
        pixels = frames.reshape(1, -1, 3)
        sample = Image.fromarray(pixels[:, :: -(-pixels.shape[1] // PALETTE_SAMPLE)])
        palette = sample.quantize(255, Image.Quantize.MEDIANCUT, kmeans=1)
        return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8).tobytes()
    pictures = [Image.fromarray(np.searchsorted(colours, plane).astype(np.uint8)) for plane in numbers]
    for picture in pictures:
        picture.putpalette(palette)
    return pictures
