"""Pictures as data, and functions cited by their place in the source tree."""

import base64
import configparser
import fnmatch
import io

import numpy as np
import pytest
import torch
from PIL import Image

from t2vz.lab.page import ROOT, TEMPLATES, Source, render, source_of
from t2vz.lab.pictures import false_colours, heat_over, masked, picture_uri, small, strip
from t2vz.motion import warp
from t2vz.schedulers import NoiseSchedule
from t2vz.text import encode_text


def some_frames(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_a_picture_comes_back_from_its_address_unchanged():
    frame = some_frames(5, 7)
    head, _, data = picture_uri(frame).partition(",")
    assert head == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == frame).all()


def test_false_colours_span_two_and_a_half_deviations():
    latents = torch.tensor([-9.0, -2.5, 0.0, 2.5])[:, None, None, None].expand(4, 4, 1, 1).clone()
    latents[2, 3] = 9.0  # the fourth channel is not shown
    assert false_colours(latents)[:, 0, 0].tolist() == [[0] * 3, [0] * 3, [128] * 3, [255] * 3]


def test_heat_is_brightest_where_the_weight_is_largest_and_keeps_its_cells():
    weights = torch.zeros(2, 3)
    weights[1, 2] = 0.4
    heat = heat_over(np.full((8, 12, 3), 90, np.uint8), weights).astype(int).sum(axis=2)
    assert len(np.unique(heat)) == 2, "no blurring"
    assert (heat[4:, 8:] == heat.max()).all() and (heat == heat.max()).sum() == 16


def test_heat_of_equal_weights_is_no_division_by_zero():
    assert np.isfinite(heat_over(some_frames(4, 4), torch.full((2, 2), 0.25))).all()


def test_a_mask_keeps_the_foregrounds_pixels_and_greys_the_rest():
    frame, mask = some_frames(6, 6), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    shown = masked(frame, mask)
    assert (shown[:3, :3] == frame[:3, :3]).all()
    assert (np.ptp(shown[3:].astype(int), axis=2) == 0).all() and shown[3:].min() > 150


def test_small_keeps_what_is_small_and_the_ratio_of_what_is_not():
    frames = some_frames(2, 60, 100)
    assert small(frames, 100) is frames
    assert small(frames, 50).shape == (2, 30, 50, 3)
    flat = small(np.full((1, 64, 64, 3), 77, np.uint8), 16)
    assert (flat == 77).all()


def test_a_strip_holds_the_frames_from_left_to_right():
    frames = some_frames(3, 4, 5)
    row = strip(frames)
    assert row.shape == (4, 15, 3) and all((row[:, 5 * k : 5 * k + 5] == frames[k]).all() for k in range(3))


@pytest.mark.parametrize("thing", [warp, encode_text, NoiseSchedule, source_of], ids=lambda thing: thing.__name__)
def test_a_source_is_the_line_that_defines_the_name(thing):
    place = source_of(thing)
    line = (ROOT / place.path).read_text(encoding="utf-8").splitlines()[place.line - 1]
    assert line.split("(")[0].split(":")[0] in (f"def {thing.__name__}", f"class {thing.__name__}")
    assert line in place.code and place.name == thing.__name__


def test_a_link_leads_to_the_line_below_the_base():
    place = Source("t2vz/motion/warp.py", 12, "warp", "")
    assert place.link("") == "t2vz/motion/warp.py#L12"
    assert place.link("https://host/blob/main/") == "https://host/blob/main/t2vz/motion/warp.py#L12"
    assert place.link("..") == "../t2vz/motion/warp.py#L12"


def test_a_template_must_get_every_value_it_names():
    with pytest.raises(Exception, match="undefined"):
        render("explain.html")


def test_every_template_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = [pattern.strip() for pattern in config["options.package_data"]["t2vz.lab"].split(",")]
    names = [path.relative_to(TEMPLATES.parent).as_posix() for path in TEMPLATES.iterdir()]
    assert "templates/base.html" in names
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in names)
