"""First-frame memory: keys and values that later frames need, kept while one timestep is computed chunk by chunk.

With first-frame attention (E12) a frame needs nothing of the others but frame 1's keys and values in each layer. So m
frames are denoised in chunks of any size, with the same result as in one batch: the first chunk leaves frame 1's keys
and values here, the others read them. Memory does not grow with m. Other variants leave what their successors need:
"previous" the last frame so far, "first_previous" both, "causal" all frames (it grows), "own" nothing.

A memory is valid for one timestep, one prompt and one set of latents: start every denoising step with a new one.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import InputError
from .frames import frames_seen

Project = Callable[[Tensor], tuple[Tensor, Tensor]]  # tokens (b, f, n, c) -> keys and values (b, f, heads, n, c)


class FrameMemory:
    """Keys and values by layer name: which frames are kept, and their tensors (b, frames kept, heads, n, c)."""

    def __init__(self):
        self.entries: dict[str, tuple[list[int], Tensor, Tensor]] = {}
        self.others: dict[str, FrameMemory] = {}

    def beside(self, network: str) -> "FrameMemory":
        """Another network's memory at the same timestep, by a name: a ControlNet's layers are named like the UNet's."""
        return self.others.setdefault(network, FrameMemory())

    def recall(self, layer: str) -> tuple[list[int], Tensor | None, Tensor | None]:
        """The frames kept for a layer (absolute indices), their keys and their values; ([], None, None) if none."""
        return self.entries.get(layer, ([], None, None))

    def keep(self, layer: str, frames: list[int], keys: Tensor, values: Tensor) -> None:
        """Replace what is kept for a layer: frames by absolute index, keys and values (b, len(frames), heads, n, c)."""
        if frames:
            self.entries[layer] = (frames, keys, values)


class AttentionRecord:
    """Collects text cross-attention maps: where does each word look? Give one to UNet calls (E13's masks use it).

    cells: keep only layers with one of these numbers of latent cells n (default: all layers).
    Maps are means over heads, on the CPU. Those of several timesteps are added up; those of a video's chunks are put
    side by side by `map`.
    """

    def __init__(self, cells: Container[int] | None = None):
        self.cells = cells
        self.chunks: dict[str, dict[int, Tensor]] = {}  # layer -> index of the chunk's first frame -> (b, f, n, tokens)

    def add(self, layer: str, start: int, weights: Tensor) -> None:
        """Add the weights (b, f, heads, n, tokens) of one layer for the frames from `start` on."""
        if self.cells is not None and weights.shape[-2] not in self.cells:
            return
        mean = weights.float().mean(dim=2).cpu()
        chunks = self.chunks.setdefault(layer, {})
        chunks[start] = chunks[start] + mean if start in chunks else mean

    def add_frames(self, layer: str, start: int, q: Tensor, k: Tensor, seen: list[tuple[int, ...]]) -> None:
        """The queries and keys of a self-attention layer, as `cross_frame_attention` gets them; this record, made for
        words, keeps nothing of them. (A trace's does.)
        """

    @property
    def layers(self) -> list[str]:
        """The layers that were recorded, in the order the UNet runs them."""
        return list(self.chunks)

    def map(self, layer: str) -> Tensor:
        """One layer's map over all frames: (b, m, n, tokens); each row sums to the number of recorded timesteps."""
        chunks = self.chunks[layer]
        return torch.cat([chunks[start] for start in sorted(chunks)], dim=1)


@dataclass(frozen=True)
class FrameView:
    """What a layer is told about the frames it works on: passed down by calls, never set on a module.

    variant: one of frames.VARIANTS. start: absolute index of the chunk's first frame. memory: what earlier chunks of
    this timestep left, or None if the chunk is the whole video. record: where to put attention maps, or None.
    """

    variant: str = "own"
    start: int = 0
    memory: FrameMemory | None = field(default=None, repr=False)
    record: AttentionRecord | None = field(default=None, repr=False)

    def keys_values(self, layer: str, tokens: Tensor, project: Project):
        """Keys and values the chunk's queries need, and for each query frame where among them to look.

        tokens (b, f, n, c) are the chunk's; only frames that somebody looks at are projected: one for "first", none
        at all if the memory already has it. Returns keys, values (b, g, heads, n, c) and f tuples of indices into g.

        Example: "first_previous", frames 4, 5, 6 after a chunk that ended with 3. Seen: {0, 3}, {0, 4}, {0, 5}. The
        memory knows 0 and 3; fresh are 4 and 5, and 6 because frame 7 will look at it. So g = 5, for the frames
        0 3 4 5 6 in this order, the indices are (0, 1), (0, 2), (0, 3), and 0 and 6 are kept for the next chunk.
        Raises InputError if an earlier frame is needed that the memory does not hold.
        """
        f = tokens.shape[1]
        chunk = range(self.start, self.start + f)
        if self.variant == "all" and (self.start > 0 or self.memory is not None):
            raise InputError('attention "all" looks at every frame at once: give the whole video in one chunk')
        seen = [frames_seen(self.variant, i, chunk.stop) for i in chunk]
        known, keys, values = self.memory.recall(layer) if self.memory is not None else ([], None, None)
        keep = _needed_later(self.variant, chunk.stop) if self.memory is not None else set()
        wanted = set().union(*seen) | keep
        fresh = [i for i in chunk if i in wanted and i not in known]
        missing = wanted - set(known) - set(fresh)
        if missing:
            raise InputError(
                f'attention "{self.variant}" of frames {chunk.start}…{chunk.stop - 1} needs frame {min(missing)}, '
                "which no earlier chunk left in the memory; run the chunks in order with one FrameMemory per timestep"
            )
        if fresh:
            new_keys, new_values = project(tokens[:, [i - self.start for i in fresh]] if len(fresh) < f else tokens)
            keys = new_keys if keys is None else torch.cat([keys, new_keys], dim=1)
            values = new_values if values is None else torch.cat([values, new_values], dim=1)
        order = {frame: place for place, frame in enumerate([*known, *fresh])}
        if self.memory is not None and fresh:
            places = [order[i] for i in sorted(keep)]  # indexing by a list copies: the chunk's tensors can be freed
            self.memory.keep(layer, sorted(keep), keys[:, places], values[:, places])
        return keys, values, [tuple(order[i] for i in frames) for frames in seen]


def _needed_later(variant: str, done: int) -> set[int]:
    """Of the first `done` frames, those that a later frame will look at."""
    return {i for i in frames_seen(variant, done, done) if i < done}
