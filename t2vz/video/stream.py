"""A video file, read by ffmpeg in two passes: first when each frame is shown, and how; then the pixels.

Videos of phones, browsers and screen recorders have no constant frame rate. Left alone, ffmpeg makes one by repeating
and dropping frames. Here every frame that is there is taken once, unless the caller asks for a rate.
"""

import math
import re
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FailedError, InputError
from .ffmpeg import as_rate, complaint, find_ffmpeg, running

SEEK_EARLY = 10  # seconds: in a file without an index, frames are whole only after the next key frame
EVEN = 0.1  # frames count as evenly spaced if no interval is further from the mean than this share of it

# What ffmpeg's filter showinfo says of a frame; older versions leave out the duration.
SHOWN = re.compile(
    r"showinfo.* pts: *(?P<at>-?\d+|NOPTS) (?:.*duration: *(?P<lasts>\d+) )?.*fmt:(?P<format>\S+) "
    r".*sar:(?P<pixel>\d+/\d+) s:(?P<size>\d+x\d+) i:(?P<scan>\w)"
)
ENDED = "ended prematurely"
DAMAGE = re.compile(rf"Packet corrupt|partial file|{ENDED}")
FAILURE = re.compile(r"\[(error|fatal)\]")  # of decoders too, which also say so of what they can mend
ALPHA = re.compile(r"yuva|gbrap|rgba|argb|bgra|abgr|ya\d|pal8")  # names of pixel formats with transparency
OWN_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders ignore the transparency of these

Opened = tuple[Fraction, Iterator[np.ndarray], list[str]]  # frames per second, the frames, notes for the user


def open_stream(path: Path, start: Fraction, end: Fraction | float, fps: float | Fraction | None) -> Opened:
    """The first video stream of `path` from start to end, in seconds: decoded once to see when each frame is shown.

    With `fps` frames are repeated or dropped to that rate by their times; without, every frame is taken once. Raises
    InputError when there is no video in the file or its size changes on the way, FailedError when it is damaged before
    `end`, and while frames are read, when ffmpeg gives fewer than it showed.
    """
    start, end = float(start), float(end)
    origin = early = max(0.0, start - SEEK_EARLY)  # the second that ffmpeg's times count from
    file = ["-xerror", "-fflags", "+discardcorrupt"]  # damaged packets are left out, and a damaged frame is the last
    file += ["-ss", f"{early:.6f}"] * bool(early) + ["-i", str(path.resolve()), "-map", "0:V:0"]
    begin = f"{start - early:.6f}"
    filters = [f"trim=start={begin}" + (f":end={end - early:.6f}" if math.isfinite(end) else "")]
    if fps is not None:  # the frames made are counted from start; "-r" in place of fps would add some at the end
        origin, filters = start, [*filters, f"setpts=PTS-{begin}/TB", f"fps={as_rate(fps)}"]
    shown, text, damage = _look(file, filters)
    if "Input #0, tty" in text:  # ffmpeg would paint a text file as on a terminal
        raise InputError(_unreadable(path, "it is a text"))
    if not shown and not damage:
        return Fraction(1), iter(()), []
    if not shown:
        if start and any(ENDED in line for line in damage):
            raise InputError(f"{path} is cut short: it ends before {start:g} s; start earlier, or copy the file again")
        raise InputError(_unreadable(path, complaint(damage)))
    rate, stops, notes = _timing(path, shown, text, fps)
    until = origin + stops
    if damage and until < end - 0.5 / rate:
        notes.append(_cut_short(path, len(shown), until, damage, text))
    decoder, more, remarks = _as_displayed(path, shown, text)
    return rate, _decode(len(shown), decoder + file, filters + more), notes + remarks


def _look(file: list[str], filters: list[str]) -> tuple[list[re.Match], str, list[str]]:
    """Decode without keeping pixels: (what SHOWN finds of each frame, all else ffmpeg says, its lines on damage)."""
    command = [find_ffmpeg(), "-hide_banner", "-nostats", "-loglevel", "level+info", *file]
    command += ["-vf", ",".join([*filters, "showinfo=checksum=0"]), "-f", "null", "-"]
    with running(command) as (process, log):
        failed = process.wait() != 0
        said = list(log())
    shown = [found for found in map(SHOWN.search, said) if found]
    lines = [line for line in said if "showinfo" not in line or "config in" in line]
    # ffmpeg's threads may say two things on one line, so this looks at all of them
    damage = [line for line in said if DAMAGE.search(line) or (failed and FAILURE.search(line))]
    return shown, "\n".join(lines), damage or [""] * failed


def _decode(frames: int, file: list[str], filters: list[str]) -> Iterator[np.ndarray]:
    """Yield so many frames, uint8 (H, W, 3), as the filters make them."""
    command = [find_ffmpeg(), "-loglevel", "error", *file]
    # Frame n is put at n seconds of a video with one frame a second: so each comes out once, whenever it is shown.
    command += ["-vf", ",".join([*filters, "setpts=N/TB"]), "-r", "1"]
    command += ["-sws_flags", "accurate_rnd+full_chroma_int+full_chroma_inp"]
    # PPM: each frame carries its own size, so nothing about the pixels has to be known beforehand.
    command += ["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]
    with running(command, stdout=subprocess.PIPE) as (process, log):
        for count in range(frames):
            frame = _read_ppm(process.stdout)
            if frame is None:
                raise FailedError(f"only {count} of {frames} frames could be read ({complaint(log())})")
            yield frame


def _read_ppm(stream: BinaryIO) -> np.ndarray | None:
    """The next picture of a stream of binary PPMs ("P6\\nW H\\n255\\n" and the bytes), or None at the end."""
    if stream.readline() != b"P6\n":
        return None
    width, height = map(int, stream.readline().split())
    stream.readline()
    data = stream.read(height * width * 3)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3).copy() if len(data) == height * width * 3 else None


def _timing(path: Path, shown: list[re.Match], text: str, fps: float | None) -> tuple[Fraction, float, list[str]]:
    """(frames per second, seconds at which the last frame ends, notes)."""
    nominal = Fraction(fps or _said(r"frame_rate: (\d+/[1-9]\d*)", text) or 25)
    count, tick = len(shown), Fraction(_said(r"time_base: (\d+/\d+)", text))
    if fps is not None or count < 2 or any(frame["at"] == "NOPTS" for frame in shown):
        return nominal, float(count / nominal), []
    begins = np.array([int(frame["at"]) for frame in shown]) * float(tick)
    intervals, last = np.diff(begins), float(int(shown[-1]["lasts"] or 0) * tick)
    mean = intervals.mean()
    stops = begins[-1] + (last if last >= mean / 2 else mean)  # a last frame of 1 ms is a muxer's way to say nothing
    seconds = max(stops - begins[0], 1e-3)
    constant = abs(count / nominal - seconds) <= 0.5 / nominal
    rate = nominal if constant else Fraction(count / seconds)
    even = np.abs(intervals - mean).max() <= EVEN * mean + float(tick)  # times are rounded to ticks
    return rate, stops, [] if even else [varying_rate(path, intervals.min(), intervals.max(), rate)]


def varying_rate(path: Path, least: float, most: float, rate: Fraction) -> str:
    """The note on a video whose frames last from `least` to `most` seconds, and are read at `rate`."""
    return (
        f"{path} has no constant frame rate (frames last {1000 * float(least):.0f} to {1000 * float(most):.0f} ms): "
        f"each is taken once, at {float(rate):.4g} a second, which keeps the duration; give an fps to resample them"
    )


def _cut_short(path: Path, count: int, until: float, damage: list[str], text: str) -> str:
    """The note on a recording that stops early, which Matroska allows. Raises FailedError for any other damage."""
    if not any(ENDED in line for line in damage):
        raise FailedError(
            f"{path} is damaged after {count} frames ({complaint(damage)}); copy the file again, or end at {until:g} s"
        )
    hours, minutes, seconds = map(float, (_said(r"Duration: ([\d:.]+)", text) or "0:0:0").split(":"))
    whole = f" of {3600 * hours + 60 * minutes + seconds:g} s" if hours + minutes + seconds else ""
    return f"{path} is cut short: only {count} frames, up to {until:g} s{whole}, are in it"


def _as_displayed(path: Path, shown: list[re.Match], text: str) -> tuple[list[str], list[str], list[str]]:
    """(options of the decoder, filters, notes) for frames as a player shows them: their shape, black where transparent.

    Raises InputError when the size changes on the way.
    """
    first, decoder, filters, notes = shown[0], [], [], []
    for number, frame in enumerate(shown, start=1):
        if frame["size"] != first["size"]:
            sizes = f"{frame['size']} and the first {first['size']}".replace("x", "×")
            raise InputError(f"{path}: picture {number} is {sizes}; make all of one size")
    wide, high = map(int, first["pixel"].split("/"))  # 0: unknown
    if wide and high and wide != high:
        filters.append("scale=w=iw*max(sar\\,1):h=ih*max(1/sar\\,1)")
        notes.append(f"has pixels that are {wide / high:.3g} times as wide as high; it is read in the shape shown")
    codec = _said(r"Stream #0.*Video: (vp8|vp9)\b", text)
    if codec and _said(r"(alpha_mode +: 1)", text):
        decoder = ["-c:v", OWN_ALPHA[codec]]
    if decoder or ALPHA.match(first["format"]):
        filters.append("format=gbrap,premultiply=inplace=1")
    if curve := _said(r"Stream #0.*Video:.*(smpte2084|arib-std-b67)", text):
        notes.append(f"is HDR ({curve}); its colours are read as they are and look pale: convert it to SDR first")
    if sum(frame["scan"] in "TB" for frame in shown) > len(shown) / 2:
        notes.append("is interlaced: what moves has combs; deinterlace it first, for example with ffmpeg -vf yadif")
    return decoder, filters, [f"{path} {note}" for note in notes]


def _said(pattern: str, text: str) -> str | None:
    """What the first group of a pattern finds in ffmpeg's log, or None."""
    found = re.search(pattern, text)
    return found and found[1]


def _unreadable(path: Path, complaint: str) -> str:
    if "matches no streams" in complaint:
        return f"{path} has no video stream, only sound or text; give a video file, a .gif or a folder of images"
    return f"{path} is not a video ffmpeg can read ({complaint}); give a video, a .gif or a folder of images"
