"""`t2vz edit` as a user meets it: what it writes, what it reads, and one line for all that goes wrong."""

import json
import os

import numpy as np
import pytest
from test_cli import TWO_STEPS, pictures

from t2vz.model import StableDiffusion
from t2vz.pipelines.edit import edit_video
from t2vz.video import Video


@pytest.fixture(scope="module")
def frames():
    """Five frames of coarse noise, 64×64."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture
def run(call, models, frames, tmp_path):
    """`t2vz edit` in a folder that holds noise/, the frames."""
    Video(frames).save(tmp_path / "noise/")

    def run(*words, weights="edit", command="edit"):
        return call(command, *words, *(["--weights", models / weights] if weights else []))

    return run


def test_edit_is_edit_video_on_every_frame(run, models, frames, tmp_path):
    chosen = ["--seed", "3", "--image-scale", "1.5", "--guidance-scale", "4", "--sampler", "ddim"]
    files = ["--out", "blue/", "--sheet", "--latents"]
    code, out, err = run("noise", "make it blue", *TWO_STEPS, *chosen, *files, "--fps", "10")
    assert code == 0 and not err and out.count("\n") == 1 and "5 frames of 64×64" in out and "at 10 fps" in out
    assert sorted(os.listdir(tmp_path)) == ["blue", "blue-latents.safetensors", "blue-sheet.png", "blue.json", "noise"]
    sd = StableDiffusion.load(models / "edit", edit=True)
    video = edit_video(sd, frames, "make it blue", 2, 4, 1.5, seed=3, sampler="ddim", chunk=8)
    assert np.array_equal(pictures("blue"), video.frames)
    record = json.loads((tmp_path / "blue.json").read_text())
    assert record["command"] == "edit" and record["settings"]["prompt"] == "make it blue"
    assert record["settings"]["image_scale"] == 1.5 and record["settings"]["fps"] == 10
    assert record["video"]["frames"] == 5 and len(record["weights"]["sha256"]) == 64


@pytest.mark.parametrize(
    "argv, words",
    [
        (["noise", " "], "the instruction is empty"),
        (["noise", "x", "--image-scale", "-1"], "image_scale = -1"),
        (["noise", "x", "--sampler", "dpm"], "euler_ancestral, ddim"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run, refused, models, argv, words):
    refused(["edit", *argv, "--quiet", "--weights", models / "edit"], words)


@pytest.mark.parametrize(
    "command, weights, argv, words",
    [("edit", "tiny", ["noise", "make it blue"], "t2vz generate"), ("generate", "edit", ["a blue kite"], "t2vz edit")],
)
def test_a_model_of_the_other_kind_is_sent_to_its_command(run, refused, models, command, weights, argv, words):
    refused([command, *argv, "--quiet", "--weights", models / weights], words)
