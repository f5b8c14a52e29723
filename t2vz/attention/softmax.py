"""Attention: E11, softmax(Q Kᵀ / √c) V, in the plain form one reads and in the fused form one runs.

Both take any number of leading axes. In a UNet layer these are (b, heads) or (b·f, heads): b batch, f frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(Q Kᵀ / √c): where each query looks, a distribution over the keys.

    q (…, n, c) queries, k (…, l, c) keys -> (…, n, l), rows sum to 1. The softmax of half-precision inputs is taken in
    float32, where small weights keep their digits, and so is the result.
    Source: Vaswani et al. 2017 (arXiv 1706.03762), eq. 1.
    """
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(dim=-1)


def attention_plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """E11 as written: the reference for `attention`. q (…, n, c), k (…, l, c), v (…, l, d) -> (…, n, d)."""
    return attention_weights(q, k).to(v.dtype) @ v


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """E11 by torch's fused kernel, where there is one: the (n, l) weights are never held.

    q (…, n, c), k, v (…, l, c) -> (…, n, c).
    """
    if q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # Training: that kernel is so slow backwards here that a step of the embedded UNet takes 1.4 times as long.
        return ((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)
