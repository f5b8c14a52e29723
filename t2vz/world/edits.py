"""Edits of a scene: a picture before, an instruction, the picture after. They come free from the painter.

Only what the instruction names changes: the colour of the things ("make the ball blue"), what they are ("turn the
ball into a cat") or the place ("make it snow"). Positions, sizes, poses and the look that no caption names stay.
"""

from dataclasses import dataclass, replace

import numpy as np

from .look import COLOURS, Look, draw_look
from .objects import KINDS
from .scene import (
    BACKGROUNDS,
    OBJECTS,
    PLACES,
    Placed,
    Scene,
    backdrop,
    draw_shadows,
    draw_things,
    is_held_out,
    layout,
    stencil,
)
from .style import STYLES

FIELDS = {"colour": "colour", "place": "background", "thing": "kind"}  # what an edit changes: the field of the scene
EDITS = tuple(FIELDS)
SHORT = {"night": "make it night", "snow": "make it snow"}


@dataclass(frozen=True)
class Edit:
    """A scene and one thing that changes in it. what: one of EDITS; to: the new colour, place or thing."""

    before: Scene
    what: str
    to: str
    instruction: str

    @property
    def after(self) -> Scene:
        """The facts of the scene after the edit. (Its picture is `paint_after`: painted anew, this scene would also
        move things.)"""
        return replace(self.before, **{FIELDS[self.what]: self.to})


def sample_edit(rng: np.random.Generator, scene: Scene, held_out: bool = False) -> Edit:
    """A random edit of a scene, to a triple of the training split or (held_out) of the other one.

    A third of the edits each change colour, place and thing; as long as only one kind reaches the split, that one.
    """
    while True:
        what = EDITS[rng.integers(3)]
        choices, now = {
            "colour": (tuple(COLOURS), scene.colour),
            "place": (BACKGROUNDS, scene.background),
            "thing": (tuple(kind for kind in OBJECTS if kind not in STYLES[scene.style].leave_out), scene.kind),
        }[what]
        to = choices[rng.integers(len(choices))]
        edit = Edit(scene, what, to, instruct(rng, scene, what, to))
        after = edit.after
        if to != now and is_held_out(after.kind, after.colour, after.background) == held_out:
            return edit


def instruct(rng: np.random.Generator, scene: Scene, what: str, to: str) -> str:
    """The words for an edit, in one of several ways of saying it."""
    things = KINDS[scene.kind].plural if scene.count > 1 else scene.kind
    they = "them" if scene.count > 1 else "it"
    if what == "colour":
        ways = [f"make the {things} {to}", f"make {they} {to}", f"turn the {things} {to}"]
    elif what == "thing":
        article = "an" if to[0] in "aeiou" else "a"
        new = KINDS[to].plural if scene.count > 1 else f"{article} {to}"
        ways = [f"turn the {things} into {new}", f"replace the {things} with {new}", f"make {they} {new}"]
    else:
        phrase = PLACES[to].phrases[0]
        ways = [f"put {they} {phrase}", f"put the {things} {phrase}", SHORT.get(to, f"move {they} {phrase}")]
    return ways[rng.integers(len(ways))]


def instruction_words() -> list[str]:
    """Every word of an instruction that is in no caption, sorted."""
    return sorted("make turn into replace with put move it them the".split())


def things_after(edit: Edit) -> list[Placed]:
    """The things of the scene where they were, with what the edit changes about them."""
    kind, colour = edit.after.kind, edit.after.colour
    return [
        replace(thing, kind=kind, look=recoloured(thing.look, edit.before, colour))
        if thing.kind == edit.before.kind
        else thing
        for thing in layout(edit.before)
    ]


def recoloured(look: Look, scene: Scene, colour: str) -> Look:
    """A look of a scene in another colour: its shape, face and pattern stay, its inks are the new colour's."""
    if look.colour == COLOURS[colour]:
        return look
    new = draw_look(np.random.default_rng([scene.seed, 3]), colour, STYLES[scene.style])
    pattern = replace(look.pattern, colour=new.pattern.colour)
    return replace(new, pattern=pattern, vary=look.vary, face=look.face)


def paint_after(edit: Edit, size: int) -> np.ndarray:
    """The picture after the edit: uint8 (size, size, 3). The one before is `paint(edit.before, size)`."""
    canvas, things = backdrop(edit.after, size), things_after(edit)
    draw_shadows(canvas, things)
    draw_things(canvas, things)
    return canvas.finish()


def changed_mask(edit: Edit, size: int) -> np.ndarray:
    """Where the edit may change the picture: uint8 (size, size), 255 inside. The things before or after it; for
    another place all but the things."""
    style = STYLES[edit.before.style]
    before, after = stencil(layout(edit.before), size, style), stencil(things_after(edit), size, style)
    return 255 - np.minimum(before, after) if edit.what == "place" else np.maximum(before, after)
