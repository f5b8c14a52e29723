"""Every public function that documents uint8 frames says so when it gets something else."""

import numpy as np
import pytest
import torch
from tiny import refused

from t2vz import metrics
from t2vz.conditions import edges
from t2vz.video import Video
from t2vz.video.frames import check_frames

GOOD = np.zeros((3, 16, 24, 3), np.uint8)
CALLS = {
    "measured_motion": metrics.measured_motion,
    "warp_error": lambda frames: metrics.warp_error(frames, torch.zeros(3, 2)),
    "background_change": lambda frames: metrics.background_change(frames, torch.zeros(3, 1, 16, 24)),
    "histogram_similarity": metrics.histogram_similarity,
    "psnr": lambda frames: metrics.psnr(GOOD, frames),
    "score_video": metrics.score_video,
    "embed_images": lambda frames: metrics.embed_images(None, frames),
    "edges": lambda frames: edges(frames[0]),
    "Video": Video,
}
BAD = {
    "floats": torch.zeros(3, 3, 16, 24),
    "channels first": torch.zeros(3, 3, 16, 24, dtype=torch.uint8),
    "one frame": GOOD[0],
    "five axes": GOOD[None],
    "grey": GOOD[..., :1],
    "unlike sizes": [GOOD[0], GOOD[0, :8]],
    "none": GOOD[:0],
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", CALLS)
def test_the_wrong_kind_of_frames_is_named(name, kind):
    if name == "edges" and kind in ("unlike sizes", "none"):
        pytest.skip("its first frame is a good one, or is not there")
    refused(lambda: CALLS[name](BAD[kind]), "must be uint8")


@pytest.mark.parametrize(
    "masks, words",
    [
        (torch.zeros(3, 16, 24), "shape"),  # would be broadcast
        (torch.zeros(1, 1, 16, 24), "shape"),
        (np.zeros((3, 1, 16, 24)), "a tensor"),
        (torch.full((3, 1, 16, 24), 255, dtype=torch.uint8), "between 0 and 1"),
    ],
)
def test_the_wrong_kind_of_masks_is_named(masks, words):
    for measure in (metrics.measured_motion, metrics.background_change):
        refused(lambda measure=measure: measure(GOOD, masks), words)


def test_shifts_are_compared_one_by_one():
    refused(lambda: metrics.motion_error(torch.zeros(3, 2), torch.zeros(1, 2)), r"\(3, 2\) shifts for \(1, 2\)")


def test_arrays_tensors_and_lists_are_frames():
    for frames in (GOOD, torch.from_numpy(GOOD), list(GOOD)):
        assert np.array_equal(check_frames(frames, least=3), GOOD)
    refused(lambda: check_frames(GOOD, least=4), "at least 4")
    for measure in (metrics.measured_motion, metrics.histogram_similarity):
        refused(lambda measure=measure: measure(GOOD[:1]), "at least 2")
