"""A scene that moves: its things glide to and fro, rock or bob, and the place behind them pans a little.

For what needs a short video with known contents: an example to control and to edit, a measurement that has to know
where the thing is. Everything about the motion follows from the scene's seed and the frame's number alone, so that a
longer clip begins with the frames of a shorter one, and frame 1 is `paint(scene)`.
"""

from dataclasses import replace

import numpy as np

from ..errors import InputError
from .canvas import Canvas
from .edits import Edit, things_after
from .objects import KINDS
from .scene import Placed, Scene, backdrop, draw_shadows, draw_things, layout, stencil
from .style import STYLES

GLIDE = 48  # frames from one side of the room there is to the other and back
ROCK = 20  # frames of one swing, or of one bob up and down
PAN = 0.05  # how far the place moves at most, as a fraction of the picture
PAN_FRAMES = 64  # frames of its way there and back, to both sides


def paint_clip(scene: Scene, size: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A moving scene -> (pictures, masks): uint8 (frames, size, size, 3) and uint8 (frames, size, size).

    masks: how much of each pixel the named things cover in that frame, 255 inside them.
    Raises InputError for less than one frame, and as `paint`.
    """
    return moving(backdrop(scene, size), layout(scene), scene, size, frames)


def paint_clip_after(edit: Edit, size: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """What `paint_clip(edit.before, …)` would be after the edit: the same motion, everything else the same too."""
    return moving(backdrop(edit.after, size), things_after(edit), edit.before, size, frames)


def moving(place: Canvas, things: list[Placed], scene: Scene, size: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Things that move before a place as `scene` decides -> pictures and masks, as `paint_clip` gives them."""
    if frames < 1:
        raise InputError(f"{frames} frames: a clip has at least 1")
    way = _way(scene, layout(scene))
    pictures = np.empty((frames, size, size, 3), np.uint8)
    masks = np.empty((frames, size, size), np.uint8)
    for k in range(frames):
        moved = [_moved(thing, k, way[k % GLIDE]) for thing in things]
        canvas = place.panned(_pan(scene, k))
        draw_shadows(canvas, moved)
        draw_things(canvas, moved)
        pictures[k], masks[k] = canvas.finish(), stencil(moved, size, STYLES[scene.style])
    return pictures, masks


def _way(scene: Scene, things: list[Placed]) -> np.ndarray:
    """How far right of their places all things are, in each of GLIDE frames: a cosine through 0 at frame 1.

    They turn round where the outermost one would leave the picture; where there is no room for that, a little beyond.
    """
    sides = [thing.half * KINDS[thing.kind].half_width for thing in things]
    least = min(-0.05, -min(thing.x - side for thing, side in zip(things, sides, strict=True)))
    most = max(0.05, 1 - max(thing.x + side for thing, side in zip(things, sides, strict=True)))
    middle, reach = (least + most) / 2, (most - least) / 2
    first = np.arccos(-middle / reach)  # the phase at which they are where the layout puts them
    direction = np.random.default_rng([scene.seed, 5]).choice([-1, 1])
    return middle + reach * np.cos(first + direction * 2 * np.pi * np.arange(GLIDE) / GLIDE)


def _moved(thing: Placed, k: int, right: float) -> Placed:
    """The thing in frame k: glided to the right; on the ground it rocks, in the air it bobs."""
    swing = np.sin(2 * np.pi * k / ROCK)
    if thing.grounded:
        return replace(thing, x=thing.x + right, angle=thing.angle + 5 * swing)
    return replace(thing, x=thing.x + right, y=thing.y + 0.03 * swing)


def _pan(scene: Scene, k: int) -> float:
    direction = np.random.default_rng([scene.seed, 6]).choice([-1, 1])
    return PAN * direction * np.sin(2 * np.pi * k / PAN_FRAMES)
