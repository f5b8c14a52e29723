"""Pictures of all kinds: their values, their times in animations, and what lies beside them in a folder."""

from functools import partial

import films
import numpy as np
import pytest
from PIL import Image
from tiny import refused

from t2vz.errors import FailedError
from t2vz.video import open_clip, open_frames, read_video

RAMP = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(48, axis=0)
RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def film(count=8):
    return [Image.fromarray(np.full((48, 64, 3), 20 * k, np.uint8)) for k in range(count)]


numbers = partial(films.numbers, step=20)


def animate(path, durations, **options):
    first, *others = film()
    first.save(path, save_all=True, append_images=others, duration=durations, **options)


FORMATS = ["gif", "webp", "png", "avif"]


@pytest.mark.parametrize("ending", FORMATS)
def test_animations_have_their_own_times(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    animate(path, 40)
    video = read_video(path)
    assert numbers(video.frames) == list(range(8)) and video.fps == 25 and video.notes == []
    animate(path, [40, 80, 40, 40, 160, 40, 40, 40])  # at 25 a second, equal frames merged
    video = read_video(path)
    assert numbers(video.frames) == [0, 1, 1, 2, 3, 4, 4, 4, 4, 5, 6, 7] and video.fps == 25
    assert "8 pictures make 12 frames" in video.notes[0]
    animate(path, [40, 60, 100, 40, 30, 200, 50, 90])
    video = read_video(path)
    assert numbers(video.frames) == list(range(8)) and len(video) / video.fps == pytest.approx(0.61)
    assert "no constant frame rate (frames last 30 to 200 ms)" in video.notes[0]
    assert numbers(read_video(path, start=0.1, end=0.25).frames) == [2, 3, 4]
    assert numbers(read_video(path, fps=10).frames) == [1, 2, 4, 5, 5, 7]


@pytest.mark.parametrize("fps", [12, 24, 30, 45])
def test_a_gif_with_merged_frames_gets_them_back(tmp_path, fps):
    order = [0, 1, 1, 1, 1, 1, 2, 3, 3, 4, 5, 5, 5, 6, 7]
    ends = [round(100 * k / fps) for k in range(len(order) + 1)]
    stays = [sum(10 * (ends[i + 1] - ends[i]) for i, n in enumerate(order) if n == k) for k in range(8)]
    animate(tmp_path / "a.gif", stays)
    assert numbers(read_video(tmp_path / "a.gif").frames) == order


def test_pictures_that_are_no_frames_of_an_animation(tmp_path):
    animate(tmp_path / "apng.png", 40, default_image=True)  # picture 0 is for programs that show no animations
    assert numbers(read_video(tmp_path / "apng.png").frames) == list(range(1, 8))
    first = Image.fromarray(RGB)
    first.save(tmp_path / "stereo.mpo", save_all=True, append_images=[first.resize((32, 24))])
    (tmp_path / "stereo.mpo").rename(tmp_path / "stereo.jpg")
    assert read_video(tmp_path / "stereo.jpg").frames.shape == (1, 48, 64, 3)
    pages = film()
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    video = read_video(tmp_path / "pages.tif")
    assert numbers(video.frames) == list(range(8)) and video.fps == 4  # as the pictures of a folder


@pytest.mark.parametrize("ending", ["gif", "png"])
def test_an_animation_damaged_at_its_end_is_read_up_to_there(tmp_path, ending):
    path, rng = tmp_path / f"a.{ending}", np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(8)]
    noise[0].save(path, save_all=True, append_images=noise[1:], duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    refused(lambda: read_video(path), "damaged after 4 frames.* end at 0.4 s", error=FailedError)
    assert len(read_video(path, end=0.4)) == 4


def big_endian(values):
    return Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())


@pytest.mark.parametrize(
    "name, image",
    [
        ("float.tif", Image.fromarray(RAMP)),
        ("u16.png", Image.fromarray((RAMP * 65535).astype(np.uint16))),
        ("u16.tif", Image.fromarray((RAMP * 65535).astype(np.uint16))),
        ("big.tif", big_endian(RAMP * 65535)),
        ("u16.pgm", Image.fromarray((RAMP * 65535).astype(np.uint16))),
    ],
)
def test_grey_of_every_depth_keeps_its_brightness(tmp_path, name, image):
    image.save(tmp_path / name)
    assert np.abs(read_video(tmp_path / name).frames[0] - RAMP[..., None] * 255).max() <= 1
    for k in range(2):
        (tmp_path / "depth").mkdir(exist_ok=True)
        image.save(tmp_path / "depth" / f"{k}-{name}")
    with open_clip(tmp_path / "depth", resolution=64) as clip:
        assert clip[0].max() == 255 and clip[0].min() == 0


@pytest.mark.parametrize(
    "image, words",
    [
        (Image.fromarray(80 * RAMP), "from 0 to 80"),
        (Image.fromarray(RAMP - 0.5), "from -0.5 to 0.5"),
        (Image.fromarray(np.where(RAMP > 0.5, np.float32(np.nan), RAMP)), "from nan to nan"),
        (Image.fromarray((RAMP * 255).astype(np.int32)), "32-bit whole numbers"),
    ],
)
def test_numbers_without_black_and_white_are_refused(tmp_path, image, words):
    image.save(tmp_path / "depth.tif")
    refused(lambda: read_video(tmp_path / "depth.tif"), words)


@pytest.mark.parametrize(
    "mode, name",
    [("CMYK", "a.tif"), ("YCbCr", "a.tif"), ("LAB", "a.tif"), ("1", "a.png"), ("P", "a.png"), ("LA", "a.png")],
)
def test_every_way_to_store_colours(tmp_path, mode, name):
    smooth = np.stack([RAMP, RAMP[:, ::-1], RAMP * 0.5], axis=-1) * 255
    image = Image.fromarray(smooth.astype(np.uint8)).convert(mode)
    image.save(tmp_path / name)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(read_video(tmp_path / name).frames[0].astype(int) - expected).max() <= 3


def test_what_is_transparent_is_black_and_what_is_truncated_refused(tmp_path):
    clear = np.dstack([RGB, np.where(np.arange(64) < 30, 255, 0)[None].repeat(48, 0).astype(np.uint8)])
    Image.fromarray(clear).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_video(tmp_path / "a.png").frames[0], RGB * (clear[..., 3:] > 0))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:5000])
    for path in (tmp_path, tmp_path / "a.png"):
        refused(lambda: read_video(path), "not a picture")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_pictures_stand_upright(tmp_path, ending):
    turned = Image.Exif()
    turned[0x112] = 6  # to be turned by 90 degrees
    bright = np.where(np.arange(64) < 32, 250, 0).astype(np.uint8)[None, :, None].repeat(48, 0).repeat(3, 2)
    Image.fromarray(bright).save(tmp_path / f"a.{ending}", exif=turned)
    frame = read_video(tmp_path / f"a.{ending}").frames[0]
    assert frame.shape == (64, 48, 3) and frame[:28].min() > 230 and frame[36:].max() < 20


def test_what_a_folder_holds_beside_pictures_is_said(tmp_path):
    for k, image in enumerate(film(3)):
        image.save(tmp_path / f"{k}.png")
    assert read_video(tmp_path).notes == []
    (tmp_path / ".DS_Store").write_text("hidden")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "more").mkdir()
    video = read_video(tmp_path)
    assert numbers(video.frames) == [0, 1, 2] and "left out: more, notes.txt" in video.notes[0]
    with open_clip(tmp_path, resolution=64) as clip:
        assert any("notes.txt" in note for note in clip.notes)
    film(4)[3].save(tmp_path / "3.avif")
    assert numbers(read_video(tmp_path).frames) == [0, 1, 2, 3]
    first, *others = film(4)
    for name in ("more.gif", "moving.png"):
        first.save(tmp_path / name, save_all=True, append_images=others)
    video = read_video(tmp_path)
    assert len(video.frames) == 6 and "only the first frame was taken: more.gif, moving.png" in video.notes[-1]
    (tmp_path / "4.heic").write_text("x")
    refused(lambda: read_video(tmp_path), r"4\.heic.* save them as")
    refused(lambda: read_video(tmp_path / "4.heic"), r"4\.heic.* save them as")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".gif", "é" * 150 + ".mp4", "a\0b.gif"])
def test_impossible_names_are_one_line(tmp_path, name):
    refused(lambda: open_frames(tmp_path / name), "no file or folder")
