"""Settings: what is impossible is refused with the value seen; what is possible survives a trip through
JSON."""

import json

import pytest

from t2vz.attention import VARIANTS
from t2vz.errors import InputError
from t2vz.motion import NOISES
from t2vz.pipelines.settings import Settings, check_side

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("prompt", "", "empty"),
        ("prompt", "  \n", "empty"),
        ("prompt", None, "empty"),
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
