"""`t2vz tune` as a user meets it: the folder it leaves, and one line for all that goes wrong."""

import json

import numpy as np
import pytest

from t2vz.video import Video

FAST = ["--steps", "2", "--inversion-steps", "2", "--quiet", "--device", "cpu", "--resolution", "64"]


@pytest.fixture(autouse=True)
def noise(tmp_path):
    """The tests' folder holds noise/, three frames."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    Video(coarse.repeat(8, axis=1).repeat(8, axis=2)).save(tmp_path / "noise/")


def test_tuned_folder_makes_videos(done, refused, models, tmp_path):
    out, _ = done("tune", "noise", "a red ball", "--out", "tuned", *FAST, "--weights", models / "tiny")
    assert out.startswith("tuned: tuned on 3 frames of 64×64 in 2 steps")
    done("generate", "a blue kite", "--out", "kite/", "--quiet", "--device", "cpu", "--weights", "tuned")
    settings = json.loads((tmp_path / "kite.json").read_text(encoding="utf-8"))["settings"]
    assert settings["initial_noise"] == "inverted" and settings["frames"] == 3 and settings["steps"] == 2
    assert len(list((tmp_path / "kite").glob("*.png"))) == 3
    done("weights", "export", "again", "--quiet", "--weights", "tuned")
    for name in ("inverted.safetensors", "defaults.json", "unet/config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "tuned" / name).read_bytes()
    refused(["weights", "export", "one.safetensors", "--quiet", "--weights", "tuned"], "kept as a folder")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("noise", "a red ball"), "--out tuned"),
        (("noise", "--out", "tuned"), "give a prompt after the video"),
        (("nowhere.mp4", "a red ball", "--out", "tuned"), "nowhere.mp4"),
        (("noise", "a red ball", "--out", "noise"), "exists already"),
        (("noise", "a red ball", "--out", "noise", "--overwrite"), "holds other files"),
        (("noise", "a red ball", "--out", "x.safetensors"), "a tuned model is a folder"),
        (("noise", "a red ball", "--out", "tuned", "--learning-rate", "0"), "learning_rate = 0"),
        (("noise", "a red ball", "--out", "tuned", "--steps", "0"), "steps = 0"),
        (("noise", "a red ball", "--out", "tuned", "--dtype", "bfloat16"), "float32"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(refused, models, argv, words):
    refused(["tune", *argv, *FAST[2:], "--weights", models / "tiny"], words)
