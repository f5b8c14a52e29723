"""The picture world: captioned scenes, painted from a seed at any size, from which the embedded model learns.

`canvas` holds ink and paper, `look` what a thing may look like, `objects` the things, `decoration` what
places share, `backgrounds` the places; `scene` puts them together, and `clip` makes them move.
"""

from .clip import paint_clip
from .scene import (
    BACKGROUNDS,
    COLOURS,
    OBJECTS,
    Scene,
    caption,
    foreground_mask,
    is_held_out,
    paint,
    paint_backdrop,
    sample_scene,
    vocabulary,
)

__all__ = ["BACKGROUNDS", "COLOURS", "OBJECTS", "Scene", "caption", "foreground_mask", "is_held_out", "paint",
           "paint_backdrop", "paint_clip", "sample_scene", "vocabulary"]
