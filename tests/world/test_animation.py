"""A scene that moves: frame 1 is the picture, masks say where the things are, longer clips begin with shorter ones."""

from dataclasses import replace

import numpy as np
import pytest

from t2vz.errors import InputError
from t2vz.world import Scene, foreground_mask, paint, paint_clip, sample_scene

BALL = Scene("ball", "red", "meadow", 1, "", seed=3)
FLYING = Scene("kite", "yellow", "city", 1, "", seed=7, floating=True, style="fine")


def middle(mask: np.ndarray) -> np.ndarray:
    """(x, y) of a mask's centre of mass, in fractions of the picture."""
    weight = mask.astype(float) / mask.sum()
    steps = (np.arange(len(mask)) + 0.5) / len(mask)
    return np.array([(weight.sum(axis=0) * steps).sum(), (weight.sum(axis=1) * steps).sum()])


def test_the_first_frame_is_the_scene_and_longer_clips_begin_with_shorter_ones():
    rng = np.random.default_rng(0)
    for scene in [sample_scene(rng, None) for _ in range(6)]:
        pictures, masks = paint_clip(scene, 48, 5)
        assert pictures.shape == (5, 48, 48, 3) and masks.shape == (5, 48, 48)
        assert np.array_equal(pictures[0], paint(scene, 48)) and np.array_equal(masks[0], foreground_mask(scene, 48))
        shorter, its_masks = paint_clip(scene, 48, 3)
        assert np.array_equal(pictures[:3], shorter) and np.array_equal(masks[:3], its_masks)


@pytest.mark.parametrize("scene", [BALL, FLYING], ids=lambda scene: scene.kind)
def test_masks_go_where_the_thing_goes(scene):
    """The named colour's pixels, found in the picture alone, have their centre where the mask has."""
    pictures, masks = paint_clip(scene, 64, 30)
    colour = np.array([218, 28, 36] if scene is BALL else [253, 226, 40])
    seen = np.abs(pictures.astype(int) - colour).sum(axis=-1) < 60
    seen &= masks.max(axis=0) > 0  # windows of the city are yellow too, elsewhere
    for picture, mask in zip(seen, masks, strict=True):
        assert np.abs(middle(picture) - middle(mask)).max() < 0.06
    way = np.array([middle(mask) for mask in masks])
    assert np.ptp(way[:, 0]) > 0.3  # it went somewhere
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).max() < 0.06  # and did not jump
    assert (np.ptp(way[:, 1]) > 0.04) == scene.floating


def test_things_stay_in_the_picture():
    for seed in range(8):
        masks = paint_clip(replace(BALL, seed=seed), 48, 48)[1]
        areas = masks.sum(axis=(1, 2), dtype=float)
        assert areas.min() > 0.9 * areas.max()


def test_the_place_pans_behind_the_thing():
    """Outside all masks and shadows, frame 9 is frame 1 moved sideways by a few pixels: the best fit is not 0."""
    first, last = paint_clip(FLYING, 64, 9)[0][[0, 8]].astype(float)
    rows = slice(50, 64)  # the street: no thing, no shadow
    errors = {dx: np.abs(np.roll(first, dx, axis=1)[rows, 6:-6] - last[rows, 6:-6]).mean() for dx in range(-6, 7)}
    best = min(errors, key=errors.get)
    assert 1 <= abs(best) <= 3 and errors[best] < 0.5 * errors[0]  # 0.05·sin(45°)·64 = 2.3


def test_no_frames_are_refused():
    with pytest.raises(InputError, match="0 frames"):
        paint_clip(BALL, 64, 0)
