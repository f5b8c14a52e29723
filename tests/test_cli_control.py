"""`t2vz control` and `t2vz example` as a user meets them: what they write, and one line for all that goes wrong."""

import json
import os
import weakref
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_cli import TWO_STEPS, pictures
from tiny import UNET, randomize

from t2vz.checkpoints import save_part
from t2vz.commands.making import write_streamed
from t2vz.conditions import edges
from t2vz.model import StableDiffusion, load_controlnet
from t2vz.pipelines.control import control_video
from t2vz.unet.controlnet import ControlNet, ControlNetConfig
from t2vz.video import Video, read_video
from t2vz.world import Scene, paint_clip, scene_from_words

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def frames():
    """Five frames of a car that drives, 64×64."""
    return paint_clip(Scene("car", "blue", "snow", 1, "", seed=1), 64, 5)[0]


@pytest.fixture
def run(call, models, frames, tmp_path):
    """`t2vz control` in a folder that holds car/, the frames."""
    Video(frames).save(tmp_path / "car/")

    def run(*words, nets=("net",), weights="tiny", command="control"):
        named = ["--weights", models / weights] if weights else []
        return call(command, *words, *named, *(word for net in nets for word in ("--controlnet", models / net)))

    return run


def test_control_is_control_video_on_the_edges_of_every_frame(run, models, frames, tmp_path):
    settings = ["--seed", "3", "--scale", "0.5", "--control-end", "0.8", "--guidance-scale", "4"]
    files = ["--out", "kite/", "--save-control", "edges/", "--sheet", "--latents"]
    code, out, err = run("car", "a blue kite", *TWO_STEPS, *settings, *files, "--fps", "10")
    assert code == 0 and not err and out.count("\n") == 1 and "5 frames of 64×64" in out and "at 10 fps" in out
    there = ["car", "edges", "kite", "kite-latents.safetensors", "kite-sheet.png", "kite.json"]
    assert sorted(os.listdir(tmp_path)) == there
    followed = np.stack([edges(frame) for frame in frames])
    assert np.array_equal(pictures("edges"), followed)
    chosen = {"steps": 2, "seed": 3, "guidance_scale": 4, "control_scale": 0.5, "control_end": 0.8, "chunk": 8}
    net = load_controlnet(models / "net")
    video = control_video(StableDiffusion.load(models / "tiny"), "a blue kite", followed, net, **chosen)
    assert np.array_equal(pictures("kite"), video.frames)
    record = json.loads((tmp_path / "kite.json").read_text())
    assert record["command"] == "control" and record["settings"]["control_scale"] == [0.5]
    assert record["settings"]["fps"] == 10 and record["settings"]["frames"] == 5
    assert record["controls"][0]["kind"] == "edges" and len(record["controls"][0]["sha256"]) == 64


def test_the_chunk_changes_nothing_to_speak_of(run):
    for chunk in ("2", "5"):
        assert run("car", "a blue kite", *TWO_STEPS, "--chunk", chunk, "--out", f"{chunk}/")[0] == 0
    assert np.abs(pictures("2").astype(int) - pictures("5")).max() <= 1


def test_condition_pictures_come_ready_made(run):
    """Edges written and read again as they are, or as skeletons, give the video that finding them gives."""
    assert run("car", "a blue kite", *TWO_STEPS, "--out", "found/", "--save-control", "edges/")[0] == 0
    for kind in ("pose", "asis=edges"):
        out = kind.replace("=", "-") + "/"
        assert run("car" if "=" in kind else "edges", "a blue kite", *TWO_STEPS, "--with", kind, "--out", out)[0] == 0
        assert np.array_equal(pictures("found"), pictures(out))


def test_two_are_followed_at_once(run, models, frames):
    Video(frames[:, ::-1].copy()).save("other/")
    options = ["--with", "edges", "--with", "asis=other", "--scale", "0.5", "--scale", "1"]
    options += ["--save-control", "seen/", "--out", "two/"]
    assert run("car", "a blue kite", *TWO_STEPS, *options, nets=("net", "net2"))[0] == 0
    assert np.array_equal(pictures("seen-2"), frames[:, ::-1])
    followed = [np.stack([edges(frame) for frame in frames]), frames[:, ::-1]]
    nets = [load_controlnet(models / name) for name in ("net", "net2")]
    video = control_video(
        StableDiffusion.load(models / "tiny"), "a blue kite", followed, nets, steps=2, control_scale=[0.5, 1], chunk=8
    )
    assert np.array_equal(pictures("two"), video.frames)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["car", "x", "--start", "2", "--end", "1"], "must come later"),
        (["car", "x", "--resolution", "5"], "resolution = 5"),
        (["car", "x", "--with", "asis=short"], "short has 3 frames and car 5"),
        (["car", "x", "--with", "asis=gone"], "no file or folder gone"),
        (["car", "x", "--with", "colour"], "edges, pose, depth, asis"),
        (["car", "x", "--with", "asis="], "edges, pose, depth, asis"),
        (["car", "x", "--with", "edges", "--with", "pose"], "1 --controlnet for 2 --with"),
        (["car", "x", "--with", "depth"], "--depth-model"),
        (["car", "x", "--with", "depth", "--depth-model", "gone/"], "no depth-estimation model"),
        (["car", "x", "--with", "pose", "--pose-model", "gone/"], "no pose"),
        (["car", "x", "--edge-thresholds", "100"], "LOW,HIGH"),
        (["car", "x", "--scale", "-1"], "control_scale = (-1"),
        (["car", "x", "--scale", "1", "--scale", "2"], "2 numbers for 1 ControlNet"),
        (["car", "x", "--control-start", "0.9", "--control-end", "0.1"], "start < end"),
        (["car", "x", "--save-control", "edges.avi"], ".mp4"),
        (["car", "x", "--save-control", "e.mp4", "--out", "e.mp4"], "the video itself"),
        (["car", "x", "--fps", "60", "--out", "x.gif"], "at most 50"),
        (["car", "x", "--with", "depth", "--device", "cpu"], "reads edges"),  # the embedded ControlNet
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run, refused, models, frames, tmp_path, argv, words):
    Video(frames[:3]).save(tmp_path / "short/")
    nets = [] if "reads edges" in words else ["--controlnet", models / "net"]
    refused(["control", *argv, "--quiet", "--weights", models / "tiny", *nets], words)


def test_a_controlnet_of_another_model_is_refused_before_the_work(run, refused, models, tmp_path, monkeypatch):
    other = ControlNetConfig(**vars(replace(UNET, block_out_channels=(64, 64))), condition_out_channels=(8, 8, 8, 8))
    save_part(tmp_path / "wide", randomize(ControlNet(other), 0))
    monkeypatch.setattr("t2vz.conditions.condition_frames", lambda *args: pytest.fail("the work began"))
    words = ["control", "car", "x", "--quiet", "--weights", models / "tiny", "--controlnet", "wide"]
    refused(words, "does not fit the model")


def test_frames_are_written_as_they_are_made(tmp_path):
    """Of 60 frames never more than a few are alive, but for the 32 small ones of the sheet if one is asked for."""
    there, most = [], []

    def made():
        for k in range(60):
            frame = np.full((32, 32, 3), 4 * k, np.uint8)
            there.append(weakref.ref(frame))
            most.append(sum(one() is not None for one in there))
            yield frame

    args = Namespace(overwrite=False)
    write_streamed(args, {"video": tmp_path / "a.mp4"}, made(), 60, 10, "words")
    assert max(most) <= 4 and len(read_video(tmp_path / "a.mp4")) == 60
    most.clear(), there.clear()
    write_streamed(args, {"video": tmp_path / "b/", "sheet": tmp_path / "b.png"}, made(), 60, 10, "words")
    assert 32 <= max(most) <= 36 and Image.open(tmp_path / "b.png").width > 8 * 32


def test_example_draws_a_clip_and_says_what_to_do_with_it(run, tmp_path):
    code, out, err = run(command="example", weights=None, nets=())
    assert code == 0 and not err and "t2vz control example.mp4" in out and "t2vz edit example.mp4" in out
    video = read_video("example.mp4")
    assert video.frames.shape == (16, 256, 256, 3) and video.fps == 8
    words = ["a yellow kite over the city", "--out", "kite/", "--masks", "masks/", "--size", "48", "--frames", "3"]
    assert run(*words, command="example", weights=None, nets=())[0] == 0
    painted, masks = paint_clip(scene_from_words(words[0], 0), 48, 3)
    assert np.array_equal(pictures("kite"), painted) and np.array_equal(pictures("masks")[..., 0], masks)
    assert run(*words, "--seed", "1", "--overwrite", command="example", weights=None, nets=())[0] == 0
    assert not np.array_equal(pictures("kite"), painted)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["a dragon on a meadow"], "can draw"),
        (["a red ball"], "no place"),
        (["--frames", "1"], "at least 2"),
        (["--size", "4"], "size 4"),
        (["--fps", "0"], "fps is 0"),
        (["--seed", "-1"], "seeds are not negative"),
        (["--out", "x.avi"], ".mp4"),
        (["--out", "here.mp4"], "exists already"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(refused, tmp_path, argv, words):
    (tmp_path / "here.mp4").write_text("precious")
    refused(["example", *argv], words)
