"""CLIP's text tower: the 77 token numbers of a prompt become the 77 text states that the UNet attends to.

    embeddings           a token's vector plus its position's
    encoder.layers       12 in SD 1.5: causal self-attention and an MLP, each normalised before, added after
    final_layer_norm

Stable Diffusion 1.5 is conditioned on all 77 states after the final norm: no pooling, no projection, no padding mask.
"Clip skip" (`skip_layers`) leaves the last layers out and keeps the final norm.
Source: Radford et al. 2021 (arXiv 2103.00020); attribute names of the published checkpoints (text_model.encoder.…).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from .config import TextConfig
from .tokenizer import Tokenizer


def quick_gelu(x: Tensor) -> Tensor:
    """x · σ(1.702 x), with which CLIP was trained in place of the exact GELU."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


def table(rows: int, width: int) -> nn.Embedding:
    """A table of vectors: numbers (…) -> (…, width). It starts at random, with CLIP's standard deviation of 0.02.

    Uniform: drawn without memory, the normal numbers of nn.Embedding import torch's compiler, a second of CPU time.
    """
    weight = nn.Parameter(torch.empty(rows, width).uniform_(-0.02 * 3**0.5, 0.02 * 3**0.5))
    return nn.Embedding.from_pretrained(weight, freeze=False)


class Embeddings(nn.Module):
    """Token numbers (b, n) -> (b, n, width): each token's vector plus the vector of its position."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.token_embedding = table(config.vocab_size, config.hidden_size)
        self.position_embedding = table(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class CausalSelfAttention(nn.Module):
    """E11 between the tokens of a prompt, where each sees itself and those before it: (b, n, width) -> same."""

    def __init__(self, config: TextConfig):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(project(x), "b n (heads c) -> b heads n c", heads=self.heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(rearrange(out, "b heads n c -> b n (heads c)"))


class MLP(nn.Module):
    """Linear to the inner width, activation, Linear back."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    """Self-attention, then the MLP; each normalised before and added to what came in."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = CausalSelfAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])


class TextModel(nn.Module):
    """Embeddings, layers and final norm: what checkpoints keep under `text_model.`."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class TextEncoder(nn.Module):
    """CLIP's text tower, any size (TextConfig)."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.text_model = TextModel(config)

    def hidden_states(self, ids: Tensor) -> list[Tensor]:
        """ids (b, n) -> the embeddings, then each layer's output before the final norm: layers + 1 × (b, n, width)."""
        states = [self.text_model.embeddings(ids)]
        for layer in self.text_model.encoder.layers:
            states.append(layer(states[-1]))
        return states

    def forward(self, ids: Tensor, skip_layers: int = 0) -> Tensor:
        """Token numbers (b, n) -> text states (b, n, width), n at most max_position_embeddings.

        skip_layers: how many of the last layers are left out. Stable Diffusion 1.5's own states are 0's; others call
        1 "clip skip 2" (or diffusers' clip_skip=1). Raises InputError for more layers than there are.
        """
        layers = self.config.num_hidden_layers
        if not 0 <= skip_layers < layers:
            raise InputError(f"skip_layers is {skip_layers}; the text tower has {layers} layers, and one must be left")
        return self.text_model.final_layer_norm(self.hidden_states(ids)[layers - skip_layers])


@torch.no_grad()
def encode_text(model: TextEncoder, tokenizer: Tokenizer, prompts: list[str]) -> Tensor:
    """The text states of some prompts: (prompts, tokens, width) on the model's device, in its type."""
    if isinstance(prompts, str):
        raise InputError(f'give a list of prompts, ["{prompts}"], not one string')
    ids = torch.stack([tokenizer.encode(prompt).ids for prompt in prompts])
    return model(ids.to(model.text_model.final_layer_norm.weight.device))
