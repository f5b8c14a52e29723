"""Settings: what is impossible is refused with the value seen, what is possible survives a trip through JSON, and
what is left out is the checkpoint's own default, else the paper's."""

import inspect
import json
import re
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import refused

from t2vz import control_video, edit_video, text_to_video
from t2vz.attention import VARIANTS
from t2vz.motion import NOISES
from t2vz.motion.flow import CONVENTIONS as FLOWS
from t2vz.motion.smoothing import CONVENTIONS as BACKGROUNDS
from t2vz.pipelines import settings as declarations
from t2vz.pipelines.settings import TASKS, ControlSettings, EditSettings, Settings, in_words
from t2vz.pipelines.values import check_side, declared
from t2vz.schedulers.schedule import CONVENTIONS as JUMPS

NAN, INF = float("nan"), float("inf")


IMPOSSIBLE = {  # setting -> values that the message names
    "frames": [0, -1, 2.5, True, None],
    "steps": [0, 1.5],
    "chunk": [0, -4, 1.0],
    "seed": [-1, 2**64, 0.5, None],
    "height": [500, -8, 4104],
    "width": [7, 0, 512.0],
    "t_prime": [950, -1, None],
    "t": [880, 941.5, 1000],
    "guidance_scale": [-0.1, NAN, INF],
    "eta": [1.1, -0.1, NAN],
    "smooth_background": [1.5, -0.5, NAN],
    "zoom": [0.0, -1.0, NAN],
    "rotation": [INF],
    "fps": [0.0, NAN],
    "motion": [(NAN, 1.0), (1.0, INF), (1.0, 2.0, 3.0), 12.0, ("a", "b")],
    "attention": ["frist"],
    "initial_noise": ["white"],
    "noise_strength": [-1.0, NAN],
    "jump_convention": ["papr"],
    "flow_convention": ["rel"],
    "background_convention": ["p"],
    "negative_prompt": [None],
}


@pytest.mark.parametrize(
    "name, value, said",
    [
        *((name, value, str(value)) for name, values in IMPOSSIBLE.items() for value in values),
        *((name, "8", f"{name} = '8': a ") for name in ("frames", "guidance_scale", "width")),
        ("motion", np.ones(3), "motion = [1.0, 1.0, 1.0]: (δ_x, δ_y)"),
        ("prompt", "", "empty"),
        ("prompt", "  \n", "empty"),
        ("prompt", None, "empty"),
        ("prompt", ["a red ball"], "in one str"),
        ("prompt", "caf\udce9", "no valid UTF-8 (from letter 4 on)"),
        ("negative_prompt", "\udcff", "UTF-8"),
        ("foreground", "", "no word"),
        ("foreground", (), "no word"),
    ],
)
def test_an_impossible_value_is_refused_and_named_in_one_line(name, value, said):
    refused(lambda: Settings(**{"prompt": "a red ball", name: value}), re.escape(said))


def test_what_only_works_together_is_checked_together():
    refused(lambda: Settings("a", motion=None, initial_noise="residual", noise_strength=1.5), "1.5")
    refused(lambda: Settings("a", initial_noise="mixed"), "motion off")
    for camera in ({"zoom": 1.1}, {"rotation": 5.0}):
        refused(lambda: Settings("a", motion=None, **camera), "motion is off")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"motion": None, "initial_noise": "mixed", "noise_strength": 2.5},
        {"foreground": ("red", "ball"), "smooth_background": 0.6},
        {"chunk": 1, "zoom": 1.02, "rotation": -3.0, "motion": (0.0, -7.5)},
        {"seed": 2**64 - 1, "height": 8, "width": 4096},
        {"t": 0, "t_prime": 0},
        {"t": 500, "t_prime": 500},
        {"guidance_scale": 0, "eta": 1, "smooth_background": 1, "frames": 1, "steps": 1},
        *({"attention": variant} for variant in VARIANTS),
        *({"motion": None, "initial_noise": noise} for noise in NOISES),
    ],
)
def test_settings_survive_json(changes):
    settings = Settings("ein Fußball ⚽", negative_prompt="grey", **changes)
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert all(getattr(settings, name) == value for name, value in changes.items())


@pytest.mark.parametrize("numbers", [np.array([12, -3]), torch.tensor([12.0, -3.0])])
def test_arrays_and_tensors_of_two_numbers_are_a_motion(numbers):
    assert Settings("a", motion=numbers) == Settings("a", motion=(12.0, -3.0))


@pytest.mark.parametrize(
    "function, settings, decided",
    [
        (text_to_video, Settings, ()),
        (control_video, ControlSettings, ("frames", "fps")),
        (edit_video, EditSettings, ("prompt", "frames", "height", "width", "fps")),
    ],
)
def test_every_setting_is_an_argument_by_name_and_no_other_is_swallowed(function, settings, decided):
    """In the signature, or in `more`; its default is the declared one, or the checkpoint's own where that may be."""
    sd, signature = SimpleNamespace(defaults={}, default_size=64), inspect.signature(function).parameters
    arguments = {name: one.default for name, one in signature.items()} | {"sd": sd, "prompt": "a ball", "more": {}}
    known = {"prompt": "a ball", "frames": 8, "height": 64, "width": 64, "fps": 4.0}
    known = {name: value for name, value in known.items() if name in decided}
    assert settings.of_arguments(arguments, **known) == settings("a ball", height=64, width=64)
    for one in fields(settings):
        if declared(one).by_checkpoint and one.name in signature:
            assert signature[one.name].default in (None, ...)
    for name in ("framse", *decided):
        with pytest.raises(TypeError, match=name):
            settings.of_arguments(arguments | {"more": {name: 3}}, **known)
    if "prompt" in decided:
        with pytest.raises(TypeError, match="'prompt'; did you mean 'instruction'"):
            settings.of_arguments(arguments | {"more": {"prompt": "a ball"}}, **known)
    with pytest.raises(TypeError, match="'sede'; did you mean 'seed'"):
        settings.of_arguments(arguments | {"more": {"sede": 3}}, **known)


def test_an_unknown_setting_is_refused_and_named():
    refused(lambda: Settings.from_dict({"prompt": "a", "framse": 3}), "framse")
    refused(lambda: Settings.from_dict({"frames": 2}), "no prompt")


@pytest.mark.parametrize(
    "pixels, near",
    [(500, "496 or 504"), (513, "512 or 520"), (3, "8"), (-16, "8"), (4095, "4088 or 4096"), (5000, "4096")],
)
def test_a_side_that_is_no_multiple_of_eight_comes_with_the_nearest_that_are(pixels, near):
    refused(lambda: check_side("height", pixels), f"{pixels}.*try {near}$")


def test_every_multiple_of_eight_up_to_the_limit_is_accepted():
    for pixels in range(8, 4097, 8):
        check_side("width", pixels)


def test_names_are_those_of_the_ground_floor():
    """They are repeated in the declarations, which must not import torch."""
    for phrases, known in (
        (declarations.ATTENTION, VARIANTS),
        (declarations.NOISE, (*NOISES, "inverted")),
        (declarations.JUMP, JUMPS),
        (declarations.FLOW, FLOWS),
        (declarations.BACKGROUND, BACKGROUNDS),
    ):
        assert tuple(phrases) == tuple(known)
    for word in (*declarations.ATTENTION, *declarations.NOISE):
        assert f'"{word}"' in text_to_video.__doc__


def test_every_setting_has_words_for_reports():
    for task in TASKS.values():
        default = task("a red ball")
        for one in fields(task):
            phrase = in_words(one.name, getattr(default, one.name))
            assert phrase and "{}" not in phrase and "None" not in phrase
    moves = "motion dynamics: the camera moves by (12, 3.5)/512 of the frame every frame (E7–E9)"
    assert in_words("motion", (12.0, 3.5)) == moves
    assert in_words("motion", (0.0, 0.0)).startswith("motion dynamics")
    assert in_words("motion", None).startswith("no motion")
    assert in_words("smooth_background", 0.0) == "no background smoothing"
    assert "0.6" in in_words("smooth_background", 0.6)


OWN = {"generate": {"steps": 25, "guidance_scale": 4, "t_prime": 561, "t": 641}, "edit": {"image_scale": 1.5}}


def test_what_is_left_out_is_the_checkpoints_else_the_papers():
    found = Settings.resolve({"prompt": "a", "steps": None, "guidance_scale": 9, "motion": None}, OWN)
    assert (found.steps, found.guidance_scale, found.t_prime, found.t) == (25, 9, 561, 641)
    assert found.motion is None and found.frames == 8  # None is a value of its own where a setting may be None
    assert Settings.resolve({"prompt": "a"}) == Settings("a") == Settings("a", steps=50, t_prime=881, t=941)
    assert ControlSettings.resolve({"prompt": "a"}, OWN) == ControlSettings("a", steps=20, guidance_scale=9)
    assert EditSettings.resolve({"prompt": "a", "steps": 3}, OWN) == EditSettings("a", steps=3, image_scale=1.5)
    tuned = {"generate": {"motion": None, "height": 64, "frames": 3}}
    found = Settings.resolve({"prompt": "a", "motion": ..., "height": None, "frames": None}, tuned)
    assert (found.motion, found.height, found.width, found.frames) == (None, 64, None, 3)
    assert Settings.resolve({"prompt": "a", "motion": (1, 2)}, tuned).motion == (1, 2)
    sd = SimpleNamespace(defaults=OWN, default_size=128)
    assert Settings.for_model(sd, prompt="a", width=64) == Settings.resolve(
        {"prompt": "a", "height": 128, "width": 64}, OWN
    )


@pytest.mark.parametrize(
    "own, said",
    [
        ({"seed": 3}, '"seed"'),
        ({"stpes": 3}, '"stpes"'),
        ({"steps": 0}, "steps = 0"),
        ({"t": 100}, "t_prime = 881 and t = 100.*give both .one left out is the checkpoint's own"),
    ],
)
def test_impossible_defaults_of_a_checkpoint_are_refused(own, said):
    refused(lambda: Settings.resolve({"prompt": "a"}, {"generate": own}), said)
