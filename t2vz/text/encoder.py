"""Prompts to text states: CLIP's text tower, `transformers`' class with our loader's weights.

Stable Diffusion 1.5 is conditioned on all 77 last-layer states after the final layer norm: no pooling, no projection,
no padding mask.
"""

import torch
from torch import Tensor
from transformers import CLIPTextModel

from .tokenizer import Tokenizer


@torch.no_grad()
def encode_text(model: CLIPTextModel, tokenizer: Tokenizer, prompts: list[str]) -> Tensor:
    """The text states of some prompts: (prompts, tokens, dim) on the model's device, in its type."""
    ids = torch.stack([tokenizer.encode(prompt).ids for prompt in prompts])
    return model(input_ids=ids.to(model.device)).last_hidden_state
