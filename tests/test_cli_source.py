"""What `t2vz control` and `t2vz edit` share: a video that comes in, and a run file that names it."""

import json
import os

import numpy as np
import pytest
from test_cli import TWO_STEPS, pictures

from t2vz.video import FramesOnDisk, Video, read_video

COARSE = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
FRAMES = COARSE.repeat(8, axis=1).repeat(8, axis=2)  # ten frames, 64×64
ALOUD = [word for word in TWO_STEPS if word != "--quiet"]
OWN = {  # flags of one command alone, and where the run file has them
    "control": (["--edge-thresholds", "20,60", "--scale", "0.7"], "control_scale", [0.7]),
    "edit": (["--image-scale", "1.5"], "image_scale", 1.5),
}


@pytest.fixture(params=OWN)
def command(request):
    if request.param == "control":
        pytest.importorskip("cv2")
    return request.param


@pytest.fixture
def run(command, call, models, tmp_path):
    """The command with tiny models, in a folder that holds noise/, five frames."""
    Video(FRAMES[:5]).save(tmp_path / "noise/")
    model = {"control": ["--weights", models / "tiny", "--controlnet", models / "net"]}
    return lambda *words: call(command, *words, *model.get(command, ["--weights", models / "edit"]))


def test_what_cannot_be_read_is_one_line(command, refused, tmp_path):
    Video(FRAMES[:1]).save(tmp_path / "still.mp4")
    refused([command, "gone.mp4", "x"], "no file or folder gone.mp4")
    refused([command, "still.mp4", "x"], "a single frame")
    refused([command], "give a prompt after the video")
    refused([command, "still.mp4"], "give a prompt after the video")


def test_memory_does_not_grow_with_the_video(command, run, tmp_path, monkeypatch):
    """No more frames are read at once than a chunk holds, however long the video."""
    asked, read = [], FramesOnDisk.__getitem__

    def watched(self, which):
        found = read(self, which)
        asked.append(len(found) if isinstance(which, slice) else 1)
        return found

    monkeypatch.setattr(FramesOnDisk, "__getitem__", watched)
    Video(FRAMES).save(tmp_path / "long/")
    flags = "--steps 1 --quiet --chunk 3 --out kite/ --device cpu".split()
    code, _, err = run("long", "a blue kite", *flags)
    assert code == 0 and max(asked) == {"control": 3, "edit": 1}[command] and len(pictures("kite")) == 10, err


def test_count_rate_and_duration_are_kept(run):
    """An MP4 of odd size at an odd rate, in pieces: as many frames as fast."""
    Video(FRAMES[:, :53, :61], fps=30000 / 1001).save("odd.mp4")
    code, _, err = run("odd.mp4", "a blue kite", *ALOUD, "--chunk", "3", "--out", "kite.mp4")
    assert code == 0 and "odd.mp4 is 62×54; worked on at 64×56" in err and "10 frames of 64×56" in err
    assert "of odd.mp4" in err
    video = read_video("kite.mp4")
    assert len(video) == 10 and video.fps == pytest.approx(30000 / 1001) and video.frames.shape[1:] == (56, 64, 3)


def test_times_rates_and_sizes_are_said_and_done(run):
    Video(FRAMES.repeat(2, axis=0)[:, :40], fps=20).save("wide.mp4")
    flags = "--out kite.mp4 --start 0.2 --end 0.8 --fps 10 --resolution 128".split()
    code, _, err = run("wide.mp4", "a blue kite", *ALOUD, *flags)
    assert code == 0 and "wide.mp4 is 64×40; worked on at 128×80" in err and "6 frames of 128×80" in err
    video = read_video("kite.mp4")
    assert len(video) == 6 and video.frames.shape[1:] == (80, 128, 3) and video.fps == 10


def test_a_run_file_makes_the_same_video_again(command, run, done, refused, tmp_path):
    own, name, value = OWN[command]
    assert run("noise", "make it blue", *TWO_STEPS, "--seed", "5", "--end", "1", *own, "--out", "first/")[0] == 0
    done(command, "--from", "first.json", "--quiet", "--out", "again/")
    assert len(pictures("first")) == 4 and np.array_equal(pictures("first"), pictures("again"))
    done(command, "--from", "first.json", "--quiet", "--attention", "own", "--out", "other/")
    assert not np.array_equal(pictures("first")[1:], pictures("other")[1:])
    settings = json.loads((tmp_path / "other.json").read_text())["settings"]
    assert settings["seed"] == 5 and settings[name] == value
    refused(["generate", "--from", "first.json", "--out", "x.mp4"], f"t2vz {command}")
    os.rename("noise", "moved")
    refused([command, "--from", "first.json", "--out", "x/"], "is gone")
    Video(FRAMES[5:]).save("moved/")
    assert "other frames than those of first.json" in done(command, "moved", "--from", "first.json", "--out", "x/")[1]
