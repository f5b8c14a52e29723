"""The UNet's transformer block: attention between pixels (and frames), attention to the text, feed-forward.

Self-attention is where a video comes from: `SelfAttention` asks a FrameView which frames its queries may look at (E12).
Attribute names are those of the folder layout's checkpoints (attn1, to_out.0, ff.net.0.proj …).
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..attention import FrameView, attention, attention_weights, cross_frame_attention


class SelfAttention(nn.Module):
    """Attention over tokens and frames (E11, E12): tokens (b, f, n, c) -> (b, f, n, c)."""

    def __init__(self, width: int, heads: int, layer: str):
        super().__init__()
        self.heads = heads
        self.layer = layer  # this layer's entry in a FrameMemory: its own place in the checkpoint
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, view: FrameView) -> Tensor:
        q = self.split_heads(self.to_q(x))
        keys, values, seen = view.keys_values(self.layer, x, self.project)
        if view.record is not None:
            view.record.add_frames(self.layer, view.start, q, keys, seen)
        out = cross_frame_attention(q, keys, values, seen)
        return self.to_out[0](rearrange(out, "b f heads n c -> b f n (heads c)"))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the tokens (b, f, n, c): two of (b, f, heads, n, c/heads)."""
        return self.split_heads(self.to_k(x)), self.split_heads(self.to_v(x))

    def split_heads(self, x: Tensor) -> Tensor:
        """(b, f, n, heads·c) -> (b, f, heads, n, c)."""
        return rearrange(x, "b f n (heads c) -> b f heads n c", heads=self.heads)


class TextAttention(nn.Module):
    """Cross-attention to the text, the same for all frames.

    x (b, f, n, c), context (b, tokens, dim) -> (b, f, n, c).
    """

    def __init__(self, width: int, context_dim: int, heads: int, layer: str):
        super().__init__()
        self.heads = heads
        self.layer = layer
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_dim, width, bias=False)
        self.to_v = nn.Linear(context_dim, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor, view: FrameView) -> Tensor:
        f = x.shape[1]
        # The text is projected once for all frames: their queries stand side by side.
        q = rearrange(self.to_q(x), "b f n (heads c) -> b heads (f n) c", heads=self.heads)
        k = rearrange(self.to_k(context), "b l (heads c) -> b heads l c", heads=self.heads)
        v = rearrange(self.to_v(context), "b l (heads c) -> b heads l c", heads=self.heads)
        if view.record is not None:
            weights = attention_weights(q, k)
            view.record.add(self.layer, view.start, rearrange(weights, "b heads (f n) l -> b f heads n l", f=f))
        return self.to_out[0](rearrange(attention(q, k, v), "b heads (f n) c -> b f n (heads c)", f=f))


class GEGLU(nn.Module):
    """Linear to twice the inner width; the first half times the exact GELU of the second (arXiv 2002.05202)."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the width, Linear back. (`net.1` was the dropout of training.)"""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.ModuleList([GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    """Self-attention, text attention, feed-forward; each normalised before and added to what came in."""

    def __init__(self, width: int, context_dim: int, heads: int, layer: str):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attn1 = SelfAttention(width, heads, f"{layer}.attn1")
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.attn2 = TextAttention(width, context_dim, heads, f"{layer}.attn2")
        self.norm3 = nn.LayerNorm(width, eps=1e-5)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor, view: FrameView) -> Tensor:
        x = x + self.attn1(self.norm1(x), view)
        x = x + self.attn2(self.norm2(x), context, view)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """A transformer block on a feature map: maps (b·f, c, h, w) -> tokens (b, f, h·w, c) -> maps, with a residual."""

    def __init__(self, width: int, context_dim: int, heads: int, norm_groups: int, layer: str):
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, kernel_size=1)
        self.transformer_blocks = nn.ModuleList(
            [TransformerBlock(width, context_dim, heads, f"{layer}.transformer_blocks.0")]
        )
        self.proj_out = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, x: Tensor, context: Tensor, view: FrameView) -> Tensor:
        b, h = context.shape[0], x.shape[-2]
        tokens = rearrange(self.proj_in(self.norm(x)), "(b f) c h w -> b f (h w) c", b=b)
        tokens = self.transformer_blocks[0](tokens, context, view)
        maps = rearrange(tokens, "b f (h w) c -> (b f) c h w", h=h)
        return x + self.proj_out(maps.contiguous(memory_format=_layout(x)))


def _layout(x: Tensor) -> torch.memory_format:
    """Channels-last in, channels-last out: convolutions on CPUs and tensor cores are faster so."""
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
