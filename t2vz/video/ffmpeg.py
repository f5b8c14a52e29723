"""The program ffmpeg: how it is found, run and understood.

It is a program beside Python, and pixels go through a pipe, so a long video never has to fit in memory. stream.py holds
the two command lines that read a video, write.py the one that makes an MP4; all three can be tried in a terminal.
"""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

from ..errors import FailedError


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
