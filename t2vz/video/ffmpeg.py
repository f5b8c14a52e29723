"""Two ffmpeg processes: one takes raw pixels and makes an MP4, the other takes a video and gives raw pixels.

ffmpeg is a program beside Python, and pixels go through a pipe, so a long video never has to fit in memory.
The two command lines below are all t2vz asks of it; both can be tried in a terminal.
"""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FailedError, InputError

# Colours are converted by the BT.709 matrix and the file says so. Left alone, ffmpeg uses BT.601 and says
# nothing, and players guess by the size: the same file would look greener in one browser than in another.
BT709 = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"
BT709_TAGS = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
CRF = 17  # x264's quality: 0 is lossless, 23 the default; at 17 the eye sees no difference


def find_ffmpeg() -> str:
    """The path of the ffmpeg program: `imageio-ffmpeg`'s own, or the system's. FailedError if none."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError) as error:
        raise FailedError(
            "there is no ffmpeg to read or write this video; run `pip install imageio-ffmpeg`, "
            "or use a .gif or a folder of PNGs, which need none"
        ) from error


def encode_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float | Fraction) -> None:
    """Write `frames`, an iterable of uint8 arrays (H, W, 3) with even H and W, as H.264 to `path`.

    Not atomic: see `write.write_mp4`. Raises FailedError with ffmpeg's own complaint, in one line.
    """
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    command = [find_ffmpeg(), "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", _rate(fps), "-i", "-"]
    command += ["-vf", BT709, "-c:v", "libx264", "-crf", str(CRF), "-preset", "medium", *BT709_TAGS]
    command += ["-movflags", "+faststart"]  # the index first: a browser plays while it still downloads
    with _run([*command, "-f", "mp4", str(path)], stdin=subprocess.PIPE) as (process, complaint):
        try:
            process.stdin.write(np.ascontiguousarray(first))
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame))
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg gave up early; why is in its complaint
        if process.wait() != 0:
            raise FailedError(f"ffmpeg could not write the video: {complaint()}")


def probe_fps(path: str | Path) -> Fraction:
    """The frame rate of the first video stream of `path`, a Fraction. Raises InputError when it has none."""
    # The header of YUV4MPEG gives the exact rate, where ffmpeg's log rounds it (23.98 for 24000/1001).
    command = [find_ffmpeg(), "-loglevel", "error", "-i", str(path), "-map", "0:V:0", "-frames:v", "1"]
    command += ["-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"]
    with _run(command, stdout=subprocess.PIPE) as (process, complaint):
        fields = process.stdout.readline().decode("ascii", "replace").split()
        process.stdout.read()
        process.wait()
        if not fields:
            raise InputError(_why_unreadable(path, complaint()))
    rate = next(field[1:] for field in fields if field.startswith("F"))
    numerator, denominator = rate.split(":")
    return Fraction(int(numerator), int(denominator))


def decode_frames(
    path: str | Path, start: float | None = None, end: float | None = None, fps: float | Fraction | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames of the first video stream of `path`, uint8 (H, W, 3), from `start` to `end` seconds.

    With `fps` the frames are repeated or dropped to that rate; without, they come at `probe_fps(path)`.
    Raises InputError when there is no video in the file, FailedError when it is damaged on the way.
    """
    command = [find_ffmpeg(), "-loglevel", "error", "-xerror"]
    command += [] if start is None else ["-ss", str(float(start))]
    command += [] if end is None else ["-to", str(float(end))]
    command += ["-i", str(path), "-map", "0:V:0"]
    command += [] if fps is None else ["-vf", f"fps={_rate(fps)}"]  # "-r" would add frames at the end
    command += ["-sws_flags", "accurate_rnd+full_chroma_int+full_chroma_inp"]
    # PPM: each frame carries its own size, so nothing about the video has to be known beforehand.
    command += ["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]
    with _run(command, stdout=subprocess.PIPE) as (process, complaint):
        count = 0
        while (frame := _read_ppm(process.stdout)) is not None:
            yield frame
            count += 1
        if process.wait() != 0:
            if count == 0:
                raise InputError(_why_unreadable(path, complaint()))
            raise FailedError(f"{path} is damaged after {count} frames ({complaint()}); copy the file again")


def _read_ppm(stream: BinaryIO) -> np.ndarray | None:
    """The next picture of a stream of binary PPMs ("P6\\nW H\\n255\\n" and the bytes), or None at the end."""
    if stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()
    data = stream.read(height * width * 3)
    if len(data) < height * width * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()


@contextlib.contextmanager
def _run(command: list[str], **pipes: int) -> Iterator[tuple[subprocess.Popen, Callable[[], str]]]:
    """Start ffmpeg; yield (process, complaint); however the block ends, the process has ended too."""
    with tempfile.TemporaryFile() as log:  # a file, not a pipe: a full pipe nobody reads would stop ffmpeg
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **pipes}
        try:
            process = subprocess.Popen(command, stderr=log, **pipes)
        except OSError as error:
            raise FailedError(f"cannot start {command[0]} ({error.strerror}); reinstall ffmpeg") from error

        def complaint() -> str:
            """The line of ffmpeg's log that tells most: the first, unless one says the disk is full."""
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines() or ["it stopped silently"]
            line = next((line for line in lines if "No space left on device" in line), lines[0])
            return re.sub(r"^\[[^]]*\]\s*", "", line).strip()  # without "[mov,mp4 @ 0x55f4…]"

        try:
            yield process, complaint
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # closing flushes, and there is nobody left to read
                        pipe.close()


def _rate(fps: float | Fraction) -> str:
    """fps as the nearest simple fraction, the way ffmpeg counts time: 29.97002997… is 30000/1001 exactly."""
    return str(Fraction(fps).limit_denominator(1001))


def _why_unreadable(path: str | Path, complaint: str) -> str:
    if "matches no streams" in complaint:
        return f"{path} has no video stream, only sound; give a video file, a .gif or a folder of images"
    return f"{path} is not a video ffmpeg can read ({complaint}); give a video, a .gif or a folder of images"
