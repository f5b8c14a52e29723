"""The networks' sizes read off a single file's tensor shapes.

A single file has no config.json. Shapes give widths, levels and layers; four numbers leave no trace in them, and
Stable Diffusion 1.x's rule is used: 8 attention heads in the UNet, 64 channels a head in the text tower, 32 norm
groups, trained on 64×64 latents (unless the file's header says otherwise: unsaid.py). Names are the single-file
layout's, without the prefixes of `ldm`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import InputError
from ..text.config import TextConfig
from ..unet.config import ControlNetConfig, UNetConfig
from ..vae.config import VAEConfig

Shapes = Mapping[str, tuple[int, ...]]

UNET_HEADS = 8
TEXT_HEAD_WIDTH = 64


def unet_from_shapes(shapes: Shapes, where: str) -> UNetConfig:
    """A UNet's sizes. Block 0 is the first convolution; each level has `resnets` blocks, and all but the last
    one more that halves the size (`op`). Raises InputError naming the tensor that should show a size and is
    not there."""
    first_blocks, attention, resnets = levels_from_shapes(shapes, where)
    conv = "0.out_layers.3.weight"
    text_key = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    return UNetConfig(
        in_channels=_shape(shapes, "input_blocks.0.0.weight", where)[1],
        out_channels=_shape(shapes, "out.2.weight", where)[0],
        block_out_channels=tuple(_shape(shapes, f"input_blocks.{n}.{conv}", where)[0] for n in first_blocks),
        has_attention=attention,
        layers_per_block=resnets,
        heads=(UNET_HEADS,) * len(first_blocks),
        context_dim=_shape(shapes, text_key, where)[1],
    )


def levels_from_shapes(shapes: Shapes, where: str) -> tuple[list[int], tuple[bool, ...], int]:
    """Levels of a UNet or a ControlNet: each one's first block, whether it has transformers; resnets per level."""
    blocks = _count(shapes, r"input_blocks\.(\d+)\.", where)
    halving = sorted(n for n in range(blocks) if f"input_blocks.{n}.0.op.weight" in shapes)
    resnets = (halving[0] if halving else blocks) - 1
    first_blocks = [1, *(n + 1 for n in halving)]
    attention = tuple(f"input_blocks.{n}.1.proj_in.weight" in shapes for n in first_blocks)
    return first_blocks, attention, resnets


def controlnet_from_shapes(shapes: Shapes, where: str) -> ControlNetConfig:
    """A ControlNet's sizes, by the folder layout's names. Raises InputError as above."""
    levels = range(_count(shapes, r"down_blocks\.(\d+)\.", where))
    stem = "controlnet_cond_embedding"
    first = _shape(shapes, f"{stem}.conv_in.weight", where)
    halving = range(1, _count(shapes, rf"{stem}\.blocks\.(\d+)\.", where), 2)  # every second conv
    text_key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return ControlNetConfig(
        in_channels=_shape(shapes, "conv_in.weight", where)[1],
        block_out_channels=tuple(_shape(shapes, f"down_blocks.{i}.resnets.0.conv2.weight", where)[0] for i in levels),
        has_attention=tuple(f"down_blocks.{i}.attentions.0.proj_in.weight" in shapes for i in levels),
        layers_per_block=_count(shapes, r"down_blocks\.0\.resnets\.(\d+)\.", where),
        heads=(UNET_HEADS,) * len(levels),
        context_dim=_shape(shapes, text_key, where)[1],
        condition_channels=first[1],
        condition_out_channels=(first[0], *(_shape(shapes, f"{stem}.blocks.{i}.weight", where)[0] for i in halving)),
    )


def vae_from_shapes(shapes: Shapes, where: str, layout: str = "single-file") -> VAEConfig:
    """A VAE's sizes; layout: whose names they are. Raises InputError naming the tensor that should show a size and is
    not there."""
    level, block = ("down", "block") if layout == "single-file" else ("down_blocks", "resnets")
    levels = _count(shapes, rf"encoder\.{level}\.(\d+)\.", where)
    conv = f"{block}.0.conv1.weight"
    return VAEConfig(
        in_channels=_shape(shapes, "encoder.conv_in.weight", where)[1],
        latent_channels=_shape(shapes, "decoder.conv_in.weight", where)[1],
        block_out_channels=tuple(_shape(shapes, f"encoder.{level}.{n}.{conv}", where)[0] for n in range(levels)),
        layers_per_block=_count(shapes, rf"encoder\.{level}\.0\.{block}\.(\d+)\.", where),
    )


def text_from_shapes(shapes: Shapes, where: str) -> TextConfig:
    """The text tower's sizes, names beginning with `text_model.`. Raises InputError as above."""
    vocabulary, width = _shape(shapes, "text_model.embeddings.token_embedding.weight", where)[:2]
    return TextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=_shape(shapes, "text_model.encoder.layers.0.mlp.fc1.weight", where)[0],
        num_hidden_layers=_count(shapes, r"text_model\.encoder\.layers\.(\d+)\.", where),
        num_attention_heads=max(1, width // TEXT_HEAD_WIDTH),
        max_position_embeddings=_shape(shapes, "text_model.embeddings.position_embedding.weight", where)[0],
    )


def _count(shapes: Shapes, pattern: str, where: str) -> int:
    """One more than the largest number that the pattern's group matches at the start of a key."""
    numbers = [int(match[1]) for key in shapes if (match := re.match(pattern, key))]
    if not numbers:
        raise InputError(f"{where}: no tensor is named like {pattern}; the file is pruned or another model")
    return max(numbers) + 1


def _shape(shapes: Shapes, key: str, where: str) -> tuple[int, ...]:
    if key not in shapes or len(shapes[key]) < 2:
        raise InputError(f"{where}: no weight named {key}; the file is pruned or of another architecture")
    return shapes[key]
