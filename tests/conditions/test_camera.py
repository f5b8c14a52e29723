"""The camera's path from a video: painted clips whose pans, zooms and turns are known."""

import numpy as np
import pytest
import torch

from t2vz.conditions.camera import camera_path, dense_flow, motion_of_clip
from t2vz.errors import InputError
from t2vz.motion import similarity_flow, warp
from t2vz.world import paint, scene_from_words

cv2 = pytest.importorskip("cv2")
SIZE = 192
WIDE = paint(scene_from_words("a red car in the city", 3, "fine"), 2 * SIZE)


def moved(to_first: list[np.ndarray]) -> np.ndarray:
    """Frames that show at p what frame 1 shows at to_first·p, cut from the middle of a larger painting."""
    shift = np.array([[1, 0, SIZE / 2], [0, 1, SIZE / 2], [0, 0, 1]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(WIDE, (shift @ step)[:2], (SIZE, SIZE), flags=flags) for step in to_first])


def similarity(dx=0.0, dy=0.0, zoom=1.0, degrees=0.0) -> np.ndarray:
    """The camera goes by (dx, dy), shows everything `zoom` times larger and turned clockwise, about the middle."""
    c, angle = (SIZE - 1) / 2, np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom
    return np.vstack([np.column_stack([turn, np.array([c + dx, c + dy]) - turn @ [c, c]]), [0, 0, 1]])


@pytest.mark.parametrize(
    "step",
    [(3.0, 2.0, 1.0, 0.0), (-4.3, 0.0, 1.0, 0.0), (0.0, 0.0, 1.02, 0.0), (1.0, -1.5, 0.985, 1.2), (0, 0, 1, -2.0)],
)
def test_known_paths_are_found_to_half_a_pixel_and_half_a_degree(step):
    dx, dy, zoom, degrees = step
    steps = [similarity(k * dx, k * dy, zoom**k, k * degrees) for k in range(7)]
    path = camera_path(moved(steps))
    k = torch.arange(7, dtype=torch.float64)
    torch.testing.assert_close(path.offsets, torch.stack([k * dx, k * dy], dim=1), atol=0.5, rtol=0)
    torch.testing.assert_close(path.rotation, k * degrees, atol=0.5, rtol=0)
    torch.testing.assert_close(path.zoom, torch.tensor(zoom, dtype=torch.float64) ** k, atol=0.005, rtol=0)


def test_flow_is_that_of_the_motion_room():
    """The same zoom and turn as `similarity_flow` writes them, and a shift, in cells of another size."""
    zoom, degrees = torch.tensor([1.0, 1.05, 1.1]).double(), torch.tensor([0.0, 2.0, 4.0]).double()
    steps = [similarity(8.0 * k, 0, float(zoom[k]), float(degrees[k])) for k in range(3)]
    found = camera_path(moved(steps)).flow(24, 24)
    wanted = similarity_flow(zoom, degrees, 24, 24)
    wanted[:, 0] += torch.arange(3)[:, None, None]
    torch.testing.assert_close(found, wanted, atol=0.07, rtol=0)


@pytest.mark.parametrize("which", ["global", "dense"])
def test_warping_frame_1_by_the_flow_gives_the_other_frames(which):
    frames = moved([similarity(2.0 * k, k, 1.01**k, 0.5 * k) for k in range(5)])
    flow = camera_path(frames).flow(SIZE, SIZE) if which == "global" else dense_flow(frames, SIZE, SIZE)
    first = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).double()
    again = warp(first, flow, "bilinear").permute(0, 2, 3, 1).numpy()
    inside = (slice(1, None), slice(20, -20), slice(20, -20))
    error = np.abs(again[inside] - frames[inside]).mean()
    assert error < 0.25 * np.abs(frames[:1] - frames.astype(float))[inside].mean()


def test_a_moving_thing_and_a_subtitle_do_not_steer_the_camera():
    frames = moved([similarity(2.5 * k, 0) for k in range(6)])
    for k, frame in enumerate(frames):
        cv2.putText(frame, "NEVER MIND", (30, 180), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
        cv2.circle(frame, (40 + 12 * k, 90), 18, (200, 40, 160), -1)
    offsets = camera_path(frames).offsets
    torch.testing.assert_close(offsets[:, 0], 2.5 * torch.arange(6).double(), atol=0.5, rtol=0)


def test_a_still_clip_stands_still():
    assert camera_path(moved([similarity()] * 4)).still
    assert not camera_path(moved([similarity(0.2 * k) for k in range(4)])).still


def test_frames_follow_the_clip_at_their_own_times():
    """A clip of 12 frames a second, a video of 4: every third frame; a still one is said, a short one refused."""

    class Clip(list):
        fps = 12.0

    clip = Clip(moved([similarity(1.5 * k) for k in range(10)]))
    flow, notes = motion_of_clip(clip, 4, 4.0, 24, 24)
    torch.testing.assert_close(flow[:, 0].mean(dim=(1, 2)), 4.5 / 8 * torch.arange(4).double(), atol=0.06, rtol=0)
    assert not notes
    with pytest.raises(InputError, match="10 frames at 12 a second, which is enough for 4 frames at 4 a second"):
        motion_of_clip(clip, 5, 4.0, 24, 24)
    assert "stands still" in motion_of_clip(moved([similarity()] * 3), 3, 4.0, 8, 8)[1][0]


SCENES = ("a red car in the city", "a cat in a room")
CUT = np.stack([paint(scene_from_words(words, 1, "fine"), 128) for words in SCENES])


@pytest.mark.parametrize(
    "frames, words",
    [
        (CUT[:1], "at least 2 frames; this one has 1"),
        (np.full((3, 64, 64, 3), 128, np.uint8), "too little detail"),
        (CUT / 255, "frame 1 must be uint8"),
        (CUT, "frames 1 and 2 do not show the same scene"),
        ([CUT[0], CUT[1, 8:]], "frame 2 is 128×120 and the first 128×128"),
    ],
)
def test_what_cannot_be_followed_is_said(frames, words):
    with pytest.raises(InputError, match=words):
        camera_path(frames)
