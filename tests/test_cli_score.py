"""`t2vz score` as a user meets it: any kind of video in, a table or JSON out, one line for what is wrong."""

import json
import os

import numpy as np
import pytest

from t2vz.cli import main
from t2vz.video import Video
from t2vz.world import paint, sample_scene

SCENE = sample_scene(np.random.default_rng(12))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one travelling scene as moving.mp4, moving.gif and moving/, and one picture."""
    large = paint(SCENE, 192)
    frames = np.stack([large[20:148, 20 + 4 * k : 148 + 4 * k] for k in range(4)])
    for name in ("moving.mp4", "moving.gif", "moving"):
        Video(frames).save(tmp_path / name)
    Video(frames[:1]).save(tmp_path / "one.gif")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def score(capsys, *argv):
    try:
        code = main(["score", *argv])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", ["moving.mp4", "moving.gif", "moving"])
def test_every_kind_of_video_as_json(folder, capsys, name):
    code, out, err = score(capsys, name, "--prompt", SCENE.caption, "--motion", "16,0", "--json")
    assert code == 0 and not err
    found = json.loads(out)
    assert found["frames"] == 4 and found["motion"] == [16, 0]
    measures = found["measures"]
    assert measures["motion_x"] == pytest.approx(4, abs=0.1) and abs(measures["motion_y"]) < 0.1
    assert measures["motion_error"] < 0.2 and measures["clip_score"] > 50
    assert measures["consistency_next"] > 0.9 and measures["background_change"] is None


def test_table_says_what_is_missing(folder, capsys):
    code, out, err = score(capsys, "moving.gif")
    assert code == 0 and not err
    assert "camera motion to the right" in out and "higher is better" in out
    for need in ("--prompt", "--motion", "--masks"):
        assert f"without {need}" in out
    code, out, _ = score(capsys, "one.gif", "--prompt", "a red ball")
    assert code == 0 and "CLIP score" in out and "without a second frame" in out


def test_prompt_and_motion_from_the_run_file_beside(folder, capsys):
    run = {"command": "generate", "settings": {"prompt": "a red ball", "motion": [16.0, 0.0]}}
    (folder / "moving.json").write_text(json.dumps(run))
    for name in ("moving.gif", "moving"):
        code, out, err = score(capsys, name)
        assert code == 0 and "moving.json" in err
        assert "without --prompt" not in out and "without --motion" not in out
    found = json.loads(score(capsys, "moving.gif", "--json", "--prompt", "a blue cat", "--motion", "-3,0")[1])
    assert found["prompt"] == "a blue cat" and found["motion"] == [-3, 0]
    for other in ({**run, "command": "edit"}, [], {"settings": 3}):
        (folder / "moving.json").write_text(json.dumps(other))
        assert "without --prompt" in score(capsys, "moving.gif")[1]


def test_masks(folder, capsys):
    masks = np.zeros((4, 128, 128, 3), np.uint8)
    masks[:, 40:80, 40:80] = 255
    Video(masks).save(folder / "masks")
    found = json.loads(score(capsys, "moving", "--masks", "masks", "--motion", "16,0", "--json")[1])
    assert found["measures"]["background_change"] < 1e-6


@pytest.mark.parametrize(
    "argv, words",
    [
        (["nothing.mp4"], "no file or folder"),
        (["text.mp4"], "not a video"),
        (["moving.gif", "--masks", "one.gif", "--clip", "nowhere/at/all"], "nowhere/at/all"),
        (["moving.gif", "--masks", "moving3"], "3 masks for 4 frames"),
        (["moving.gif", "--motion", "3"], "DX,DY"),
        (["moving.gif", "--device", "abacus"], "abacus"),
        ([], "VIDEO"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(folder, capsys, argv, words):
    (folder / "text.mp4").write_text("hello")
    Video(np.zeros((3, 8, 8, 3), np.uint8)).save(folder / "moving3")
    before = sorted(os.listdir(folder))
    code, out, err = score(capsys, *argv)
    assert code == 2 and words in err and err.count("\n") == 1 and not out
    assert sorted(os.listdir(folder)) == before
