"""Temporal attention: between the frames of a clip, at each place. Tune-A-Video's addition to Stable Diffusion's UNet.

After its feed-forward each transformer block attends from every latent cell to the same cell of all frames (E11, along
time). The projection back starts at zero, so that a UNet to which it is added computes what it did before.
Source: Wu et al. 2022 (arXiv 2212.11565), §3.3; attribute names of the published code (attn_temp, norm_temp).
"""

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor, nn

from .transformer import Attention, TransformerBlock


class TemporalAttention(Attention):
    """Attention of each cell over the frames: tokens (b, f, n, c) -> (b, f, n, c). A new one gives zeros."""

    def __init__(self, channels: int, heads: int):
        super().__init__(channels, channels, heads)
        nn.init.zeros_(self.to_out[0].weight)
        nn.init.zeros_(self.to_out[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        cells = rearrange(x, "b f n c -> b n f c")  # the n cells take the frames' place, and the frames the tokens'
        q, k, v = (self.split_heads(project(cells)) for project in (self.to_q, self.to_k, self.to_v))
        out = self.attend(q, k, v, [(i,) for i in range(cells.shape[1])])  # a cell sees itself alone, in all frames
        return rearrange(out, "b n f c -> b f n c")


def add_temporal_attention(network: nn.Module) -> None:
    """Give every transformer block of a UNet temporal attention, which changes nothing yet."""
    for block in network.modules():
        if isinstance(block, TransformerBlock):
            channels = block.norm3.normalized_shape[0]
            block.norm_temp = nn.LayerNorm(channels, eps=1e-5)
            block.attn_temp = TemporalAttention(channels, block.attn1.heads)


def with_temporal_attention(unet, seed: int = 0):
    """A copy of a UNet with temporal attention: the same predictions, until it is trained. In the type and on the
    device of `unet`. seed: of the new weights."""
    weight = unet.conv_in.weight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        longer = type(unet)(replace(unet.config, temporal_attention=True)).to(weight.device, weight.dtype)
    new = {name: value for name, value in longer.state_dict().items() if is_temporal(name)}
    longer.load_state_dict(unet.state_dict() | new)
    return longer.train(unet.training)


def is_temporal(name: str) -> bool:
    """Whether a parameter belongs to temporal attention, by its name."""
    return "_temp." in name
