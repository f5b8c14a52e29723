"""Videos in chunks of frames: the keys and values that later chunks need are kept while one timestep is computed.

With first-frame attention (E12) a frame needs nothing of the others but frame 1's keys and values in each layer. So m
frames are denoised in chunks of any size, with the same result as in one batch: the first chunk leaves frame 1's keys
and values in a KeyValueCache, the others read them. The cache does not grow with m. Other variants leave what their
successors look at: "previous" the last frame so far, "first_previous" frame 1 and the last frame so far, "causal" all
frames (it grows), "own" nothing.

A cache is valid for one timestep, one prompt and one set of latents: start every denoising step with a new one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InputError
from .frames import frames_seen
from .merging import Merge, plan_merge

# A hook that looks inside: each attention layer calls look(layer, first_frame, q, k, seen) before it attends. layer is
# its place in the checkpoint, first_frame the index of the chunk's first frame; q, k, seen are what
# `cross_frame_attention` gets. In a text layer seen is None and k (b, 1, heads, tokens, c): all look at the same text.
Look = Callable[[str, int, Tensor, Tensor, Sequence[tuple[int, ...]] | None], None]


class FrameView:
    """Which frames the attention layers of one network call project, and which of them each frame looks at.

    It is made once per call, the same for all layers, and passed down by calls, never set on a module.

    variant: one of frames.VARIANTS. frames: f, those of the chunk. first_frame: the index of the first of them. cache:
    what earlier chunks of this timestep left, or None if the chunk is the whole video. look: see `Look`.
    merge: the share of tokens to merge (merging.py), in layers of the latent's size alone. size: (height, width) of the
    latent, needed for that. shift: the share of channels that resnets take from the frames before and after
    (unet/shift.py). Of the whole video, `video` is m.
    Raises InputError if a frame looks at one of a later chunk.

    Example: "first_previous", frames 4, 5, 6 of 10. They look at {0, 3}, {0, 4}, {0, 5}. Frames 0 and 3 come from the
    cache (`earlier`); 4 and 5 are projected, and 6 because frame 7 will look at it (`projected`: 0, 1, 2 of the
    chunk). So keys and values are those of frames 0 3 4 5 6 in this order, `seen` is (0, 1), (0, 2), (0, 3), and 0
    and 6 are kept for the next chunk (`kept`).
    """

    def __init__(
        self,
        variant: str,
        frames: int,
        first_frame: int = 0,
        cache: "KeyValueCache | None" = None,
        look: Look | None = None,
        merge: float = 0.0,
        shift: float = 0.0,
        size: tuple[int, int] = (0, 0),
    ):
        stop = first_frame + frames
        self.video = m = stop if cache is None else cache.frames
        if stop > m:
            raise InputError(f"frames {first_frame}…{stop - 1} of a video of {m} frames, counted from 0")
        now = [frames_seen(variant, k, m) for k in range(first_frame, stop)]
        later = {j for k in range(stop, m) for j in frames_seen(variant, k, m)}
        wanted = sorted(later.union(*now))
        if any(j >= stop for frames_now in now for j in frames_now):
            raise InputError(f'attention "{variant}" looks at later frames: give the whole video in one chunk')
        if shift and frames < m:
            raise InputError(f"the temporal shift takes channels from later frames: make all at once, a chunk of {m}")
        self.variant, self.frames, self.first_frame, self.cache, self.look = variant, frames, first_frame, cache, look
        self.merge, self.shift, self.size = merge, shift, size
        self.earlier = tuple(j for j in wanted if j < first_frame)
        self.projected = [j - first_frame for j in wanted if first_frame <= j < stop]
        place = {j: i for i, j in enumerate(j for j in wanted if j < stop)}
        self.seen = [tuple(place[j] for j in frames_now) for frames_now in now]
        self.kept = {j: place[j] for j in sorted(later) if j < stop}  # frame -> its place among the keys

    def plan_merge(self, tokens: Tensor) -> Merge | None:
        """Which of the chunk's tokens (b, f, n, c) to merge in this layer; None to leave them as they are."""
        height, width = self.size
        if not self.merge or tokens.shape[2] != height * width:
            return None
        return plan_merge(tokens, height, width, self.merge)

    def to_project(self, tokens: Tensor) -> Tensor:
        """Of the chunk's tokens (b, f, n, c) those of the frames whose keys and values are needed.

        With "first" this is frame 1 in the first chunk, and no frame in the others.
        """
        return tokens if len(self.projected) == tokens.shape[1] else tokens[:, self.projected]

    def with_earlier(self, layer: str, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values (b, g, heads, n, c): earlier chunks' first, then k and v of the projected frames.

        What later chunks need is left in the cache. Raises InputError if it lacks what an earlier chunk should have
        left.
        """
        if self.earlier:
            k_earlier, v_earlier = self._left_for(layer)
            k, v = torch.cat([k_earlier, k], dim=1), torch.cat([v_earlier, v], dim=1)
        if self.cache is not None and self.kept and tuple(self.kept) != self.earlier:  # else it holds just these
            places = list(self.kept.values())  # indexing by a list copies: the chunk's tensors can be freed
            self.cache.entries[layer] = tuple(self.kept), k[:, places], v[:, places]
        return k, v

    def _left_for(self, layer: str) -> tuple[Tensor, Tensor]:
        left = self.cache.entries.get(layer) if self.cache is not None else None
        frames = left[0] if left else ()
        if left is None or frames != self.earlier:
            missing = min(set(self.earlier) - set(frames), default=self.earlier[0])
            raise InputError(
                f'attention "{self.variant}" from frame {self.first_frame} on needs frame {missing}, which no earlier '
                "chunk left in the cache; run the chunks in order with one KeyValueCache per timestep"
            )
        return left[1], left[2]


class KeyValueCache:
    """Keys and values by layer, each (b, frames kept, heads, n, c), with the frames that they belong to.

    Chunks are exact in deep layers too: a layer's keys of a frame are made of that frame's own tokens there, which the
    earlier chunk computed, layer by layer, at the same timestep.
    frames: m, of the whole video, so that no frame is kept that nobody will look at.
    """

    def __init__(self, frames: int):
        self.frames = frames
        self.entries: dict[str, tuple[tuple[int, ...], Tensor, Tensor]] = {}
        self.others: dict[str, KeyValueCache] = {}

    def beside(self, network: str) -> "KeyValueCache":
        """Another network's cache at the same timestep, by a name: a ControlNet's layers are named like the UNet's."""
        return self.others.setdefault(network, KeyValueCache(self.frames))
