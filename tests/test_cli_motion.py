"""`t2vz generate --motion-from CLIP`, from the command line to the file."""

import json

import numpy as np
import pytest

from t2vz.cli import main
from t2vz.video import open_clip, write_frames
from t2vz.world import paint, scene_from_words

pytest.importorskip("cv2")
QUICK = ["a red car in the city", "--steps", "2", "--frames", "3", "--overwrite"]
WIDE = paint(scene_from_words("a blue house in the city", 3, "fine"), 256)


def pan(path, count: int = 5, step: int = 6):
    """A clip of 4 frames a second whose camera goes to the right."""
    write_frames(path, (WIDE[64:192, 32 + step * k : 160 + step * k] for k in range(count)), 4.0)
    return str(path)


def frames(path) -> np.ndarray:
    with open_clip(path) as clip:
        return clip[:]


def test_the_run_file_makes_the_same_video_again(tmp_path, capsys):
    clip, out, again = pan(tmp_path / "pan.gif"), tmp_path / "a.gif", tmp_path / "b.gif"
    assert main(["generate", *QUICK, "--motion-from", clip, "--out", str(out)]) == 0
    recorded = json.loads(out.with_suffix(".json").read_text())["motion_from"]
    assert recorded["path"] == clip and not recorded["dense"]
    assert main(["generate", "--from", str(out.with_suffix(".json")), "--out", str(again)]) == 0
    assert np.array_equal(frames(out), frames(again))
    assert main(["generate", *QUICK, "--out", str(again)]) == 0
    assert not np.array_equal(frames(out), frames(again))  # the clip does count
    assert main(["generate", *QUICK, "--motion-from", clip, "--dense", "--out", str(again)]) == 0
    pan(tmp_path / "pan.gif", step=4)
    capsys.readouterr()
    assert main(["generate", "--from", str(out.with_suffix(".json")), "--out", str(again), "--overwrite"]) == 0
    assert "has changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--motion-from", "CLIP", "--motion", "3,3"], "give one"),
        (["--dense"], "--dense goes with --motion-from"),
        (["--motion-from", "CLIP", "--frames", "9"], "enough for 5 frames"),
        (["--motion-from", "gone.mp4"], "gone.mp4"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, flags, words):
    clip = pan(tmp_path / "pan.gif")
    flags = [clip if flag == "CLIP" else flag for flag in flags]
    assert main(["generate", *QUICK, *flags, "--out", str(tmp_path / "a.gif")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "a.gif").exists()
