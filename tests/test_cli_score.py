"""`t2vz score` as a user meets it: any kind of video in, a table or JSON out, one line for what is wrong."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from t2vz.video import Video
from t2vz.world import paint, sample_scene

SCENE = sample_scene(np.random.default_rng(12))


@pytest.fixture
def score(call):
    """`t2vz score`: exit code, stdout, stderr."""
    return lambda *words: call("score", *words)


@pytest.fixture
def folder(score, tmp_path):
    """A folder with one travelling scene as moving.mp4, moving.gif and moving/, and one picture."""
    large = paint(SCENE, 192)
    frames = np.stack([large[20:148, 20 + 4 * k : 148 + 4 * k] for k in range(4)])
    for name in ("moving.mp4", "moving.gif", "moving"):
        Video(frames).save(tmp_path / name)
    Video(frames[:1]).save(tmp_path / "one.gif")
    return tmp_path


@pytest.mark.parametrize("name", ["moving.mp4", "moving.gif", "moving"])
def test_every_kind_of_video_as_json(folder, score, name):
    code, out, err = score(name, "--prompt", SCENE.caption, "--motion", "16,0", "--json")
    assert code == 0 and not err
    found = json.loads(out)
    assert found["frames"] == 4 and found["motion"] == [16, 0]
    measures = found["measures"]
    assert measures["motion_x"] == pytest.approx(4, abs=0.1) and abs(measures["motion_y"]) < 0.1
    assert measures["motion_error"] < 0.2 and measures["clip_score"] > 50
    assert measures["consistency_next"] > 0.9 and measures["background_change"] is None


def test_table_says_what_is_missing(folder, score):
    code, out, err = score("moving.gif")
    assert code == 0 and not err
    assert "camera motion to the right" in out and "higher is better" in out
    for need in ("--prompt", "--motion", "--masks"):
        assert f"without {need}" in out
    code, out, _ = score("one.gif", "--prompt", "a red ball")
    assert code == 0 and "CLIP score" in out and "without a second frame" in out


def test_prompt_and_motion_from_the_run_file_beside(folder, score):
    run = {"command": "generate", "settings": {"prompt": "a red ball", "motion": [16.0, 0.0]}}
    (folder / "moving.json").write_text(json.dumps(run))
    for name in ("moving.gif", "moving"):
        code, out, err = score(name)
        assert code == 0 and "moving.json" in err
        assert "without --prompt" not in out and "without --motion" not in out
    found = json.loads(score("moving.gif", "--json", "--prompt", "a blue cat", "--motion", "-3,0")[1])
    assert found["prompt"] == "a blue cat" and found["motion"] == [-3, 0]
    (folder / "moving.json").write_text(json.dumps({**run, "motion_from": {"path": "pan.gif"}}))
    assert "without --motion" in score("moving.gif")[1]  # the clip's path was taken, not the setting
    for other in ({**run, "command": "edit"}, [], {"settings": 3}):
        (folder / "moving.json").write_text(json.dumps(other))
        assert "without --prompt" in score("moving.gif")[1]


def test_masks(folder, score):
    masks = np.zeros((4, 128, 128, 3), np.uint8)
    masks[:, 40:80, 40:80] = 255
    Video(masks).save(folder / "masks")
    found = json.loads(score("moving", "--masks", "masks", "--motion", "16,0", "--json")[1])
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
def test_wrong_use_is_one_line_and_exit_code_2(folder, refused, argv, words):
    (folder / "text.mp4").write_text("hello")
    Video(np.zeros((3, 8, 8, 3), np.uint8)).save(folder / "moving3")
    refused(["score", *argv], words)


def film(path, seed, step=4, count=4):
    """A painted scene seen through a travelling window, as a video; returns its caption."""
    scene = sample_scene(np.random.default_rng(seed))
    large = paint(scene, 128)
    Video(np.stack([large[10:74, 10 + step * k : 74 + step * k] for k in range(count)])).save(path)
    return scene.caption


@pytest.fixture
def two_sets(score, tmp_path):
    """ours/0.mp4 … 5.mp4 with run files, theirs/ with the same scenes, as folders of pictures, and twice the motion."""
    captions = []
    for k in range(6):
        captions.append(film(f"ours/{k}.mp4", k))
        film(f"theirs/{k}/", k, step=8)
        run = {"command": "generate", "settings": {"prompt": captions[-1], "motion": [16.0, 0.0]}}
        (tmp_path / f"ours/{k}.json").write_text(json.dumps(run))
    return captions


def test_sets_are_compared_pair_by_pair(two_sets, score):
    code, out, err = score("ours", "theirs", "--json", "--csv", "all.csv")
    assert code == 0 and "videos without a prompt (6) take that of their counterpart" in err
    found = json.loads(out)
    # each video as `t2vz score` measures it alone, and the means and differences of those numbers
    alone = [json.loads(score(f"theirs/{k}", "--prompt", two_sets[k], "--json")[1]) for k in range(6)]
    ours, theirs = ([video["measures"] for video in one["videos"]] for one in found["sets"])
    assert theirs == [one["measures"] for one in alone]
    for name in ("clip_score", "motion_x", "consistency_next"):
        first, second = found["compared"][name]
        assert second["mean"]["mean"] == pytest.approx(np.mean([one[name] for one in theirs]))
        difference = np.mean([b[name] - a[name] for a, b in zip(ours, theirs)])
        assert second["difference"]["mean"] == pytest.approx(difference) and first["difference"] is None
        assert second["difference"]["count"] == 6
        assert second["difference"]["low"] <= difference <= second["difference"]["high"]
    assert found["compared"]["motion_x"][1]["difference"]["mean"] == pytest.approx(4, abs=0.2)
    assert found["compared"]["motion_error"][1]["mean"] is None  # nobody said what motion theirs should have
    with open("all.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == [f"{k}.mp4" for k in range(6)] + [str(k) for k in range(6)]
    assert [float(row["clip_score"]) for row in rows] == [one["clip_score"] for one in ours + theirs]
    code, out, _ = score("ours", "theirs")
    assert code == 0 and "6 videos, 4 frames of 64×64" in out and "against ours, 6 pairs" in out


@pytest.mark.parametrize("name", ["prompts.txt", "comma.csv", "semicolon.csv", "prompts.tsv"])
def test_prompts_come_from_a_file(two_sets, tmp_path, score, name):
    prompts = [f"a blue thing, {k}" for k in range(6)]
    between = {"comma.csv": ",", "semicolon.csv": ";", "prompts.tsv": "\t"}.get(name)
    text = "\ufeff" + "".join(f"{prompt}\n\n" for prompt in prompts)
    if between:
        rows = [f'{k}.mp4{between}"{prompts[k]}"' for k in (3, 1, 2, 0, 4, 5)]
        text = "\n".join([f"video{between}prompt", *rows])
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = json.loads(score("ours", "--prompts", name, "--json")[1])
    assert [video["prompt"] for video in found["sets"][0]["videos"]] == prompts


def test_sets_without_common_names_are_paired_in_order_and_it_is_said(two_sets, score):
    for k in range(6):
        os.rename(f"theirs/{k}", f"theirs/video-{k + 7}")
    code, out, err = score("ours", "theirs")
    assert code == 0 and "paired in order" in err and "6 pairs" in out
    shutil.rmtree("theirs/video-12")
    Video(np.zeros((2, 32, 48, 3), np.uint8)).save("theirs/video-7/")
    code, out, err = score("ours", "theirs")
    assert code == 0 and "nothing is paired" in err and "against" not in out
    assert "5 videos, 2 to 4 frames" in out and "differ in size" in err


@pytest.mark.parametrize(
    "argv, words",
    [
        (["ours", "gone"], "no file or folder gone"),
        (["ours", "empty"], "empty holds no videos"),
        (["ours", "theirs", "--prompts", "gone.txt"], "cannot be read"),
        (["ours", "theirs", "--prompts", "two.txt"], "two.txt has 2 lines and ours 6 videos"),
        (["ours", "--prompts", "wrong.csv"], "video,prompt"),
        (["ours", "--prompts", "few.csv"], "few.csv has no prompt for ours/1.mp4"),
        (["ours", "theirs", "--prompts", "two.txt", "--prompt", "x"], "--prompts"),
        (["ours", "theirs", "--masks", "empty"], "single video"),
        (["ours", "theirs", "--csv", "two.txt"], "exists already"),
        (["ours", "other"], "and its counterpart"),
        (["ours", "twice"], "two videos that are named 0"),
    ],
)
def test_wrong_use_of_sets_is_one_line(two_sets, tmp_path, refused, argv, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "two.txt").write_text("a\nb\n")
    (tmp_path / "wrong.csv").write_text("name,text\n0.mp4,a\n")
    (tmp_path / "few.csv").write_text("video,prompt\n0,a\n")
    shutil.copytree("ours", "other")
    (tmp_path / "other/0.json").write_text(json.dumps({"settings": {"prompt": "another thing"}}))
    shutil.copytree("ours", "twice")
    shutil.copytree("theirs/0", "twice/0")
    refused(["score", *argv], words)
