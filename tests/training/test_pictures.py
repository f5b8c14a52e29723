"""Painted pictures: the same on every machine, opened when they are there, read as batches."""

import numpy as np
import pytest
import torch

from t2vz.errors import InputError
from t2vz.world import paint, sample_scene
from training.pictures import paint_one, paint_pictures


def test_pictures_are_the_scenes_of_their_seeds(tmp_path):
    pictures = paint_pictures(tmp_path, 5, 32, seed=3, stream="unseen", processes=2)
    for i in (0, 4):
        scene = sample_scene(np.random.default_rng([3, 1, i]))
        np.testing.assert_array_equal(pictures.images[i], paint(scene, 32))
        assert pictures.captions[i] == scene.caption
    times = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = paint_pictures(tmp_path, 5, 32, seed=3, stream="unseen")
    assert again.captions == pictures.captions
    assert times == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}


def test_streams_and_seeds_differ():
    streams = ((0, "training"), (0, "unseen"), (1, "training"))
    assert len({tuple(paint_one(i, 16, seed, stream)[1] for i in range(8)) for seed, stream in streams}) == 3


def test_batch_undoes_to_the_same_bytes(tmp_path):
    pictures = paint_pictures(tmp_path, 3, 32, processes=1)
    batch = pictures.batch(torch.tensor([2, 0]))
    assert batch.shape == (2, 3, 32, 32) and batch.min() >= -1 and batch.max() <= 1
    assert batch.is_contiguous()
    back = ((batch + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(back, pictures.images[[2, 0]])


def test_wrong_requests(tmp_path):
    with pytest.raises(InputError, match="0 pictures"):
        paint_pictures(tmp_path, 0, 32)
    with pytest.raises(InputError, match="'test'"):
        paint_pictures(tmp_path, 1, 32, stream="test")
