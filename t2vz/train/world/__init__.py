"""The picture world: captioned scenes, painted from a seed at any size. The embedded model learns from these pictures alone.

`canvas` holds ink and paper, `objects` the things, `backgrounds` the places, `scene` puts them together.
"""

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
           "paint_backdrop", "sample_scene", "vocabulary"]
