"""Video files of all kinds: exactly the frames that are there, as a player shows them; what is amiss is said."""

import math
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from films import numbers
from tiny import refused

from t2vz.errors import FailedError
from t2vz.video import open_clip, open_frames, read_video
from t2vz.video.ffmpeg import find_ffmpeg
from t2vz.video.stream import open_stream


def ffmpeg(*options):
    subprocess.run([find_ffmpeg(), "-loglevel", "error", "-y", *map(str, options)], check=True)


def numbered(path, milliseconds, *options, before=()):
    """A film of grey frames, frame k of brightness 4·k, that is shown from milliseconds[k] on; rate unknown."""
    times = "+".join(f"eq(N\\,{k})*{time}" for k, time in enumerate(milliseconds))
    source = (
        f"nullsrc=s=64x32:r=1000,trim=end_frame={len(milliseconds)},format=gray,geq=lum=4*N,settb=1/1000,setpts={times}"
    )
    passthrough = ["-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-pix_fmt", "yuv420p"]
    ffmpeg(*before, "-f", "lavfi", "-i", source, *passthrough, *options, path)


UNEVEN = [int(t) for t in np.cumsum([0, *np.random.default_rng(0).integers(15, 60, 44)])]


@pytest.mark.parametrize(
    "name, options",
    [("v.mp4", ()), ("v.mkv", ()), ("v.webm", ("-c:v", "libvpx", "-qmin", 0, "-qmax", 2, "-b:v", "9M", "-live", 1))],
)
def test_without_a_constant_rate_every_frame_is_taken_once_and_the_duration_kept(tmp_path, name, options):
    numbered(tmp_path / name, UNEVEN, *options)
    video = read_video(tmp_path / name)
    assert numbers(video.frames) == list(range(45))
    assert len(video) / video.fps == pytest.approx(UNEVEN[-1] / 1000, abs=0.06)
    (note,) = video.notes
    least, most = np.diff(UNEVEN).min(), np.diff(UNEVEN).max()
    assert f"no constant frame rate (frames last {least} to {most} ms)" in note
    part = read_video(tmp_path / name, start=Fraction(1, 2), end=1.0)
    assert numbers(part.frames) == [k for k, time in enumerate(UNEVEN) if 500 <= time < 1000]
    resampled = read_video(tmp_path / name, fps=10)
    assert resampled.notes == [] and resampled.fps == 10 and abs(len(resampled) - UNEVEN[-1] / 100) <= 1
    on_screen = [sum(time <= 100 * k + 50 for time in UNEVEN) - 1 for k in range(len(resampled))]
    assert np.abs(np.subtract(numbers(resampled.frames), on_screen)).max() <= 1


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mpg", "v.avi"])
def test_a_constant_rate_stays_exact_though_times_are_rounded(tmp_path, name):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32:r=30000/1001:d=2", "-g", 600, "-pix_fmt", "yuv420p", tmp_path / name)
    video = read_video(tmp_path / name)
    assert len(video) == 60 and video.fps == pytest.approx(30000 / 1001, rel=1e-9) and video.notes == []
    assert len(read_video(tmp_path / name, start=1)) in (30, 31)  # an .mpg has no index; one key frame


def test_a_film_that_begins_later_than_its_sound(tmp_path):
    sound = ("-f", "lavfi", "-i", "sine=d=3")
    ffmpeg(*sound, "-itsoffset", 1, "-f", "lavfi", "-i", "testsrc=s=32x32:r=10:d=1", tmp_path / "late.mkv")
    assert [len(read_video(tmp_path / "late.mkv", end=end)) for end in (None, 1.5, 9)] == [10, 5, 10]


@pytest.mark.parametrize("turn, shape", [((), (1, 72, 128, 3)), (("-display_rotation", "90"), (1, 128, 72, 3))])
def test_pixels_that_are_not_square_come_in_as_they_are_shown(tmp_path, turn, shape):
    bright = "drawbox=w=45:h=72:c=white:t=fill,setsar=64/45"  # the left half
    ffmpeg("-f", "lavfi", "-i", "color=black:s=90x72:r=1:d=1", "-vf", bright, tmp_path / "flat.mp4")
    ffmpeg(*turn, "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "tv.mp4")
    video = read_video(tmp_path / "tv.mp4")
    assert video.frames.shape == shape and "wide as high" in video.notes[0]
    half = video.frames[0, :, :, 0] if not turn else video.frames[0, ::-1, :, 0].T  # turned left: left is now below
    assert half[:, :60].min() > 200 and half[:, 68:].max() < 50


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p")),
        ("a.mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
        ("b.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le")),
    ],
)
def test_what_is_transparent_is_black(tmp_path, name, options):
    alpha = "format=rgba,geq=r=250:g=250:b=250:a='if(lt(X,32),255,0)'"
    ffmpeg("-f", "lavfi", "-i", "color=white:s=64x32:r=2:d=1", "-vf", alpha, *options, tmp_path / name)
    frames = read_video(tmp_path / name).frames
    assert frames[:, :, :30].min() > 240 and frames[:, :, 34:].max() < 10


def test_what_a_player_would_change_is_noted(tmp_path):
    hdr = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:interlaced=1"
    source = ("-f", "lavfi", "-i", "testsrc=s=64x32:r=4:d=1")
    ffmpeg(*source, "-pix_fmt", "yuv420p10le", "-x264-params", hdr, tmp_path / "tv.mkv")
    notes = " ".join(read_video(tmp_path / "tv.mkv").notes)
    assert "HDR (smpte2084)" in notes and "interlaced" in notes
    ffmpeg(*source, "-pix_fmt", "yuv420p10le", tmp_path / "plain.mkv")
    video = read_video(tmp_path / "plain.mkv")
    assert video.notes == [] and video.frames.max() > 240


def test_a_size_that_changes_on_the_way_is_refused(tmp_path):
    parts = []
    for size in ("64x48", "96x48"):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:r=5:d=1", "-c:v", "mjpeg", "-f", "mjpeg", tmp_path / size)
        parts.append((tmp_path / size).read_bytes())
    (tmp_path / "box.mjpeg").write_bytes(b"".join(parts))
    refused(lambda: read_video(tmp_path / "box.mjpeg"), r"box\.mjpeg: picture 6 is 96×48 and the first 64×48")


@pytest.mark.parametrize("name", ["long.txt", "long.nfo"])
def test_a_text_is_not_painted(tmp_path, name):
    (tmp_path / name).write_text("\n".join(map(str, range(3000))))
    refused(lambda: open_frames(tmp_path / name), "it is a text")


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_damage_counts_only_where_it_was_asked_for(tmp_path):
    path, noise = tmp_path / "v.mp4", "testsrc=s=160x120:r=10:d=20,noise=alls=40:allf=t"
    ffmpeg("-f", "lavfi", "-i", noise, "-c:v", "mpeg4", "-movflags", "+faststart", path)
    whole = read_video(path).frames
    cut(path, 0.66)
    said = refused(lambda: read_video(path), "damaged after 1[23]. frames .* end at 1[23]", error=FailedError)
    good = float(said.split("end at ")[1].split()[0])
    for end in (good, 11, 1):
        assert np.array_equal(read_video(path, end=end).frames, whole[: round(10 * end)])
    refused(lambda: read_video(path, end=good + 1), "damaged after", error=FailedError)


def test_damage_told_on_a_frame_s_line_is_heard(tmp_path, monkeypatch):
    """ffmpeg's threads sometimes write two messages on one line."""
    line = "[Parsed_showinfo_0] [info] n: 0 pts: 0 fmt:rgb24 sar:1/1 s:8x6 i:P File ended prematurely"
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho 'time_base: 1/10 frame_rate: 10/1' >&2\necho '{line}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr("t2vz.video.stream.find_ffmpeg", lambda: program)
    assert "cut short: only 1 frames" in open_stream(tmp_path / "v.mkv", 0, math.inf, None)[2][0]


@pytest.mark.parametrize("name", ["v.mkv", "v.webm"])
def test_a_recording_that_stops_early_says_what_is_missing(tmp_path, name):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=20", "-g", 10, "-pix_fmt", "yuv420p", tmp_path / name)
    cut(tmp_path / name, 0.66)
    with open_clip(tmp_path / name, resolution=64) as clip:
        note = clip.notes[0]
        assert 50 < len(clip) < 190 and f"only {len(clip)} frames, up to {len(clip) / 10:g} s of 20" in note
    with open_clip(tmp_path / name, end=3, resolution=64) as clip:
        assert len(clip) == 30 and clip.notes == []
    refused(lambda: read_video(tmp_path / name, start=19), "cut short: it ends before 19 s")
