"""What approximations cost and change, as studies measure it."""

import pytest
import torch
from tiny import tiny_sd

from t2vz import text_to_video
from t2vz.attention import VARIANTS
from t2vz.lab.make import Maker, keyed_trials
from t2vz.lab.measure import COSTS, latent_error, with_costs
from t2vz.lab.study import load_study, parse_study
from t2vz.motion import NOISES

STUDY = """
prompts = ["a red ball on a green meadow"]
seeds = [3]
{metrics}
[settings]
frames = 2
steps = 4
height = 32
width = 32
[variants.exact]
[variants.deep]
deep_cache = 2
"""
NAMED = 'metrics = ["latent_error", "cpu_seconds", "histogram_similarity"]'


@pytest.fixture
def sd(tmp_path):
    return tiny_sd(tmp_path)


def study_of(metrics):
    return parse_study(STUDY.format(metrics=metrics), "mine", "mine.toml")


def test_a_study_that_names_them_measures_costs_against_the_exact_video(sd, tmp_path):
    study = study_of(NAMED)
    maker = Maker(study, sd, None, {None: None})
    exact, deep = (maker(trial, tmp_path / trial.variant.name)["metrics"] for trial in study.trials())
    assert exact["latent_error"] == 0 and exact["cpu_seconds"] > 0 and "peak_memory" not in exact
    given = {"seed": 3, "steps": 4, "height": 32, "width": 32}
    videos = [text_to_video(sd, "a red ball on a green meadow", 2, **given, deep_cache=n).latents for n in (1, 2)]
    difference = ((videos[1] - videos[0]) ** 2).sum().sqrt() / (videos[0] ** 2).sum().sqrt()
    assert deep["latent_error"] == pytest.approx(float(difference), rel=1e-3) and float(difference) > 1e-4


def test_other_studies_have_none_of_them_and_their_runs_are_others(sd, tmp_path):
    study = study_of("")
    record = Maker(study, sd, None, {None: None})(next(study.trials()), tmp_path)
    assert not set(record["metrics"]) & set(COSTS)
    keys = [{key for key, _ in keyed_trials(s, {"weights": "ab"}, {None: None})} for s in (study, study_of(NAMED))]
    assert not keys[0] & keys[1]


def test_peak_memory_is_what_was_held_at_once():
    """64 MB are touched and given back; a little more or less is the allocator's."""
    _, cost = with_costs(lambda: torch.ones(2**24).sum(), torch.device("cpu"))
    if "peak_memory" not in cost:
        pytest.skip("this system does not tell a process's memory")
    assert 60 < cost["peak_memory"] < 120


def test_latent_error_is_relative(sd):
    video = text_to_video(sd, "a red ball", 2, steps=4, height=32, width=32)
    half = type(video)(video.frames, video.latents * 0.5, video.fps, {}, [])
    assert latent_error(half, video) == pytest.approx(0.5) and latent_error(video, video) == 0


def test_the_built_in_studies_have_every_attention_and_every_initial_noise():
    def words(study, name):
        return {trial.settings.get(name) for trial in load_study(study).trials()}

    assert words("attention", "attention") == set(VARIANTS)
    assert words("noise", "initial_noise") == set(NOISES)
    assert {0.125, 0.25} <= words("attention", "temporal_shift")
