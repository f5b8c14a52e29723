"""Tune-A-Video: what learns, that it learns, the inversion's round trip, and the video that is made again."""

import numpy as np
import pytest
import torch
from tiny import random, refused, tiny_edit_sd, tiny_sd, tiny_tokenizer

from t2vz.checkpoints import save_folder
from t2vz.errors import FailedError
from t2vz.model import StableDiffusion
from t2vz.pipelines.denoise import denoise, invert
from t2vz.pipelines.settings import Settings, TuneSettings
from t2vz.pipelines.text_to_video import generate, text_job, text_to_video
from t2vz.pipelines.tune import tune

PROMPT = "a red ball on a green meadow"
SETTINGS = TuneSettings(PROMPT, steps=12, learning_rate=3e-3, inversion_steps=4)


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("tiny"), torch.float64)


@pytest.fixture(scope="module")
def video():
    """Three frames of coarse noise, 64×64."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def tuned(sd, video):
    """A tuned model, and the loss of each step."""
    losses = []
    return tune(sd, video, SETTINGS, on_loss=losses.append), losses


def test_queries_and_temporal_attention_learn_and_nothing_else(sd, tuned):
    before, after = sd.unet.state_dict(), tuned[0].unet.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith(("attn1.to_q.weight", "attn2.to_q.weight"))}
    new = after.keys() - before.keys()
    parts = {name.split(".")[-3 if "to_out" in name else -2] for name in new}
    assert parts == {"to_q", "to_k", "to_v", "to_out", "norm_temp"}
    out = [after[name] for name in new if name.endswith("to_out.0.weight")]
    assert out and all((weight != 0).any() for weight in out)  # they began at zero
    assert all(not value.requires_grad for value in tuned[0].unet.parameters())


def test_tuning_lowers_the_loss(sd, video):
    """On the same noise: the steps' own losses are of different timesteps."""
    losses = []
    for steps in (1, 60):  # the first step's loss is the untuned model's, for the same seed draws the same noise
        found = []
        tune(sd, video, TuneSettings(PROMPT, steps=steps, learning_rate=3e-3, inversion_steps=1), on_loss=found.append)
        losses.append(found)
    assert losses[0][0] == losses[1][0]
    assert np.mean(losses[1][-20:]) < 0.9 * np.mean(losses[1][:20])


def test_the_same_seed_tunes_alike_and_another_does_not(sd, video, tuned):
    losses = []
    for seed in (0, 1):
        found = []
        settings = TuneSettings(PROMPT, steps=2, learning_rate=3e-3, inversion_steps=1, seed=seed)
        tune(sd, video, settings, on_loss=found.append)
        losses.append(found)
    assert losses[0] == tuned[1][:2] != losses[1]


def test_inversion_leads_back(sd):
    """E17 along the grid, then E3: nearer to where it began the more steps there are, for a prediction that bends."""

    def eps(x, t):
        return torch.tanh(x) * (t / 1000)

    x_0 = random(3, 4, 2, 2, seed=7).double()
    errors = []
    for steps in (10, 100, 1000):
        x_T = invert(eps, x_0, steps, sd.schedule)
        *_, last = denoise(eps, x_T, sd.schedule.timesteps(steps), steps, sd.schedule)
        errors.append((last.x_s - x_0).abs().max().item())
    assert errors[1] < errors[0] / 5 and errors[2] < errors[1] / 5 and errors[2] < 0.01


def test_with_noise_known_exactly_the_round_trip_is_exact(sd):
    noise = random(3, 4, 2, 2, seed=1).double()
    x_0 = random(3, 4, 2, 2, seed=2).double()
    x_T = invert(lambda x, t: noise, x_0, 5, sd.schedule)
    *_, last = denoise(lambda x, t: noise, x_T, sd.schedule.timesteps(5), 5, sd.schedule)
    torch.testing.assert_close(last.x_s, x_0, atol=1e-12, rtol=0)


def test_the_tuned_model_starts_from_the_inverted_video(sd, video, tuned):
    model, _ = tuned
    settings = Settings.for_model(model, prompt=PROMPT, guidance_scale=1.0)
    assert (settings.frames, settings.motion, settings.attention) == (3, None, "first_previous")
    assert settings.initial_noise == "inverted" and settings.steps == 4
    seen = []
    video = text_to_video(model, PROMPT, guidance_scale=1.0, on_step=seen.append)  # its defaults are the model's
    assert Settings.from_dict(video.settings) == settings
    assert torch.equal(seen[0].x_t, model.inverted.double())
    assert model.inverted.shape == (3, 4, 8, 8) and sd.inverted is None


def test_a_folder_of_it_makes_the_same_video(tuned, tmp_path):
    model, _ = tuned
    words = tiny_tokenizer(tmp_path / "words")
    networks = model.unet, model.vae, model.text_encoder
    facts = {"defaults": model.defaults, "inverted": model.inverted}
    save_folder(tmp_path / "tuned", *networks, words, dtype=torch.float64, **facts)
    loaded = StableDiffusion.load(tmp_path / "tuned", torch.float64)
    assert loaded.unet.config.temporal_attention
    one, other = (generate(each, Settings.for_model(each, prompt="a blue kite")) for each in (model, loaded))
    torch.testing.assert_close(one.latents, other.latents, atol=1e-6, rtol=0)  # the inverted video is in float32


def test_chunks_are_ignored_with_a_note(tuned):
    settings = Settings.for_model(tuned[0], prompt=PROMPT)
    whole = generate(tuned[0], settings)
    parts = generate(tuned[0], Settings.from_dict({**settings.to_dict(), "chunk": 1}))
    assert torch.equal(whole.latents, parts.latents) and any("temporal attention" in note for note in parts.notes)


@pytest.mark.parametrize(
    ("change", "words"), [({"frames": 2}, "was tuned on 3 frames of 64×64"), ({"width": 72}, "72×64 were asked for")]
)
def test_another_size_than_the_video_s_is_refused(tuned, change, words):
    settings = Settings.for_model(tuned[0], prompt=PROMPT).to_dict()
    refused(lambda: text_job(tuned[0], Settings.from_dict({**settings, **change})), words)


def test_what_cannot_be_tuned_is_refused(sd, video, tuned, tmp_path):
    refused(lambda: tune(tiny_edit_sd(tmp_path), video, SETTINGS), "edits videos")
    refused(lambda: tune(tuned[0], video, SETTINGS), "was tuned on a video before")
    refused(lambda: tune(tiny_sd(tmp_path, torch.bfloat16), video, SETTINGS), "load the model in float32")
    refused(lambda: tune(sd, video[:1], SETTINGS), "at least 2")
    refused(lambda: tune(sd, "clip.mp4", SETTINGS), "the source video is a str; give its frames")
    refused(lambda: tune("weights", video, SETTINGS), "sd is a str; StableDiffusion.load")
    refused(lambda: tune(sd, video, PROMPT), "settings is a str; TuneSettings")
    refused(
        lambda: text_job(sd, Settings(PROMPT, motion=None, initial_noise="inverted")), '"inverted" is for models tuned'
    )


def test_a_loss_that_is_no_number_stops_at_once(sd, video):
    with pytest.raises(FailedError, match="smaller --learning-rate"):
        tune(sd, video, TuneSettings(PROMPT, steps=50, learning_rate=1e30, inversion_steps=1))
