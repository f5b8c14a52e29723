"""Reading: times, rates, order, masks for E13, and one line for everything that cannot be read."""

import math
import subprocess

import numpy as np
import pytest
import torch
from films import numbered, numbers
from PIL import Image
from tiny import refused

from t2vz.video import Video, ffmpeg, open_frames, read_masks, read_video


@pytest.fixture(params=["v.mp4", "v.gif"])
def clip(request, tmp_path):
    return tmp_path / request.param


@pytest.mark.parametrize("m, fps, wanted", [(60, 30, 4), (24, 24, 8), (50, 25, 10), (8, 4, 8), (8, 4, 30), (7, 4, 4)])
def test_rates(clip, m, fps, wanted):
    numbered(m, fps).save(clip)
    video = read_video(clip, fps=wanted)
    assert video.fps == wanted and len(video) == m * wanted // fps
    # output frame k shows what the source shows around the time (k + 1/2)/wanted
    middle = [(k + 0.5) / wanted * fps for k in range(len(video))]
    assert all(math.floor(t - 0.51) <= n <= t for n, t in zip(numbers(video.frames), middle, strict=True))


@pytest.mark.parametrize(
    "fps, start, end",
    [(4, 0.5, 1.5), (4, 0.25, None), (30, 0.25, None), (30, None, 0.5), (25, 1.0, 1.04), (5, 0.2, 0.6)],
)
def test_start_and_end(clip, fps, start, end):
    m = 2 * fps
    numbered(m, fps).save(clip)
    expected = [k for k in range(m) if (start or 0) <= k / fps and (end is None or k / fps < end)]
    video = read_video(clip, start, end)
    assert numbers(video.frames) == expected


def test_folder_times_and_natural_order(tmp_path):
    for k in (10, 2, 1, 0, 9, 11):
        Image.new("RGB", (8, 8), (4 * k, 4 * k, 4 * k)).save(tmp_path / f"shot{k}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not one either")
    assert numbers(read_video(tmp_path).frames) == [0, 1, 2, 9, 10, 11]
    assert numbers(read_video(tmp_path, start=0.5, end=1.0).frames) == [2, 9]
    video = read_video(tmp_path, fps=12)
    assert video.fps == 12 and len(video) == 6


def test_generator_is_lazy_and_ends_ffmpeg(tmp_path, monkeypatch):
    numbered(40, 20).save(tmp_path / "v.mp4")
    started, popen = [], subprocess.Popen

    def recorded(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(ffmpeg.subprocess, "Popen", recorded)
    fps, frames, notes = open_frames(tmp_path / "v.mp4")
    assert fps == 20 and notes == [] and next(frames).shape == (32, 32, 3)
    frames.close()
    assert started and all(process.poll() is not None for process in started)
    assert len(list(open_frames(tmp_path / "v.mp4")[1])) == 40


def make_sound(path):
    command = [ffmpeg.find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", "sine=d=0.2"]
    subprocess.run([*command, path], check=True)


@pytest.mark.parametrize(
    "name, make, words",
    [
        ("none.mp4", lambda p: None, "no file or folder"),
        ("folder", lambda p: p.mkdir(), "no pictures"),
        ("text.mp4", lambda p: p.write_text("hello"), "not a video"),
        ("empty.mkv", lambda p: p.write_bytes(b""), "not a video"),
        ("text.gif", lambda p: p.write_text("hello"), "not a picture"),
        ("sound.wav", make_sound, "only sound"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, name, make, words):
    make(tmp_path / name)
    refused(lambda: read_video(tmp_path / name), words, name)


def test_sizes_must_agree(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 8)).save(tmp_path / "b.png")
    refused(lambda: read_video(tmp_path), "picture 2 is 9×8 and the first 8×8")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"start": -1}, "start is -1"),
        ({"end": float("nan")}, "end is nan"),
        ({"start": 2, "end": 1}, "come later"),
        ({"fps": 0}, "fps is 0"),
        ({"start": 99}, "no frame between 99"),
    ],
)
def test_wrong_times(clip, arguments, words):
    numbered(4, 4).save(clip)
    refused(lambda: read_video(clip, **arguments), words)


def test_masks_from_a_folder_are_exact(tmp_path):
    masks = np.random.default_rng(4).integers(0, 2, (5, 12, 16), dtype=np.uint8) * 255
    for k, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / f"m{k}.png")
    out = read_masks(tmp_path, 5, 12, 16)
    assert out.dtype == torch.float32 and out.shape == (5, 1, 12, 16)
    assert torch.equal(out[:, 0], torch.from_numpy(masks / 255).float())
    # twice as large: every pixel becomes 2×2 equal ones; half as large: the mean of each 2×2 block
    large = read_masks(tmp_path, 5, 24, 32)
    assert torch.equal(large, out.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(read_masks(tmp_path, 5, 6, 8), torch.nn.functional.avg_pool2d(out, 2))


def test_masks_from_a_video_and_from_one_picture(tmp_path):
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    for k in range(4):
        frames[k, 8:24, 4 * k : 4 * k + 16] = 255
    expected = torch.from_numpy(frames[..., 0] / 255).float()[:, None]
    for name in ("m.mp4", "m.gif"):
        Video(frames).save(tmp_path / name)
        assert (read_masks(tmp_path / name, 4, 32, 32) - expected).abs().max() < 0.1
    Image.fromarray(frames[1]).save(tmp_path / "one.png")
    out = read_masks(tmp_path / "one.png", 3, 32, 32)
    assert torch.equal(out, expected[1:2].expand(3, -1, -1, -1))
    out[0] = 7  # the frames do not share memory
    assert out[1].max() == 1


@pytest.mark.parametrize("frames, words", [(3, "more than 3"), (1, "more than 1"), (6, "4 masks for 6")])
def test_wrong_number_of_masks(tmp_path, frames, words):
    numbered(4, 4).save(tmp_path / "m")
    refused(lambda: read_masks(tmp_path / "m", frames, 8, 8), words)
