"""Edits of painted scenes: only what the instruction names changes."""

import numpy as np
import pytest

from t2vz.world import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    changed_mask,
    instruction_words,
    is_held_out,
    paint,
    paint_after,
    paint_clip,
    paint_clip_after,
    sample_edit,
    sample_scene,
    vocabulary,
)


def edits(count: int, seed: int = 0, held_out: bool = False):
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        yield sample_edit(rng, sample_scene(rng), held_out)


def test_an_edit_changes_one_fact_and_says_which():
    known = {"colour": COLOURS, "place": BACKGROUNDS, "thing": OBJECTS}
    seen = set()
    for edit in edits(200):
        before, after = edit.before, edit.after
        facts = [(s.kind, s.colour, s.background) for s in (before, after)]
        assert sum(a != b for a, b in zip(*facts)) == 1
        assert edit.to in known[edit.what] and edit.to in (after.kind, after.colour, after.background)
        assert all(getattr(after, name) == getattr(before, name) for name in ("seed", "count", "size", "companion"))
        assert not is_held_out(after.kind, after.colour, after.background)
        seen.add(edit.what)
    assert seen == set(known)


def test_held_out_edits_lead_to_what_was_never_shown():
    for edit in edits(40, seed=1, held_out=True):
        assert is_held_out(edit.after.kind, edit.after.colour, edit.after.background)


@pytest.mark.parametrize("size", [64, 96])
def test_outside_its_mask_an_edit_changes_hardly_a_pixel(size):
    """Shadows and the canvas' antialiasing may differ by a little beside the mask; nothing else may."""
    changed_inside = []
    for edit in edits(30, seed=2):
        before, after = paint(edit.before, size).astype(int), paint_after(edit, size).astype(int)
        mask = changed_mask(edit, size)
        difference = np.abs(after - before).max(axis=-1)
        grown = np.maximum.reduce([np.roll(mask, (dy, dx), (0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)])
        outside = difference[grown == 0]
        if outside.size:
            # a thing's shadow under its feet follows its width, or takes its colour from another ground
            assert (outside > 24).mean() < 0.02, edit.instruction
        changed_inside.append((difference[mask > 200] > 24).mean() if (mask > 200).any() else 1.0)
    assert np.median(changed_inside) > 0.5


def test_every_word_of_an_instruction_is_known():
    known = set(vocabulary()) | set(instruction_words())
    for edit in edits(300, seed=3):
        assert set(edit.instruction.split()) <= known, edit.instruction


def test_the_same_seed_gives_the_same_edit_at_every_size():
    one, two = next(edits(1, seed=4)), next(edits(1, seed=4))
    assert one == two
    small, large = paint_after(one, 48).astype(int), paint_after(one, 96).astype(int)
    halved = large.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - halved).mean() < 6


def test_an_edited_clip_begins_with_the_edited_picture_and_moves_as_the_source_does():
    for edit in edits(6, seed=5):
        before, masks_before = paint_clip(edit.before, 64, 5)
        after, masks_after = paint_clip_after(edit, 64, 5)
        np.testing.assert_array_equal(after[0], paint_after(edit, 64))
        if edit.what == "colour":  # the same things in the same places, in another colour
            np.testing.assert_array_equal(masks_before, masks_after)
            outside = np.abs(before.astype(int) - after).max(axis=-1)[masks_before == 0]
            assert (outside > 24).mean() < 0.02
