"""One run of each task on tiny models: the very video the pipeline makes, its measures and costs; where it starts."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import UNET, randomize, tiny_edit_sd, tiny_sd

from t2vz import control_video, edit_video, text_to_video
from t2vz.conditions import edges
from t2vz.errors import FailedError, InputError
from t2vz.lab import make as make_module
from t2vz.lab import measure as measure_module
from t2vz.lab.make import Maker, keyed_trials
from t2vz.lab.measure import COSTS, find_foreground, latent_error, with_costs
from t2vz.lab.sources import read_sources
from t2vz.lab.study import parse_study
from t2vz.metrics import score_video
from t2vz.metrics.motion import asked_motion
from t2vz.unet import ControlNet, ControlNetConfig
from t2vz.video import Video, read_video
from t2vz.world import paint_clip, scene_from_words

COMMON = 'prompts = ["a red ball on a green meadow"]\nseeds = [3]\n'
GRID = '[grid]\nattention = ["own", "first"]\n'
NO_VIDEO = {None: None}  # of studies that start from noise
MODEL = {"weights": "ab", "dtype": "float32"}
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture
def sd(folder):
    return tiny_sd(folder)


def study_of(text):
    return parse_study(text, "mine", "mine.toml")


def same(video, other):
    return torch.allclose(video.latents, other.latents, atol=1e-5)


@pytest.fixture
def last_of(tmp_path, monkeypatch):
    """last_of(study, sd): the video of a study's last variant, and what `measure` was asked; it measures nothing."""

    def make(study, sd, sources=NO_VIDEO, controlnet=None):
        asked = SimpleNamespace()

        def spy(sd, clip, video, prompt, from_text):
            vars(asked).update(video=video, prompt=prompt, from_text=from_text)
            return {}

        monkeypatch.setattr(make_module, "measure", spy)
        record = Maker(study, sd, None, sources, controlnet)(list(study.trials())[-1], tmp_path)
        assert record["settings"] == asked.video.settings
        return asked

    return make


def test_text_to_video(sd, tmp_path, last_of):
    study = study_of(COMMON + "[settings]\nframes = 2\nsteps = 4\nheight = 64\nwidth = 48\nmotion = [60, 0]\n" + GRID)
    spy = last_of(study, sd)
    theirs = text_to_video(sd, "a red ball on a green meadow", 2, 4, seed=3, height=64, width=48, motion=(60, 0))
    assert same(spy.video, theirs) and spy.from_text and spy.prompt == "a red ball on a green meadow"
    assert read_video(tmp_path / "video.mp4").frames.shape == (2, 64, 48, 3)


def test_the_models_own_size_is_used_if_none_is_given(sd, last_of):
    study = study_of(COMMON + "[settings]\nframes = 2\nsteps = 2\n" + GRID)
    spy = last_of(study, sd)
    assert spy.video.frames.shape[1:3] == (sd.default_size, sd.default_size)


def test_control(sd, last_of):
    net = randomize(ControlNet(ControlNetConfig(**vars(UNET))), seed=9).eval().requires_grad_(False)
    study = study_of(
        COMMON + 'task = "control"\nvideos = ["example: a red ball in the snow"]\n[settings]\nsteps = 3\n'
        "control_scale = 0.7\n[clip]\nframes = 3\nresolution = 64\n" + GRID
    )
    sources = read_sources(study)
    clip = paint_clip(scene_from_words("a red ball in the snow", seed=0), 64, 3)[0]
    pictures = np.stack([edges(frame) for frame in clip])
    assert np.array_equal(sources["example: a red ball in the snow"].frames, pictures)
    spy = last_of(study, sd, sources, net)
    theirs = control_video(sd, "a red ball on a green meadow", pictures, net, steps=3, seed=3, control_scale=0.7)
    assert same(spy.video, theirs) and not spy.from_text and spy.prompt == "a red ball on a green meadow"


def test_edit(folder, tmp_path, last_of):
    sd = tiny_edit_sd(folder)
    Video(FRAMES, fps=5).save(tmp_path / "mine/")
    study = study_of(
        COMMON.replace("a red ball on a green meadow", "make the ball blue")
        + f'task = "edit"\nvideos = ["{tmp_path / "mine"}"]\n[settings]\nsteps = 3\nimage_scale = 1.3\n'
        "[clip]\nframes = 4\nresolution = 64\nfps = 6\n" + GRID
    )
    sources = read_sources(study)
    (source,) = sources.values()
    assert np.array_equal(source.frames, FRAMES[:4]) and source.fps == 6
    spy = last_of(study, sd, sources)
    theirs = edit_video(sd, FRAMES[:4], "make the ball blue", steps=3, image_scale=1.3, seed=3, fps=6)
    assert same(spy.video, theirs) and spy.prompt is None and spy.video.fps == 6  # the instruction describes no frame


def test_what_decides_a_run_is_in_its_hash():
    text = COMMON + "[settings]\nframes = 2\n" + GRID
    keys = [key for key, _ in keyed_trials(study_of(text), MODEL, NO_VIDEO)]
    assert len(set(keys)) == 2
    spelled_out = text.replace("frames = 2", "frames = 2\nguidance_scale = 7.5\nmotion = [12, 12.0]")
    assert [key for key, _ in keyed_trials(study_of(spelled_out), MODEL, NO_VIDEO)] == keys  # the defaults
    turned = text.replace('"own", "first"', '"first", "own"').replace("seeds = [3]", "seeds = [4, 3]")
    assert set(keys) < {key for key, _ in keyed_trials(study_of(turned), MODEL, NO_VIDEO)}  # another study's runs
    for other in ({**MODEL, "weights": "cd"}, {**MODEL, "dtype": "float64"}):
        assert not set(keys) & {key for key, _ in keyed_trials(study_of(text), other, NO_VIDEO)}


def test_a_source_is_known_by_its_pixels(tmp_path):
    text = COMMON + f'task = "edit"\nvideos = ["{tmp_path / "mine"}"]\n[clip]\nframes = 3\nresolution = 64\n' + GRID
    hashes = []
    for frames in (FRAMES, FRAMES, 255 - FRAMES):
        Video(frames).save(tmp_path / "mine/")
        (source,) = read_sources(study_of(text)).values()
        hashes.append(source.sha256)
    assert hashes[0] == hashes[1] != hashes[2]
    (tmp_path / "mine/notes.txt").write_text("no picture")
    assert "notes.txt" in next(iter(read_sources(study_of(text)).values())).notes[0]
    assert hashes[0] == hashlib.sha256(b"(3, 64, 64, 3) 4.0" + FRAMES[:3].tobytes()).hexdigest()


def test_what_is_left_out_is_the_checkpoints_own_default(sd, last_of):
    sd.defaults = {"generate": {"steps": 3, "t": 800, "t_prime": 700}}
    study = study_of(COMMON + "[settings]\nframes = 2\nt = 700\n" + GRID)
    spy = last_of(study, sd)
    assert [spy.video.settings[name] for name in ("steps", "t", "t_prime")] == [3, 700, 700]
    own, other = keyed_trials(study, MODEL, NO_VIDEO, sd.defaults), {"generate": {"t_prime": 690}}
    assert {key for key, _ in own}.isdisjoint(key for key, _ in keyed_trials(study, MODEL, NO_VIDEO, other))
    with pytest.raises(InputError, match='mine, variant "own": t_prime = 881 and t = 700'):
        keyed_trials(study, MODEL, NO_VIDEO)


@pytest.mark.parametrize("error", [InputError, FailedError])
def test_an_error_names_the_trial(sd, tmp_path, monkeypatch, error):
    def fails(*args, **options):
        raise error("not finite")

    monkeypatch.setattr(make_module, "measure", fails)
    study = study_of(COMMON + '[settings]\nframes = 1\nsteps = 1\nmotion = "off"\n' + GRID)
    with pytest.raises(error, match='first, "a red ball on a green meadow", seed 3: not finite'):
        Maker(study, sd, None, NO_VIDEO)(list(study.trials())[-1], tmp_path)


def test_measures_are_those_of_score_video_with_what_was_asked(sd, monkeypatch):
    masks = torch.zeros(3, 1, 64, 64)
    masks[:, :, 20:40] = 1
    monkeypatch.setattr(measure_module, "find_foreground", lambda sd, video: masks)
    for motion in ((100.0, 0.0), None):
        video = text_to_video(sd, "a red ball", 3, 3, height=64, width=64, motion=motion)
        found = measure_module.measure(sd, None, video, "a red ball", from_text=True)
        theirs = score_video(video.frames, None, "a red ball", motion or (0.0, 0.0), masks)
        assert found == {name: value for name, value in theirs.items() if value is not None}
        assert {"background_change", "motion_error"} <= set(found)
        assert "motion_error" not in measure_module.measure(sd, None, video, "a red ball", from_text=False)


def test_only_a_translation_has_a_motion_to_compare_with():
    still = {"zoom": 1.0, "rotation": 0.0, "height": 64, "width": 128, "flow_convention": "release"}
    settings = {**still, "motion": [3.0, 4.0]}
    assert asked_motion(settings) == (3.0, 4.0) and asked_motion({**settings, "motion": None}) == (0.0, 0.0)
    assert asked_motion({**settings, "flow_convention": "exact"}) == (3.0 * 4, 4.0 * 8)  # there in pixels
    assert asked_motion({**settings, "zoom": 1.1}) is asked_motion({**settings, "rotation": 2.0}) is None


def test_foreground_masks_cover_whole_cells_and_leave_a_background(sd, monkeypatch):
    video = text_to_video(sd, "a red ball on a green meadow", 3, 2, height=64, width=96)
    wanted = torch.zeros(3, 1, 8, 12)
    wanted[1, 0, 3, 5] = 1
    monkeypatch.setattr(measure_module, "foreground_from_attention", lambda *args: wanted)
    masks = find_foreground(sd, video)
    assert masks.shape == (3, 1, 64, 96) and set(masks.unique().tolist()) == {0.0, 1.0}
    assert masks[1, 0, 24:32, 40:48].all() and masks.sum() == 8 * 8  # one cell is 8 × 8 pixels
    monkeypatch.setattr(measure_module, "foreground_from_attention", lambda *args: torch.ones(3, 1, 8, 12))
    assert find_foreground(sd, video) is None


NAMED = 'metrics = ["latent_error", "cpu_seconds", "histogram_similarity"]\n'
APPROXIMATE = (
    "[settings]\nframes = 2\nsteps = 4\nheight = 32\nwidth = 32\n[variants.exact]\n[variants.deep]\ndeep_cache = 2\n"
)


def test_a_study_that_names_them_measures_costs_against_the_exact_video(sd, tmp_path):
    study = study_of(COMMON + NAMED + APPROXIMATE)
    maker = Maker(study, sd, None, NO_VIDEO)
    exact, deep = (maker(trial, tmp_path / trial.variant.name)["metrics"] for trial in study.trials())
    assert exact["latent_error"] == 0 and exact["cpu_seconds"] > 0 and "peak_memory" not in exact
    given = {"seed": 3, "steps": 4, "height": 32, "width": 32}
    videos = [text_to_video(sd, "a red ball on a green meadow", 2, **given, deep_cache=n).latents for n in (1, 2)]
    difference = ((videos[1] - videos[0]) ** 2).sum().sqrt() / (videos[0] ** 2).sum().sqrt()
    assert deep["latent_error"] == pytest.approx(float(difference), rel=1e-3) and float(difference) > 1e-4


def test_other_studies_have_none_of_them_and_their_runs_are_others(sd, tmp_path):
    studies = [study_of(COMMON + APPROXIMATE), study_of(COMMON + NAMED + APPROXIMATE)]
    record = Maker(studies[0], sd, None, NO_VIDEO)(next(studies[0].trials()), tmp_path)
    assert not set(record["metrics"]) & set(COSTS)
    keys = [{key for key, _ in keyed_trials(study, MODEL, NO_VIDEO)} for study in studies]
    assert not keys[0] & keys[1]


def test_peak_memory_is_what_was_held_at_once():
    """64 MB are touched and given back; a little more or less is the allocator's."""
    _, cost = with_costs(lambda: torch.ones(2**24).sum(), torch.device("cpu"))
    if "peak_memory" not in cost:
        pytest.skip("this system does not tell a process's memory")
    assert 60 < cost["peak_memory"] < 120


def test_latent_error_is_relative():
    video, half = (SimpleNamespace(latents=torch.full((2, 4, 4, 4), value)) for value in (1.0, 0.5))
    assert latent_error(half, video) == pytest.approx(0.5) and latent_error(video, video) == 0
