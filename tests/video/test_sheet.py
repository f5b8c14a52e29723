"""The contact sheet: every frame in its place, the width kept, the caption inside."""

import os

import numpy as np
import pytest
from PIL import Image
from tiny import refused

from t2vz.video import Video
from t2vz.video.sheet import contact_sheet


def flat_frames(m, height, width, seed=0):
    """m frames, each of one dark random colour (darker than the sheet's paper), all different."""
    colours = np.random.default_rng(seed).integers(0, 200, (m, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (m, height, width, 3)).copy()


@pytest.mark.parametrize(
    "m, height, width, columns",
    [(8, 128, 128, None), (8, 512, 512, None), (1, 64, 64, None), (20, 32, 48, None), (5, 40, 24, 2), (3, 8, 8, 9)],
)
def test_frames_stand_in_reading_order(m, height, width, columns):
    frames = flat_frames(m, height, width, seed=m)
    sheet = contact_sheet(frames, columns)
    assert sheet.dtype == np.uint8 and sheet.shape[1] <= 2000
    per_row = min(m, columns or 8)
    rows = -(-m // per_row)
    for k in range(m):
        row, column = divmod(k, per_row)
        y, x = int((row + 0.5) / rows * sheet.shape[0]), int((column + 0.5) / per_row * sheet.shape[1])
        np.testing.assert_array_equal(sheet[y, x], frames[k, 0, 0])
    # the aspect ratio of a frame survives: count the pixels of the first frame's colour along both axes
    mask = (sheet == frames[0, 0, 0]).all(axis=-1)
    h, w = mask.any(axis=1).sum(), mask.any(axis=0).sum()
    assert h / w == pytest.approx(height / width, rel=0.02)
    if sheet.shape[1] < 1900:
        assert (h, w) == (height, width)  # not scaled when there is room


def test_small_frames_are_copied_exactly():
    frames = np.random.default_rng(1).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    sheet = contact_sheet(frames)
    gap = (sheet.shape[1] - 3 * 30) // 4
    assert sheet.shape == (20 + 2 * gap, 3 * 30 + 4 * gap, 3)
    for k in range(3):
        x = gap + k * (30 + gap)
        np.testing.assert_array_equal(sheet[gap : gap + 20, x : x + 30], frames[k])


def test_caption_is_below_and_long_ones_are_cut():
    frames = flat_frames(8, 64, 64)
    plain = contact_sheet(frames)
    for caption in ("a horse", "a horse galloping on a street, " * 30, "two\nlines"):
        sheet = contact_sheet(frames, caption=caption)
        np.testing.assert_array_equal(sheet[: len(plain)], plain)
        band = sheet[len(plain) :].min(axis=(0, 2))
        assert band.min() < 150, "there is no ink"
        assert band[-2:].min() > 200 and band[:2].min() > 200, "the text runs over the edge"


def test_video_sheet_takes_the_prompt(tmp_path):
    frames = flat_frames(2, 64, 64)
    video = Video(frames, settings={"prompt": "a horse"})
    np.testing.assert_array_equal(video.sheet(), contact_sheet(frames, caption="a horse"))
    np.testing.assert_array_equal(video.sheet(caption=""), contact_sheet(frames))
    video.save_sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        np.testing.assert_array_equal(np.asarray(image), video.sheet())
    refused(lambda: video.save_sheet(tmp_path / "sheet.gif"), r"\.png")
    assert os.listdir(tmp_path) == ["sheet.png"]


def test_columns_that_cannot_be():
    refused(lambda: contact_sheet(flat_frames(2, 8, 8), columns=0), "columns is 0")
    refused(lambda: contact_sheet(flat_frames(900, 2, 2), columns=900), "do not fit")
