"""Cross-frame attention, E12, and its variants: which frames may frame k look at?

The paper's answer is "the first": every frame's queries, the first frame's keys and values. Replacing self-attention
(E11) by this in every layer of the UNet is what carries the first frame's appearance through the video. The other
answers, each one word in an ablation:

    own              frame k itself: plain self-attention, as the network was trained
    first            frame 1 (Text2Video-Zero, E12)
    previous         frame k - 1
    first_previous   frames 1 and k - 1 ("sparse-causal": Tune-A-Video, arXiv 2212.11565)
    causal           frames 1 … k (MagicVideo, arXiv 2211.11018)
    all              frames 1 … m

Frame 1 has nobody before it and looks at itself. Frames are counted from 0 in code: the paper's frame 1 is index 0.
"""

from itertools import groupby

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .attention import attention, attention_weights

VARIANTS = ("own", "first", "previous", "first_previous", "causal", "all")


def frames_seen(variant: str, k: int, frames: int | None = None) -> tuple[int, ...]:
    """The frames whose keys and values the queries of frame k meet, in increasing order.

    k: frame index ≥ 0. frames: the number of frames m, needed by "all" only.
    Raises InputError for a variant that does not exist.
    """
    if variant == "own":
        return (k,)
    if variant == "first":
        return (0,)
    if variant == "previous":
        return (max(k - 1, 0),)
    if variant == "first_previous":
        return tuple(sorted({0, max(k - 1, 0)}))
    if variant == "causal":
        return tuple(range(k + 1))
    if variant == "all":
        if frames is None:
            raise InputError('attention "all" needs the number of frames')
        return tuple(range(frames))
    raise InputError(f'attention "{variant}" does not exist; choose one of: {", ".join(VARIANTS)}')


def cross_frame_attention_plain(q: Tensor, k: Tensor, v: Tensor, seen: list[tuple[int, ...]]) -> Tensor:
    """E12 frame by frame, the reference for `cross_frame_attention`: softmax(Q^i [K^j]ᵀ / √c) [V^j], j in seen[i]."""
    frames = [attention(q[:, i], _side_by_side(k, seen[i]), _side_by_side(v, seen[i])) for i in range(q.shape[1])]
    return torch.stack(frames, dim=1)


def cross_frame_attention(q: Tensor, k: Tensor, v: Tensor, seen: list[tuple[int, ...]]) -> Tensor:
    """E12, general form: frame i of q attends to the tokens of the frames seen[i] of k and v, side by side.

    q (b, f, heads, n, c); k, v (b, g, heads, n, c); seen: f tuples of indices into the g frames of k and v
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
    return torch.cat(outputs, dim=1)


def cross_frame_weights(q: Tensor, k: Tensor, seen: list[tuple[int, ...]]) -> Tensor:
    """Where E12's queries look: softmax(Q^i [K^j]ᵀ / √c), j in seen[i], a mean over heads, to look at.

    q (b, f, heads, queries, c), all of a frame's cells or some; k (b, g, heads, n, c); seen as in
    `cross_frame_attention` -> (b, f, queries, s, n), s the most frames anyone sees; a frame that sees fewer has zeros
    in the last places. Each query's weights sum to 1.
    """
    most = max(len(frames) for frames in seen)
    maps = []
    for i, frames in enumerate(seen):  # one frame at a time: the weights of all heads are large
        weights = attention_weights(q[:, i], _side_by_side(k, frames)).mean(dim=1)
        weights = rearrange(weights, "b queries (s n) -> b queries s n", s=len(frames))
        maps.append(F.pad(weights, (0, 0, 0, most - len(frames))))
    return torch.stack(maps, dim=1)


def _side_by_side(x: Tensor, frames: tuple[int, ...]) -> Tensor:
    """The tokens of the chosen frames in one row: (b, g, heads, n, c) -> (b, heads, len(frames)·n, c)."""
    if len(frames) == 1:
        return x[:, frames[0]]
    return rearrange(x[:, list(frames)], "b g heads n c -> b heads (g n) c")
