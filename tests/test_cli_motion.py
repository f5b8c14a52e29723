"""`t2vz generate --motion-from CLIP`, from the command line to the file."""

import json

import numpy as np
import pytest

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


def test_the_run_file_makes_the_same_video_again(call, tmp_path):
    clip = pan(tmp_path / "pan.gif")
    assert call("generate", *QUICK, "--motion-from", clip, "--out", "a.gif")[0] == 0
    recorded = json.loads((tmp_path / "a.json").read_text())["motion_from"]
    assert recorded["path"] == clip and not recorded["dense"]
    assert call("generate", "--from", "a.json", "--out", "b.gif")[0] == 0
    assert np.array_equal(frames("a.gif"), frames("b.gif"))
    assert call("generate", *QUICK, "--out", "b.gif")[0] == 0
    assert not np.array_equal(frames("a.gif"), frames("b.gif"))  # the clip does count
    assert call("generate", *QUICK, "--motion-from", clip, "--dense", "--out", "b.gif")[0] == 0
    pan(tmp_path / "pan.gif", step=4)
    code, _, err = call("generate", "--from", "a.json", "--out", "b.gif", "--overwrite")
    assert code == 0 and "has changed since" in err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--motion-from", "pan.gif", "--motion", "3,3"], "give one"),
        (["--dense"], "--dense goes with --motion-from"),
        (["--motion-from", "pan.gif", "--frames", "9"], "enough for 5 frames"),
        (["--motion-from", "gone.mp4"], "gone.mp4"),
    ],
)
def test_bad_input_is_one_line(refused, tmp_path, flags, words):
    pan(tmp_path / "pan.gif")
    refused(["generate", *QUICK, "--quiet", *flags], words)
