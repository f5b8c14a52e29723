"""The picture world: captioned scenes, painted from a seed at any size, from which the embedded model learns.

`canvas` holds ink and paper, `look` what a thing may look like, `objects` the things, `decoration` what
places share, `backgrounds` the places; `scene` puts them together, `edits` change one fact of them,
and `animation` makes them move.
"""

from .animation import paint_clip, paint_clip_after
from .edits import Edit, changed_mask, instruction_words, paint_after, sample_edit
from .objects import KINDS
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
    scene_from_words,
    vocabulary,
)
from .style import STYLES
