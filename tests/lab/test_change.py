"""The task "change": a trial by either method, and what its prompt has to say."""

import shutil

import numpy as np
import pytest

from t2vz.errors import InputError
from t2vz.lab.change import ChangeSettings, caption_of, tuned_on
from t2vz.lab.sources import SourceVideo
from t2vz.lab.tasks import TASKS
from t2vz.model import StableDiffusion
from t2vz.pipelines.edit import edit_video

PROMPT = "make it blue => a blue ball"
GIVEN = {"prompt": PROMPT, "seed": 0, "steps": 2, "source_prompt": "a red ball", "tune_steps": 2}


@pytest.fixture(scope="module")
def sd(models, tmp_path_factory):
    """A tiny edit model whose text-to-image model lies at the same path."""
    folder = tmp_path_factory.mktemp("pair")
    shutil.copytree(models / "tiny", folder / "mine")
    shutil.copytree(models / "edit/unet", folder / "mine-edit/unet")
    return StableDiffusion.load(folder / "mine", edit=True)


@pytest.fixture(scope="module")
def source():
    frames = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return SourceVideo(frames, 4.0, "sha", [])


def test_an_instruction_is_followed_as_edit_video_does(sd, source):
    made = TASKS["change"].make(sd, {**GIVEN, "attention": "own"}, source)
    edited = edit_video(sd, source.frames, "make it blue", steps=2, attention="own", fps=4.0)
    np.testing.assert_array_equal(made.frames, edited.frames)
    assert made.settings["method"] == "instruct" and made.settings["prompt"] == PROMPT


def test_a_model_is_tuned_once_for_each_seed_and_source(sd, source):
    task = TASKS["change"]
    first = task.make(sd, {**GIVEN, "method": "tune"}, source)
    assert any("tuned in 2 steps" in note for note in first.notes)
    other = task.make(sd, {**GIVEN, "method": "tune", "prompt": "make it green => a green ball"}, source)
    assert tuned_on.cache_info().misses == 1 and (other.frames != first.frames).any()
    task.make(sd, {**GIVEN, "method": "tune", "seed": 1}, source)
    assert tuned_on.cache_info().misses == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "make it blue"}, "an instruction and what the video shows then"),
        ({"prompt": "=> a blue ball"}, "an instruction and what the video shows then"),
        ({"method": "tune", "source_prompt": ""}, "source_prompt is needed"),
        ({"method": "train"}, 'method "train" does not exist'),
    ],
)
def test_bad_settings_are_one_line(change, words):
    with pytest.raises(InputError, match=words):
        ChangeSettings.from_dict({**GIVEN, **change})


def test_the_caption_is_what_stands_after_the_arrow():
    assert caption_of(PROMPT) == "a blue ball" and TASKS["change"].edits and not TASKS["generate"].edits
