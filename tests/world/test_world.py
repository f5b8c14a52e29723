"""The picture world: same seed, same picture; captions that tell the truth; a split that does not leak."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from t2vz.errors import InputError
from t2vz.world import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    STYLES,
    Scene,
    caption,
    foreground_mask,
    is_held_out,
    paint,
    paint_backdrop,
    sample_scene,
    vocabulary,
)
from t2vz.world.canvas import Canvas, Pen, box

TRIPLES = [(kind, colour, place) for kind in OBJECTS for colour in COLOURS for place in BACKGROUNDS]


def scenes(seed: int, count: int, held_out: bool | None = None, style: str = "fine") -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, held_out, style) for _ in range(count)]


def test_world_is_large_enough_and_its_colours_are_far_apart():
    assert len(set(OBJECTS)) >= 16 and len(COLOURS) == 10 and len(set(BACKGROUNDS)) == 10
    rgb = np.array(list(COLOURS.values()), dtype=float)
    distance = np.linalg.norm(rgb[:, None] - rgb[None], axis=-1)
    assert distance[~np.eye(10, dtype=bool)].min() > 80


def test_same_scene_is_same_bytes_whatever_was_painted_between():
    first, other = scenes(1, 2)
    picture, mask = paint(first, 64), foreground_mask(first, 64)
    paint(other, 48)
    assert np.array_equal(picture, paint(first, 64)) and np.array_equal(mask, foreground_mask(first, 64))
    assert scenes(1, 2) == [first, other]


def test_seed_changes_what_the_caption_leaves_open():
    scene = scenes(2, 1)[0]
    pictures = {paint(replace(scene, seed=seed), 48).tobytes() for seed in range(8)}
    assert len(pictures) == 8


@pytest.mark.parametrize("kind", OBJECTS)
def test_every_kind_paints_and_is_big_enough_to_see(kind):
    for colour, place in zip(COLOURS, BACKGROUNDS, strict=True):
        scene = Scene(kind, colour, place, 1, "", seed=100 * len(kind) + len(place))
        picture, mask = paint(scene, 64), foreground_mask(scene, 64)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        assert mask.shape == (64, 64) and mask.dtype == np.uint8
        rows = np.flatnonzero((mask > 127).any(axis=1))
        assert 0.04 < (mask / 255).mean() < 0.5, (kind, colour, place)
        assert np.ptp(rows) > 0.22 * 64, (kind, colour, place)


def test_bold_scenes_show_large_things_of_the_kinds_it_keeps():
    style, drawn = STYLES["bold"], scenes(11, 300, style="bold")
    assert {scene.kind for scene in drawn} == set(OBJECTS) - set(style.leave_out)
    assert not any(scene.companion or scene.count == 5 for scene in drawn)
    for scene in [scene for scene in drawn if scene.count == 1 and not scene.size][:40]:
        rows = np.flatnonzero((foreground_mask(scene, 64) > 127).any(axis=1))
        assert np.ptp(rows) > 0.42 * 64, scene


@pytest.mark.parametrize("name", STYLES)
def test_what_is_below_the_least_size_leaves_no_mark(name):
    """Squares and lines just above and just below a style's least sizes, in a frame that is half the picture wide."""
    style = STYLES[name]
    for least, mark in (
        (style.least_shape, lambda pen, size: pen.fill(box(0, 0, 0.5, size), (9, 9, 9))),
        (style.least_shape, lambda pen, size: pen.surface(box(0, 0, size, 0.5), (9, 9, 9), (9, 9, 9))),
        (style.least_line, lambda pen, size: pen.line([(0, 0), (0.5, 0)], (9, 9, 9), size)),
    ):
        for factor, marked in ((0.98, least == 0), (1.02, True)):
            canvas = Canvas(128, style=style)
            mark(Pen(canvas, (0.5, 0.5), scale=0.5), factor * (least or 0.02) / 0.5)
            assert (canvas.finish().max() > 0) == marked, (name, least, factor)


@pytest.mark.parametrize("place", BACKGROUNDS)
def test_no_place_leaves_paper_bare(place):
    """A fresh canvas is pure black and no place is: a hole in the backdrop would show as (0, 0, 0)."""
    for seed in range(12):
        backdrop = paint_backdrop(Scene("ball", "red", place, 1, "", seed), 64)
        assert backdrop.max(axis=-1).min() > 0, seed


def test_captions_keep_to_the_vocabulary_and_tell_the_facts():
    words = set(vocabulary())
    assert vocabulary() == sorted(words) and all(word == word.lower() for word in words)
    seen = set()
    for scene in scenes(3, 3000):
        said = scene.caption.split()
        seen.update(said)
        assert set(said) <= words and caption(scene) == scene.caption
        assert scene.colour in said
        assert (scene.kind in said) or (scene.count > 1), scene
        assert ("an orange" in scene.caption) or ("a orange" not in scene.caption)
    assert seen == words  # and no word that no caption uses


def test_the_example_prompt_is_a_caption():
    wanted = {f"a {colour} ball on a green meadow" for colour in COLOURS if colour != "orange"}
    rng, found = np.random.default_rng(4), set()
    for _ in range(20000):
        found.add(sample_scene(rng, None).caption)
    assert "a red ball on a green meadow" in found
    assert len(wanted & found) >= 6


def test_split_is_a_tenth_and_disjoint():
    share = np.mean([is_held_out(*triple) for triple in TRIPLES])
    assert 0.08 < share < 0.12
    assert not any(is_held_out(s.kind, s.colour, s.background) for s in scenes(5, 400, held_out=False))
    assert all(is_held_out(s.kind, s.colour, s.background) for s in scenes(6, 100, held_out=True))
    companions = [(*s.companion, s.background) for s in scenes(7, 2000, held_out=False) if s.companion]
    assert companions and not any(is_held_out(*triple) for triple in companions)


def test_split_never_moves():
    """Trained weights depend on it: these answers are fixed for good."""
    assert [k for k, place in enumerate(BACKGROUNDS) if is_held_out("ball", "red", place)] == [4, 6, 8, 9]
    assert sum(is_held_out(*triple) for triple in TRIPLES) == 198


def test_split_leaves_every_word_in_training():
    kept = [triple for triple in TRIPLES if not is_held_out(*triple)]
    for position in (0, 1, 2):
        assert min(Counter(triple[position] for triple in kept).values()) > 50


def test_named_colour_dominates_the_thing():
    """Pixels well inside the mask vote for the nearest of the ten colours; the named one wins."""
    rgb, names = np.array(list(COLOURS.values())), list(COLOURS)
    wins = []
    for scene in scenes(8, 160):
        if scene.companion:
            continue
        inside = paint(scene, 64).astype(int)[foreground_mask(scene, 64) == 255]
        votes = ((inside[:, None] - rgb) ** 2).sum(-1).argmin(1)
        wins.append(names[np.bincount(votes).argmax()] == scene.colour)
    assert np.mean(wins) > 0.95


def test_mask_is_where_the_picture_differs_from_its_backdrop():
    covered = changed = 0
    for scene in scenes(9, 40):
        mask = foreground_mask(scene, 64)
        difference = np.abs(paint(scene, 64).astype(int) - paint_backdrop(scene, 64)).max(axis=-1)
        assert (difference[mask == 0] == 0).all(), scene
        covered += (mask == 255).sum()
        changed += (difference[mask == 255] > 4).sum()
    assert changed > 0.93 * covered  # the rest: a green leaf on green grass


def test_one_scene_at_two_sizes_is_one_picture():
    for scene in scenes(10, 12):
        small = paint(scene, 64).astype(float)
        large = paint(scene, 192).astype(float).reshape(64, 3, 64, 3, 3).mean(axis=(1, 3))
        assert np.abs(small - large).mean() < 4.0, scene
        other = paint(replace(scene, seed=scene.seed + 1), 64)
        assert np.abs(small - other).mean() > 3 * np.abs(small - large).mean()


def test_counted_things_share_one_look():
    """Three things of one noun have the same colours: each third of the mask, nearly one histogram."""
    for seed in range(6):
        scene = Scene("ball", "blue", "snow", 3, "", seed)
        picture, mask = paint(scene, 96).astype(int), foreground_mask(scene, 96)
        shares = []
        for third in range(3):
            cut = slice(32 * third, 32 * third + 32)
            bins = (picture[:, cut] // 64 @ (16, 4, 1))[mask[:, cut] == 255]
            shares.append(np.bincount(bins, minlength=64) / len(bins))
        assert np.abs(shares[0] - shares[1]).sum() < 0.35 and np.abs(shares[1] - shares[2]).sum() < 0.35


def test_edges_are_anti_aliased():
    mask = foreground_mask(Scene("heart", "pink", "night", 1, "", 3), 64)
    assert len(np.unique(mask)) >= 8


UNKNOWN = {"kind": "unicorn", "colour": "beige", "background": "moon", "count": 6, "size": "huge", "seed": -1}
UNKNOWN |= {"companion": ("ball", "beige")}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_facts_are_refused_in_one_line(name):
    scene = replace(Scene("ball", "red", "meadow", 1, "", 0), **{name: UNKNOWN[name]})
    for painter in (paint, paint_backdrop, foreground_mask):
        with pytest.raises(InputError) as refusal:
            painter(scene, 64)
        assert "\n" not in str(refusal.value)


def test_tiny_size_is_refused():
    with pytest.raises(InputError, match="size 4"):
        paint(Scene("ball", "red", "meadow", 1, "", 0), 4)
