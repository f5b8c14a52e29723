"""Settings: what is impossible is refused with the value seen, what is possible survives a trip through JSON, and
what is left out is the checkpoint's own default, else the paper's."""

import inspect
import json
from dataclasses import fields
from types import SimpleNamespace

import pytest

from t2vz import control_video, edit_video, text_to_video
from t2vz.attention import VARIANTS
from t2vz.errors import InputError
from t2vz.motion import NOISES
from t2vz.motion.flow import CONVENTIONS as FLOWS
from t2vz.motion.smoothing import CONVENTIONS as BACKGROUNDS
from t2vz.pipelines import settings as declarations
from t2vz.pipelines.settings import TASKS, ControlSettings, EditSettings, Settings, in_words
from t2vz.pipelines.values import check_side, declared
from t2vz.schedulers.schedule import CONVENTIONS as JUMPS

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("prompt", "", "empty"),
        ("prompt", "  \n", "empty"),
        ("prompt", None, "empty"),
        ("prompt", ["a red ball"], "in one str"),
        ("prompt", "caf\udce9", "no valid UTF-8 (from letter 4 on)"),
        ("negative_prompt", None, "None"),
        ("negative_prompt", "\udcff", "UTF-8"),
        ("frames", 0, "0"),
        ("frames", -1, "-1"),
        ("frames", 2.5, "2.5"),
        ("frames", True, "True"),
        ("frames", None, "None"),
        ("frames", "8", "8"),
        ("steps", 0, "0"),
        ("steps", 1.5, "1.5"),
        ("chunk", 0, "0"),
        ("chunk", -4, "-4"),
        ("chunk", 1.0, "1.0"),
        ("seed", -1, "-1"),
        ("seed", 2**64, str(2**64)),
        ("seed", 0.5, "0.5"),
        ("seed", None, "None"),
        ("height", 500, "500"),
        ("width", 7, "7"),
        ("width", 0, "0"),
        ("height", -8, "-8"),
        ("height", 4104, "4104"),
        ("width", 512.0, "512.0"),
        ("width", "512", "512"),
        ("t_prime", 950, "950"),
        ("t", 880, "880"),
        ("t_prime", -1, "-1"),
        ("t", 941.5, "941.5"),
        ("t_prime", None, "None"),
        ("guidance_scale", -0.1, "-0.1"),
        ("guidance_scale", NAN, "nan"),
        ("guidance_scale", INF, "inf"),
        ("guidance_scale", "7", "7"),
        ("eta", 1.1, "1.1"),
        ("eta", -0.1, "-0.1"),
        ("eta", NAN, "nan"),
        ("smooth_background", 1.5, "1.5"),
        ("smooth_background", -0.5, "-0.5"),
        ("smooth_background", NAN, "nan"),
        ("zoom", 0.0, "0.0"),
        ("zoom", -1.0, "-1.0"),
        ("zoom", NAN, "nan"),
        ("rotation", INF, "inf"),
        ("fps", 0.0, "0.0"),
        ("fps", NAN, "nan"),
        ("motion", (NAN, 1.0), "nan"),
        ("motion", (1.0, INF), "inf"),
        ("motion", (1.0, 2.0, 3.0), "3.0"),
        ("motion", 12.0, "12.0"),
        ("motion", ("a", "b"), "a"),
        ("attention", "frist", "frist"),
        ("initial_noise", "white", "white"),
        ("noise_strength", -1.0, "-1.0"),
        ("noise_strength", NAN, "nan"),
        ("jump_convention", "papr", "papr"),
        ("flow_convention", "rel", "rel"),
        ("background_convention", "p", "p"),
        ("foreground", "", "no word"),
        ("foreground", (), "no word"),
    ],
)
def test_an_impossible_value_is_refused_and_named_in_one_line(name, value, said):
    with pytest.raises(InputError) as caught:
        Settings(**{"prompt": "a red ball", name: value})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_only_works_together_is_checked_together():
    with pytest.raises(InputError, match="1.5"):
        Settings("a", motion=None, initial_noise="residual", noise_strength=1.5)
    with pytest.raises(InputError, match="motion off"):
        Settings("a", initial_noise="mixed")
    with pytest.raises(InputError, match="t = 1000"):
        Settings("a", t=1000)
    with pytest.raises(InputError, match="no prompt"):
        Settings.from_dict({"frames": 2})
    for camera in ({"zoom": 1.1}, {"rotation": 5.0}):
        with pytest.raises(InputError, match="motion is off"):
            Settings("a", motion=None, **camera)


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


def test_an_unknown_setting_is_refused_and_named():
    with pytest.raises(InputError, match="framse"):
        Settings.from_dict({"prompt": "a", "framse": 3})


@pytest.mark.parametrize(
    "pixels, near",
    [(500, "496 or 504"), (513, "512 or 520"), (3, "8"), (-16, "8"), (4095, "4088 or 4096"), (5000, "4096")],
)
def test_a_side_that_is_no_multiple_of_eight_comes_with_the_nearest_that_are(pixels, near):
    with pytest.raises(InputError, match=f"{pixels}.*try {near}$"):
        check_side("height", pixels)


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


def test_every_setting_has_words_for_reports():
    for task in TASKS.values():
        default = task("a red ball")
        for one in fields(task):
            phrase = in_words(one.name, getattr(default, one.name))
            assert phrase and "{}" not in phrase and "None" not in phrase
    assert (
        in_words("motion", (12.0, 3.5))
        == "motion dynamics: the camera moves by (12, 3.5)/512 of the frame every frame (E7–E9)"
    )
    assert in_words("motion", (0.0, 0.0)).startswith("motion dynamics") and in_words("motion", None).startswith(
        "no motion"
    )
    assert in_words("smooth_background", 0.0) == "no background smoothing" and "0.6" in in_words(
        "smooth_background", 0.6
    )


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
        ({"t": 100}, "t_prime = 881 and t = 100"),
    ],
)
def test_impossible_defaults_of_a_checkpoint_are_refused(own, said):
    with pytest.raises(InputError, match=said):
        Settings.resolve({"prompt": "a"}, {"generate": own})
