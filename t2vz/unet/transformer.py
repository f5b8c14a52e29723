"""The UNet's transformer block: attention between pixels (and frames), attention to the text, feed-forward.

Self-attention is where a video comes from: a FrameView says which frames its queries may look at (E12).
Attribute names are those of the folder layout's checkpoints (attn1, to_out.0, ff.net.0.proj …).
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import FrameView, cross_frame_attention


class Attention(nn.Module):
    """Projections to queries, keys and values, several heads, and back; what the two kinds of attention share.

    layer: its place in the checkpoint, given by `name_layers` once the network is built.
    """

    layer = ""

    def __init__(self, channels: int, source_channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(source_channels, channels, bias=False)
        self.to_v = nn.Linear(source_channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def split_heads(self, x: Tensor) -> Tensor:
        """(b, f, n, heads·c) -> (b, f, heads, n, c)."""
        return rearrange(x, "b f n (heads c) -> b f heads n c", heads=self.heads)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Sequence[tuple[int, ...]]) -> Tensor:
        """Cross-frame attention, heads joined: (b, f, heads, n, c) -> (b, f, n, heads·c)."""
        out = cross_frame_attention(q, k, v, seen)
        return self.to_out[0](rearrange(out, "b f heads n c -> b f n (heads c)"))


class SelfAttention(Attention):
    """Attention over tokens and frames (E11, E12): tokens (b, f, n, c) -> (b, f, n, c)."""

    def __init__(self, channels: int, heads: int):
        super().__init__(channels, channels, heads)

    def forward(self, x: Tensor, view: FrameView) -> Tensor:
        plan = view.plan_merge(x)  # None: all tokens, which is exact
        if plan is not None:
            x = plan.merge(x)
        q = self.split_heads(self.to_q(x))
        source = view.to_project(x)  # E12: frame 1, or nothing if an earlier chunk has projected it
        k, v = self.split_heads(self.to_k(source)), self.split_heads(self.to_v(source))
        k, v = view.with_earlier(self.layer, k, v)
        if view.look is not None and plan is None:  # a map of merged tokens would be of no cells
            view.look(self.layer, view.first_frame, q, k, view.seen)
        out = self.attend(q, k, v, view.seen)
        return out if plan is None else plan.unmerge(out)


class TextAttention(Attention):
    """Cross-attention to the text, the same for all frames.

    x (b, f, n, c), context (b, tokens, dim) -> (b, f, n, c).
    """

    def forward(self, x: Tensor, context: Tensor, view: FrameView) -> Tensor:
        q = self.split_heads(self.to_q(x))
        text = context[:, None]  # projected once, as one more frame that all frames look at
        k, v = self.split_heads(self.to_k(text)), self.split_heads(self.to_v(text))
        if view.look is not None:
            view.look(self.layer, view.first_frame, q, k, None)
        return self.attend(q, k, v, [(0,)] * x.shape[1])


class GEGLU(nn.Module):
    """Linear to twice the inner channels; the first half times the exact GELU of the second (arXiv 2002.05202)."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the channels, Linear back. (`net.1` was the dropout of training.)"""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.ModuleList([GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    """Self-attention, text attention, feed-forward; each normalised before and added to what came in."""

    def __init__(self, channels: int, context_dim: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-5)
        self.attn1 = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-5)
        self.attn2 = TextAttention(channels, context_dim, heads)
        self.norm3 = nn.LayerNorm(channels, eps=1e-5)
        self.ff = FeedForward(channels)
        self.norm_temp = self.attn_temp = None  # see temporal.py

    def forward(self, x: Tensor, context: Tensor, view: FrameView) -> Tensor:
        x = x + self.attn1(self.norm1(x), view)
        x = x + self.attn2(self.norm2(x), context, view)
        x = x + self.ff(self.norm3(x))
        return x if self.attn_temp is None else x + self.attn_temp(self.norm_temp(x))


class Transformer(nn.Module):
    """A transformer block on a feature map: maps (b·f, c, h, w) -> tokens (b, f, h·w, c) -> maps, with a residual."""

    def __init__(self, channels: int, context_dim: int, heads: int, norm_groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, kernel_size=1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context_dim, heads)])
        self.proj_out = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor, context: Tensor, view: FrameView) -> Tensor:
        b, h = context.shape[0], x.shape[-2]
        tokens = rearrange(self.proj_in(self.norm(x)), "(b f) c h w -> b f (h w) c", b=b)
        tokens = self.transformer_blocks[0](tokens, context, view)
        maps = rearrange(tokens, "b f (h w) c -> (b f) c h w", h=h)
        return x + self.proj_out(maps.contiguous(memory_format=_layout(x)))


def name_layers(network: nn.Module) -> None:
    """Tell every attention layer its place in the network, which is its name in the cache and in traces."""
    for name, module in network.named_modules():
        if isinstance(module, Attention):
            module.layer = name


def _layout(x: Tensor) -> torch.memory_format:
    """Channels-last in, channels-last out: convolutions on CPUs and tensor cores are faster so."""
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
