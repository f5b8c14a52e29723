"""The sizes of CLIP's text tower, by the names of its config.json. Defaults: Stable Diffusion 1.5's (CLIP ViT-L/14)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextConfig:
    """A prompt is max_position_embeddings numbers below vocab_size; it becomes as many states of width hidden_size."""

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072  # the MLP's inner width
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"  # or "gelu": the MLP's activation
    layer_norm_eps: float = 1e-5
