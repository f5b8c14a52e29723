"""Cross-frame attention, E12, and its variants: which frames may frame k look at?

The paper's answer is "the first": every frame's queries, the first frame's keys and values. Replacing self-attention
(E11) by this in every layer of the UNet is what carries the first frame's appearance through the video. The other
answers are the rows of VARIANTS, each one word in an ablation. A new answer is a new row: chunks, the key/value cache
and traces follow from it. Its test is one row of MAY_SEE in tests/attention/test_cross_frame.py; its phrase, for
`--attention` and reports, is one row of ATTENTION in pipelines/settings.py, which must not import torch.

Frames are counted from 0 in code: the paper's frame 1 is index 0. It has nobody before it and looks at itself.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .softmax import attention, attention_plain, attention_weights

VARIANTS: dict[str, Callable[[int, int], Iterable[int]]] = {  # frame k of m -> the frames it looks at
    "own": lambda k, m: {k},  # plain self-attention, as the network was trained
    "first": lambda k, m: {0},  # Text2Video-Zero, E12
    "previous": lambda k, m: {max(k - 1, 0)},
    "first_previous": lambda k, m: {0, max(k - 1, 0)},  # "sparse-causal": Tune-A-Video, arXiv 2212.11565
    "causal": lambda k, m: range(k + 1),  # MagicVideo, arXiv 2211.11018
    "all": lambda k, m: range(m),
}


def frames_seen(variant: str, k: int, frames: int) -> tuple[int, ...]:
    """The frames whose keys and values the queries of frame k meet, in increasing order.

    k: 0 … frames − 1. frames: the number of frames m. Raises InputError for a variant that does not exist.
    """
    if variant not in VARIANTS:
        raise InputError(f'attention "{variant}" does not exist; choose one of: {", ".join(VARIANTS)}')
    return tuple(sorted(set(VARIANTS[variant](k, frames))))


def looks_ahead(variant: str, frames: int) -> bool:
    """Whether some frame looks at a later one ("all" does): then a video cannot be computed in chunks of frames."""
    return any(max(frames_seen(variant, k, frames)) > k for k in range(frames))


def cross_frame_attention_plain(q: Tensor, k: Tensor, v: Tensor, seen: Sequence[tuple[int, ...]]) -> Tensor:
    """E12 frame by frame, the reference for `cross_frame_attention`: softmax(Q^i [K^j]ᵀ / √c) [V^j], j in seen[i]."""
    frames = [attention_plain(q[:, i], _side_by_side(k, s), _side_by_side(v, s)) for i, s in enumerate(seen)]
    return torch.stack(frames, dim=1)


def cross_frame_attention(q: Tensor, k: Tensor, v: Tensor, seen: Sequence[tuple[int, ...]]) -> Tensor:
    """E12, general form: frame i of q attends to the tokens of the frames seen[i] of k and v, side by side.

    q (b, f, heads, n, c); k, v (b, g, heads, l, c); seen: f tuples of indices into the g frames of k and v
    -> (b, f, heads, n, c). With seen = [(0,)] * f this is the paper's softmax(Q^k (K^1)ᵀ / √c) V^1; with
    seen[i] = (i,) it is self-attention. Neighbouring frames that see the same frames share one call, so the paper's
    variant is a single attention of f·n queries over n keys.
    """
    if k.shape[1] == q.shape[1] and all(s == (i,) for i, s in enumerate(seen)):
        # Own frame: frames are a batch axis. (Fused kernels take four axes; with five the weights would be held.)
        out = attention(*(rearrange(x, "b f heads n c -> (b f) heads n c") for x in (q, k, v)))
        return rearrange(out, "(b f) heads n c -> b f heads n c", f=q.shape[1])
    outputs = []
    start = 0
    for frames, group in groupby(seen):
        stop = start + len(list(group))
        queries = rearrange(q[:, start:stop], "b f heads n c -> b heads (f n) c")
        result = attention(queries, _side_by_side(k, frames), _side_by_side(v, frames))
        outputs.append(rearrange(result, "b heads (f n) c -> b f heads n c", f=stop - start))
        start = stop
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def cross_frame_weights(q: Tensor, k: Tensor, seen: Sequence[tuple[int, ...]]) -> Tensor:
    """Where E12's queries look: softmax(Q^i [K^j]ᵀ / √c), j in seen[i], a mean over heads, to look at.

    q (b, f, heads, queries, c), all of a frame's cells or some; k (b, g, heads, l, c); seen as in
    `cross_frame_attention` -> (b, f, queries, s, l), s the most frames anyone sees; a frame that sees fewer has zeros
    in the last places. Each query's weights sum to 1.
    """
    most = max(len(frames) for frames in seen)
    maps = []
    for i, frames in enumerate(seen):  # one frame at a time: the weights of all heads are large
        weights = attention_weights(q[:, i], _side_by_side(k, frames)).mean(dim=1)
        weights = rearrange(weights, "b queries (s l) -> b queries s l", s=len(frames))
        maps.append(F.pad(weights, (0, 0, 0, most - len(frames))))
    return torch.stack(maps, dim=1)


def text_weights(q: Tensor, k: Tensor) -> Tensor:
    """Where cells look in the text, which is the same for all frames; a mean over heads, to look at.

    q (b, f, heads, n, c), k (b, 1, heads, tokens, c) -> (b, f, n, tokens); each cell's weights sum to 1.
    """
    return cross_frame_weights(q, k, [(0,)] * q.shape[1])[:, :, :, 0]


def _side_by_side(x: Tensor, frames: tuple[int, ...]) -> Tensor:
    """The tokens of the chosen frames in one row: (b, g, heads, n, c) -> (b, heads, len(frames)·n, c)."""
    if len(frames) == 1:
        return x[:, frames[0]]
    return rearrange(x[:, list(frames)], "b g heads n c -> b heads (g n) c")
