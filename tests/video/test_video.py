"""Saving a Video and reading it back: MP4, GIF, folder; what is left behind when something goes wrong."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from films import noise, tree
from PIL import Image
from tiny import refused

from t2vz.errors import FailedError, InputError
from t2vz.video import DEFAULT_FPS, Video, check_output, ffmpeg, read_video, write


def moving_blobs(m, height, width, seed):
    """m frames of smooth colour that drift: what a codec keeps well, unlike noise. uint8 (m, H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x, k = np.mgrid[:height, :width, :m].astype(np.float64)
    y, x = y / max(height, 24), x / max(width, 24)
    frames = np.zeros((height, width, m, 3))
    for c in range(3):
        fy, fx, speed, phase = rng.uniform(0.5, 2, 4)
        frames[..., c] = 127 + 110 * np.sin(6.28 * (fy * y + fx * x + phase) + 0.4 * speed * k)
    return np.ascontiguousarray(frames.transpose(2, 0, 1, 3).round().astype(np.uint8))


def atoms(data):
    """The names of the top-level atoms of an MP4, in order (ISO 14496-12: 4 bytes size, 4 bytes name)."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize("m, height, width", [(8, 64, 64), (1, 8, 8), (3, 33, 47), (2, 1, 1)])
def test_folder_round_trip_is_exact(tmp_path, m, height, width):
    frames = noise(m, height, width)
    Video(frames).save(f"{tmp_path}/out/")
    assert sorted(os.listdir(tmp_path / "out")) == [f"frame_{k:04d}.png" for k in range(1, m + 1)]
    back = read_video(tmp_path / "out")
    np.testing.assert_array_equal(back.frames, frames)
    assert back.fps == DEFAULT_FPS


@pytest.mark.parametrize(
    "m, height, width, fps",
    [(8, 64, 64, 4), (1, 64, 64, 4), (5, 33, 47, 10), (3, 48, 31, 30000 / 1001), (2, 1, 1, 4), (30, 64, 48, 24)],
)
def test_mp4_round_trip(tmp_path, m, height, width, fps):
    frames = moving_blobs(m, height, width, seed=m)
    assert Video(frames, fps=fps).save(tmp_path / "out.mp4") == tmp_path / "out.mp4"
    back = read_video(tmp_path / "out.mp4")
    assert back.frames.shape == (m, height + height % 2, width + width % 2, 3)
    assert back.fps == pytest.approx(fps, rel=1e-9)
    assert psnr(back.frames[:, :height, :width], frames) > 34
    # padded by the edge: the added row and column continue the picture, where black would be far off
    if height % 2 and height > 1:
        assert psnr(back.frames[:, -1, :width], frames[:, -1]) > 28
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_mp4_plays_in_a_browser(tmp_path):
    """H.264, yuv420p, colours tagged BT.709, and the index (moov) before the pixels (mdat)."""
    Video(moving_blobs(4, 64, 64, seed=0)).save(tmp_path / "out.mp4")
    names = atoms((tmp_path / "out.mp4").read_bytes())
    assert names[0] == "ftyp" and names.index("moov") < names.index("mdat")
    command = [ffmpeg.find_ffmpeg(), "-i", tmp_path / "out.mp4", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stream = next(line for line in log.splitlines() if "Video:" in line)
    assert "h264" in stream and "yuv420p" in stream and "bt709" in stream and "4 fps" in stream


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (12, 200, 180), (0, 0, 0), (255, 255, 255)])
def test_mp4_keeps_colours(tmp_path, colour):
    """A wrong YUV matrix (BT.601 for BT.709) would be off by 20 and more here; a wrong range by 16."""
    frames = np.broadcast_to(np.uint8(colour), (2, 32, 32, 3)).copy()
    Video(frames).save(tmp_path / "c.mp4")
    assert np.abs(read_video(tmp_path / "c.mp4").frames.astype(int) - frames).max() <= 2


def test_gif_loops_and_its_times_do_not_drift(tmp_path):
    for fps in (4, 24, 30, 50):
        m = 13
        Video(moving_blobs(m, 32, 32, seed=fps), fps=fps).save(tmp_path / "out.gif")
        data = (tmp_path / "out.gif").read_bytes()
        assert b"NETSCAPE2.0\x03\x01\x00\x00" in data  # loop count 0: for ever
        with Image.open(tmp_path / "out.gif") as image:
            durations = []
            for k in range(image.n_frames):
                image.seek(k)
                durations.append(image.info["duration"])
        assert len(durations) == m and max(durations) - min(durations) <= 10
        assert sum(durations) == pytest.approx(1000 * m / fps, abs=5)
        assert read_video(tmp_path / "out.gif").fps == pytest.approx(fps, rel=0.02)


def test_gif_is_exact_for_few_colours_and_close_for_many(tmp_path):
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (255, 3), dtype=np.uint8)
    frames = colours[rng.integers(0, 255, (4, 20, 30))]
    Video(frames).save(tmp_path / "few.gif")
    np.testing.assert_array_equal(read_video(tmp_path / "few.gif").frames, frames)
    frames = moving_blobs(8, 64, 64, seed=1)
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 10_000
    Video(frames).save(tmp_path / "many.gif")
    web_safe = np.round(frames / 51) * 51  # the 216 colours one would take without looking at the video
    assert psnr(read_video(tmp_path / "many.gif").frames, frames) > psnr(web_safe, frames) + 2.5


def test_gif_does_not_flicker(tmp_path):
    """A pixel that stays the same keeps its palette colour: no dithering, one palette."""
    frames = np.repeat(moving_blobs(1, 64, 64, seed=3), 4, axis=0)
    frames[:, :8, :8] = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    Video(frames).save(tmp_path / "still.gif")
    back = read_video(tmp_path / "still.gif").frames[:, 8:, 8:]
    assert (back == back[:1]).all()


def test_gif_with_repeated_frames_reads_back_with_all_of_them(tmp_path):
    frames = np.stack([np.full((8, 8, 3), v, np.uint8) for v in (0, 0, 90, 200, 200, 200, 10)])
    Video(frames, fps=8).save(tmp_path / "r.gif")
    np.testing.assert_array_equal(read_video(tmp_path / "r.gif").frames, frames)


@pytest.mark.parametrize("name", ["out.webm", "out.mp4.part", "out.avi", "out.v2", ""])
def test_other_endings_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    refused(lambda: Video(np.zeros((1, 8, 8, 3), np.uint8)).save(name), r"\.mp4.*\.gif.*folder")
    assert os.listdir(tmp_path) == []


def test_endings_are_read_as_a_person_would(tmp_path):
    kinds = {"A.MP4": "mp4", "a/b.Gif": "gif", "dir.v2/": "folder", "dir": "folder", Path("dir"): "folder"}
    assert {path: write.output_kind(path) for path in kinds} == kinds


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out/"])
def test_overwrite(tmp_path, name):
    first, second = (Video(np.full((2, 16, 16, 3), v, np.uint8)) for v in (10, 240))
    first.save(f"{tmp_path}/{name}")
    before = tree(tmp_path)
    refused(lambda: second.save(f"{tmp_path}/{name}", overwrite=False), "exists already")
    assert tree(tmp_path) == before
    second.save(f"{tmp_path}/{name}")
    assert read_video(f"{tmp_path}/{name}").frames.min() > 200
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("stranger", ["notes.txt", "frame_1.png", "frame_0001.png.bak", "sub/frame_0001.png"])
def test_a_folder_with_anything_else_is_never_touched(tmp_path, stranger):
    out = tmp_path / "out"
    Video(np.zeros((2, 8, 8, 3), np.uint8)).save(out)
    (out / stranger).parent.mkdir(exist_ok=True)
    (out / stranger).write_text("mine")
    before = tree(tmp_path)
    for call in (check_output, Video(np.ones((1, 8, 8, 3), np.uint8)).save):
        refused(lambda: call(out), "holds other files")
    assert tree(tmp_path) == before


def test_files_and_folders_in_the_way(tmp_path):
    (tmp_path / "x.mp4").mkdir()
    (tmp_path / "file").write_text("keep")
    before = tree(tmp_path)
    for name in ("x.mp4", "file", "file/", "file/out.mp4", "file/deep/out.gif"):
        with pytest.raises(InputError):
            check_output(f"{tmp_path}/{name}")
        with pytest.raises((InputError, FailedError)):
            Video(np.zeros((1, 8, 8, 3), np.uint8)).save(f"{tmp_path}/{name}")
    assert tree(tmp_path) == before


def test_no_ffmpeg_says_what_to_do_and_gif_still_works(tmp_path, monkeypatch):
    import imageio_ffmpeg

    def none():
        raise RuntimeError("No ffmpeg exe could be found.")

    video = Video(np.zeros((2, 8, 8, 3), np.uint8))
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    for call in (check_output, video.save):
        refused(lambda: call(tmp_path / "new" / "out.mp4"), "pip install imageio-ffmpeg", error=FailedError)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # now `import imageio_ffmpeg` fails
    refused(lambda: video.save(tmp_path / "new" / "out.mp4"), "pip install imageio-ffmpeg", error=FailedError)
    assert tree(tmp_path) == {}
    video.save(tmp_path / "out.gif")
    video.save(tmp_path / "out")
    assert len(read_video(tmp_path / "out")) == 2


def fake_ffmpeg(monkeypatch, tmp_path_factory, script):
    program = tmp_path_factory.mktemp("bin") / "ffmpeg"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    monkeypatch.setattr(write, "find_ffmpeg", lambda: str(program))


@pytest.mark.skipif(os.name == "nt", reason="needs /bin/sh")
@pytest.mark.parametrize(
    "script, words",
    [
        ("echo 'noise' >&2; echo 'write_frame(): No space left on device' >&2; exit 228", "disk is full"),
        ("head -c 9 >/dev/null; echo '[h264 @ 0x5] Unknown encoder' >&2; exit 1", "the video: Unknown encoder$"),
        ("cat >/dev/null; exit 1", "stopped silently"),
    ],
)
def test_what_ffmpeg_says_becomes_one_line(tmp_path, tmp_path_factory, monkeypatch, script, words):
    (tmp_path / "out.mp4").write_bytes(b"old")
    fake_ffmpeg(monkeypatch, tmp_path_factory, script)
    video = Video(np.zeros((8, 128, 128, 3), np.uint8))
    refused(lambda: video.save(tmp_path / "out.mp4"), words, error=FailedError)
    assert tree(tmp_path) == {"out.mp4": b"old"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_real_ffmpeg_on_a_full_device(monkeypatch):
    monkeypatch.setattr(write, "atomic_path", contextlib.nullcontext)
    with pytest.raises(FailedError, match="No space left on device"):
        write.write_mp4("/dev/full", moving_blobs(4, 64, 64, seed=0), 4)


@pytest.mark.parametrize("name", ["out.gif", "out/"])
def test_disk_full_while_python_writes(tmp_path, monkeypatch, name):
    video = Video(np.full((3, 16, 16, 3), 7, np.uint8))
    video.save(f"{tmp_path}/{name}")
    before, write_bytes = tree(tmp_path), Path.write_bytes

    def half_then_full(path, data):
        write_bytes(path, data[: len(data) // 2])
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(data)

    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(Path, "write_bytes", half_then_full)
    refused(lambda: video.save(f"{tmp_path}/{name}"), "disk is full", error=FailedError)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_ctrl_c_between_frames_leaves_the_old_file(tmp_path, name):
    Video(moving_blobs(3, 32, 32, seed=0)).save(tmp_path / name)
    before = tree(tmp_path)

    def frames():
        yield from moving_blobs(2, 32, 32, seed=1)
        raise KeyboardInterrupt

    for target in (tmp_path / name, tmp_path / "new" / name):
        with pytest.raises(KeyboardInterrupt):
            write.write_frames(target, frames(), 4)
        assert tree(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_real_ctrl_c_in_a_real_process(tmp_path):
    """SIGINT to the whole process group, as a terminal sends it, while ffmpeg is at work."""
    code = (
        "import sys, numpy as np; from t2vz.video.write import write_mp4\n"
        "def frames():\n"
        "    for k in range(10**6):\n"
        "        if k == 3: print('running', flush=True)\n"
        "        yield np.full((64, 64, 3), k % 256, np.uint8)\n"
        "write_mp4(sys.argv[1], frames(), 30)\n"
    )
    (tmp_path / "out.mp4").write_bytes(b"old")
    root = Path(write.__file__).parents[2]
    command, pipe = [sys.executable, "-c", code, tmp_path / "out.mp4"], subprocess.PIPE
    process = subprocess.Popen(command, cwd=root, start_new_session=True, stdout=pipe, stderr=pipe)
    assert process.stdout.readline() == b"running\n"
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0 and b"KeyboardInterrupt" in err
    assert tree(tmp_path) == {"out.mp4": b"old"}


def test_bad_frames_name_the_frame_and_leave_nothing(tmp_path):
    good, small = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)
    for frames, words in (([good, small], "frame 2"), ([good / 255], "float64"), ([], "no frames")):
        for name in ("a.mp4", "a.gif", "a"):
            refused(lambda: write.write_frames(tmp_path / name, iter(frames), 4), words)
    for fps in (0, -4, float("nan"), float("inf"), 51):
        with pytest.raises(InputError):
            Video(good[None], fps=fps).save(tmp_path / "a.gif")
    assert tree(tmp_path) == {}


def test_video_checks_what_it_is_given():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    refused(lambda: Video(frames[0] / 255), r"float64 of shape \(8, 8, 3\)")
    refused(lambda: Video(frames, torch.zeros(3, 4, 1, 1)), "3 latents")
    video = Video(frames, torch.zeros(2, 4, 1, 1))
    assert len(video) == 2 and video.fps == 4 and "2 frames" in repr(video)
    assert Video(frames).notes is not Video(frames).notes
