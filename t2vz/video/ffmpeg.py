"""The program ffmpeg: how it is found, run and understood, and the command line that makes an MP4 of raw pixels.

ffmpeg is a program beside Python, and pixels go through a pipe, so a long video never has to fit in memory.
stream.py holds the two command lines that read a video; all three can be tried in a terminal.
"""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import FailedError

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
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", as_rate(fps), "-i", "-"]
    command += ["-vf", BT709, "-c:v", "libx264", "-crf", str(CRF), "-preset", "medium", *BT709_TAGS]
    command += ["-movflags", "+faststart"]  # the index first: a browser plays while it still downloads
    with running([*command, "-f", "mp4", str(path)], stdin=subprocess.PIPE) as (process, log):
        try:
            for frame in chain([first], frames):
                process.stdin.write(np.ascontiguousarray(frame))
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg gave up early; why is in its complaint
        if process.wait() != 0:
            raise FailedError(f"ffmpeg could not write the video: {complaint(log())}")


@contextlib.contextmanager
def running(command: list[str], **pipes: int) -> Iterator[tuple[subprocess.Popen, Callable[[], Iterator[str]]]]:
    """Start ffmpeg; yield (process, log): log() gives the lines it has said so far. However the block ends, the process
    has ended too."""
    with tempfile.TemporaryFile() as said:  # a file, not a pipe: a full pipe nobody reads would stop ffmpeg
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **pipes}
        try:
            process = subprocess.Popen(command, stderr=said, **pipes)
        except OSError as error:
            raise FailedError(f"cannot start {command[0]} ({error.strerror}); reinstall ffmpeg") from error

        def log() -> Iterator[str]:
            said.seek(0)
            return (line.decode("utf-8", "replace").rstrip() for line in said)

        try:
            yield process, log
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # closing flushes, and there is nobody left to read
                        pipe.close()


def complaint(lines: Iterable[str]) -> str:
    """The line that tells most of what ffmpeg said: the first, unless one says that the disk is full."""
    lines = [line for line in lines if line.strip()] or ["it stopped silently"]
    line = next((line for line in lines if "No space left on device" in line), lines[0])
    return re.sub(r"^(\[[^]]*\]\s*)*", "", line).strip()  # without "[mov,mp4 @ 0x55f4…] [error]"


def as_rate(fps: float | Fraction) -> str:
    """fps as the nearest simple fraction, the way ffmpeg counts time: 29.97002997… is 30000/1001 exactly."""
    return str(Fraction(fps).limit_denominator(1001))
