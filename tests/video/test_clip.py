"""Videos that come in: sizes as in the release, counts and rates kept, slices as of an array, flat memory."""

import os
import tracemalloc

import numpy as np
import pytest
from films import noise, numbered, numbers
from PIL import Image
from tiny import refused

from t2vz.errors import FailedError
from t2vz.video import FramesOnDisk, Video, open_clip
from t2vz.video.clip import fitting_size


@pytest.mark.parametrize(
    "height, width, resolution, expected",
    [
        (720, 1280, 512, (256, 512)),  # 288 is 4.5·64, and half goes to the even 4
        (1080, 1920, 512, (256, 512)),
        (1920, 1080, 512, (512, 256)),
        (576, 720, 512, (384, 512)),
        (500, 500, 512, (512, 512)),
        (128, 128, 512, (512, 512)),  # smaller videos grow, as in the release
        (481, 641, 256, (192, 256)),
        (100, 100, 100, (128, 128)),
        (90, 160, 128, (64, 128)),
        (20, 160, 128, (16, 128)),  # 64·round(0.25) would be 0
        (1, 1000, 128, (8, 128)),
        (7, 7, 8, (8, 8)),
    ],
)
def test_sizes_of_the_release(height, width, resolution, expected):
    k = float(resolution) / max(height, width)  # the release's own lines
    release = tuple(int(np.round(side * k / 64.0)) * 64 for side in (height, width))
    assert fitting_size(height, width, resolution, 64) == expected
    assert all(ours == theirs for ours, theirs in zip(expected, release, strict=True) if theirs)


@pytest.mark.parametrize(
    "height, width, resolution, expected",
    [(200, 310, 128, (80, 128)), (720, 1280, 512, (288, 512)), (576, 1024, 128, (72, 128)), (1000, 10, 64, (64, 8))],
)
def test_a_clip_keeps_its_shape(tmp_path, height, width, resolution, expected):
    assert fitting_size(height, width, resolution) == expected
    Video(noise(2, height // 4 * 2, width // 4 * 2)).save(tmp_path / "shots/")
    with open_clip(tmp_path / "shots", resolution=resolution) as clip:
        assert (clip.height, clip.width) == expected
    for side, other, got, got_other in ((height, width, *expected), (width, height, *expected[::-1])):
        assert abs(got - got_other * side / other) <= 4 or 8 in expected  # within half of a latent cell


def test_a_folder_comes_in_exactly(tmp_path):
    frames = noise(5, 64, 128)
    Video(frames).save(tmp_path / "shots/")
    with open_clip(tmp_path / "shots", resolution=128, fps=5) as clip:
        assert len(clip) == 5 and clip.shape == frames.shape and clip.fps == 5 and clip.duration == 1
        assert clip.notes == []
        for which in (slice(None), slice(1, 3), slice(-2, None), slice(4, 99), slice(2, 2)):
            assert np.array_equal(clip[which], frames[which]) and clip[which].shape == frames[which].shape
        assert np.array_equal(clip[-1], frames[-1]) and np.array_equal(np.stack(list(clip)), frames)
        with pytest.raises(IndexError):
            clip[5]
        taken = clip[0:2]
        taken[:] = 0
        assert np.array_equal(clip[0:2], frames[:2])  # a slice is the reader's own


@pytest.mark.parametrize("m, fps", [(9, 12), (25, 30000 / 1001), (2, 4)])
def test_count_rate_and_duration_are_kept(tmp_path, m, fps):
    numbered(m, fps, 48, 62).save(tmp_path / "v.mp4")
    with open_clip(tmp_path / "v.mp4", resolution=64) as clip:
        assert len(clip) == m and clip.fps == pytest.approx(fps, rel=1e-9) and (clip.height, clip.width) == (48, 64)
        assert clip.duration == pytest.approx(m / fps)
        assert numbers(clip) == list(range(m))


def test_what_the_user_should_know_is_noted(tmp_path):
    Video(noise(2, 90, 160)).save(tmp_path / "wide/")
    with open_clip(tmp_path / "wide", resolution=128) as clip:
        assert "160×90" in clip.notes[0] and "128×72" in clip.notes[0] and "multiples of 8)" in clip.notes[0]
    with open_clip(tmp_path / "wide", resolution=128, multiple=64) as clip:
        (note,) = clip.notes
        assert "160×90" in note and "128×64" in note and "multiples of 64" in note and "12% wider" in note
        assert "\n" not in note


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("gone.mp4", {}, "no file or folder"),
        ("one.png", {}, "a single frame in it"),
        ("good.mp4", {"end": 0.2}, "a single frame there"),
        ("good.mp4", {"start": 5}, "no frame between 5 s and the end"),
        ("good.mp4", {"resolution": 4}, "resolution = 4"),
        ("good.mp4", {"resolution": 10000}, "resolution = 10000"),
    ],
)
def test_bad_input_is_one_line(tmp_path, name, options, words):
    numbered(8, 4).save(tmp_path / "good.mp4")
    Image.fromarray(noise(1, 8, 8)[0]).save(tmp_path / "one.png")
    refused(lambda: open_clip(tmp_path / name, **options), words)


def test_memory_is_that_of_a_few_frames(tmp_path):
    """Reading 10 times as many frames, and then every slice of 8, takes no more memory."""
    peaks = []
    for m in (16, 160):
        numbered(m, 20, 128, 128, step=1).save(tmp_path / f"{m}.mp4")
        tracemalloc.start()
        with open_clip(tmp_path / f"{m}.mp4", resolution=128) as clip:
            total = sum(int(clip[i : i + 8].sum()) for i in range(0, len(clip), 8))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total > 0
    frame = 128 * 128 * 3
    assert peaks[1] < 1.05 * peaks[0] + frame and peaks[0] < 20 * frame


def test_frames_on_disk_hold_what_they_are_given_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frames = noise(7, 16, 24)
    with FramesOnDisk(iter(frames)) as kept:
        assert kept.shape == frames.shape and len(kept) == 7
        assert np.array_equal(kept[2:5], frames[2:5]) and np.array_equal(kept[::-2], frames[::-2])
        assert kept.hash() == FramesOnDisk(frames).hash() != FramesOnDisk(frames[:6]).hash()
    refused(lambda: FramesOnDisk([*frames, frames[0, :8]]), "frame 8 is 24×8 and the first 24×16")
    assert os.listdir(tmp_path) == []
    refused(lambda: FramesOnDisk([]), "at least one")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: open("/dev/full", "wb"))
    refused(lambda: FramesOnDisk(noise(1, 8, 8)), "TMPDIR", error=FailedError)
