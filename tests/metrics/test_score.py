"""All measures of one video: which can be taken from what, and that each is the function of its name."""

import numpy as np
import pytest
import torch

from t2vz.metrics import MEASURES, load_clip, score_video, warp_error
from t2vz.world import paint, sample_scene


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def frames():
    """A window that travels 4 pixels right and 2 down a frame over a painted scene: motion (16, 8) at 128 pixels."""
    large = paint(sample_scene(np.random.default_rng(11)), 192)
    return np.stack([large[20 + 2 * k : 148 + 2 * k, 20 + 4 * k : 148 + 4 * k] for k in range(5)])


def test_everything_given_everything_measured(clip, frames):
    found = score_video(frames, clip, "a red ball", (16, 8), torch.zeros(5, 1, 128, 128))
    assert set(found) == set(MEASURES) and all(isinstance(value, float) for value in found.values())
    assert (found["motion_x"], found["motion_y"]) == pytest.approx((4, 2), abs=0.05)
    assert found["motion_error"] < 0.1 and found["warp_error"] < 2 and found["background_change"] < 1e-6
    offsets = torch.arange(5)[:, None] * torch.tensor([4.0, 2.0])
    assert found["warp_error_asked"] == pytest.approx(warp_error(frames, offsets))


def test_what_is_not_given_is_not_measured(clip, frames):
    found = score_video(frames)
    taken = {name for name, value in found.items() if value is not None}
    assert taken == {"histogram_similarity", "motion_x", "motion_y", "motion_match", "warp_error"}
    one = score_video(frames[:1], clip, "a red ball", (16, 8))
    assert [name for name, value in one.items() if value is not None] == ["clip_score"]


def test_a_camera_that_goes_out_of_the_picture_is_compared_while_it_is_near(frames):
    """(160, 0) is 40 pixels a frame: of 128, only frame 2 is within a third."""
    found = score_video(frames, motion=(160, 0))
    assert found["motion_error"] == pytest.approx(np.hypot(36, 2), abs=0.1)
    assert score_video(frames, motion=(900, 0))["motion_error"] is None
