"""The single-file ("LDM") names of Stable Diffusion 1.x and its ControlNets beside the folder layout's names.

t2vz's networks keep the folder layout's names. A single file holds the same tensors under the names of the
original CompVis code: the UNet's blocks are numbered through, the VAE's decoder is counted from the image up.
`unet_modules`, `vae_modules` and `control_modules` walk the architecture and list, module by module, both names; a
tensor's name is its module's name and what follows it (`weight`, or the path inside a transformer, which is the same
in both). Any widths, levels and resnets per level; nothing here knows SD 1.5's numbers.
"""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from ..unet.config import ControlNetConfig, UNetConfig
from ..vae.config import VAEConfig

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."
EMA = "model_ema."
CONTROL = "control_model."  # in files of the original program; converted ones often leave it out

# Inside one block: single-file name, folder name. A shortcut is there only where the widths differ.
UNET_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
VAE_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "nin_shortcut": "conv_shortcut"}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
# In older folders, with the present names.
VAE_ATTENTION_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

# What trainers leave in single files beside the networks: schedule tables, EMA copies, losses, position_ids (0 … 76,
# and often spoilt by merging). Files of ControlNet 1.0 carry the whole of SD 1.5 as well.
EXTRAS = """
    alphas_cumprod alphas_cumprod_prev betas log_one_minus_alphas_cumprod logvar lvlb_weights scale_factor
    posterior_log_variance_clipped posterior_mean_coef1 posterior_mean_coef2 posterior_variance
    sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod
    cond_stage_model.logit_scale cond_stage_model.transformer.text_projection.weight
    cond_stage_model.transformer.text_model.embeddings.position_ids
    cond_stage_model.transformer.embeddings.position_ids
    embedding_manager.* first_stage_model.loss.* first_stage_model.model_ema.* model_ema.* control_model.*
""".split()


def unet_modules(config: UNetConfig) -> Iterator[tuple[str, str]]:
    """(single-file name, folder name) of every UNet module, in running order, without the prefix `UNET`."""
    yield from _going_down(config)
    levels, resnets = len(config.has_attention), config.layers_per_block + 1
    for level, has_attention in enumerate(reversed(config.has_attention)):
        for i in range(resnets):
            block = f"output_blocks.{level * resnets + i}"
            yield from _inside(f"{block}.0", f"up_blocks.{level}.resnets.{i}", UNET_RESNET)
            if has_attention:
                yield f"{block}.1", f"up_blocks.{level}.attentions.{i}"
        if level < levels - 1:  # in the block of the level's last resnet, the next free slot
            yield f"{block}.{2 if has_attention else 1}.conv", f"up_blocks.{level}.upsamplers.0.conv"
    yield "out.0", "conv_norm_out"
    yield "out.2", "conv_out"


def control_modules(config: ControlNetConfig) -> Iterator[tuple[str, str]]:
    """(single-file name, folder name) of every ControlNet module, without the prefix `CONTROL`."""
    yield from _going_down(config)
    for i in range(len(config.has_attention) * (config.layers_per_block + 1)):  # conv_in, resnets, downsamplers
        yield f"zero_convs.{i}.0", f"controlnet_down_blocks.{i}"
    yield "middle_block_out.0", "controlnet_mid_block"
    stem = ["conv_in", *(f"blocks.{i}" for i in range(2 * len(config.condition_out_channels) - 2)), "conv_out"]
    for i, name in enumerate(stem):
        yield f"input_hint_block.{2 * i}", f"controlnet_cond_embedding.{name}"  # odd numbers are activations


def _going_down(config: UNetConfig) -> Iterator[tuple[str, str]]:
    """What UNet and ControlNet have in common: the timestep, the levels going down, the middle."""
    yield "time_embed.0", "time_embedding.linear_1"
    yield "time_embed.2", "time_embedding.linear_2"
    yield "input_blocks.0.0", "conv_in"
    levels, resnets = len(config.has_attention), config.layers_per_block
    for level, has_attention in enumerate(config.has_attention):
        first = 1 + level * (resnets + 1)  # after the resnets comes a block that halves the size
        for i in range(resnets):
            yield from _inside(f"input_blocks.{first + i}.0", f"down_blocks.{level}.resnets.{i}", UNET_RESNET)
            if has_attention:
                yield f"input_blocks.{first + i}.1", f"down_blocks.{level}.attentions.{i}"
        if level < levels - 1:
            yield f"input_blocks.{first + resnets}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
    yield from _inside("middle_block.0", "mid_block.resnets.0", UNET_RESNET)
    yield "middle_block.1", "mid_block.attentions.0"
    yield from _inside("middle_block.2", "mid_block.resnets.1", UNET_RESNET)


def vae_modules(config: VAEConfig) -> Iterator[tuple[str, str]]:
    """(single-file name, folder name) of every VAE module, without the prefix `VAE`."""
    levels, resnets = len(config.block_out_channels), config.layers_per_block
    yield "quant_conv", "quant_conv"
    yield "post_quant_conv", "post_quant_conv"
    for half, way, count in (("encoder", "down", resnets), ("decoder", "up", resnets + 1)):
        yield f"{half}.conv_in", f"{half}.conv_in"
        for level in range(levels):
            # The single file counts the decoder's levels from the image, against the run.
            single = f"{half}.{way}.{level if way == 'down' else levels - 1 - level}"
            folder = f"{half}.{way}_blocks.{level}"
            for i in range(count):
                yield from _inside(f"{single}.block.{i}", f"{folder}.resnets.{i}", VAE_RESNET)
            if level < levels - 1:
                yield f"{single}.{way}sample.conv", f"{folder}.{way}samplers.0.conv"
        yield from _inside(f"{half}.mid.block_1", f"{half}.mid_block.resnets.0", VAE_RESNET)
        yield from _inside(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", VAE_ATTENTION)
        yield from _inside(f"{half}.mid.block_2", f"{half}.mid_block.resnets.1", VAE_RESNET)
        yield f"{half}.norm_out", f"{half}.conv_norm_out"
        yield f"{half}.conv_out", f"{half}.conv_out"


def _inside(single: str, folder: str, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for single_name, folder_name in names.items():
        yield f"{single}.{single_name}", f"{folder}.{folder_name}"


def unet_levels(keys: Iterable[str]) -> ControlNetConfig:
    """As much of a config as `unet_modules` and `control_modules` ask for, by the keys of a single file's network.

    Block 0 is the first convolution; each level has a block per resnet, and all but the last one more that halves the
    size (`op`). The stem has a first and a last convolution, and two for each halving.
    """
    halving = sorted(_numbers(keys, r"input_blocks\.(\d+)\.0\.op\."))
    attends = _numbers(keys, r"input_blocks\.(\d+)\.1\.")
    after = halving[0] if halving else len(_numbers(keys, r"input_blocks\.(\d+)\."))
    return ControlNetConfig(
        has_attention=tuple(first + 1 in attends for first in (0, *halving)),
        layers_per_block=after - 1,
        condition_out_channels=(0,) * (len(_numbers(keys, r"input_hint_block\.(\d+)\.")) // 2),
    )


def vae_levels(keys: Iterable[str]) -> VAEConfig:
    """As much of a config as `vae_modules` asks for, by the keys of a single file's VAE."""
    widths = (0,) * len(_numbers(keys, r"encoder\.down\.(\d+)\."))
    resnets = len(_numbers(keys, r"encoder\.down\.0\.block\.(\d+)\."))
    return VAEConfig(block_out_channels=widths, layers_per_block=resnets)


def _numbers(keys: Iterable[str], pattern: str) -> set[int]:
    """The numbers that the pattern's group matches at the start of keys."""
    return {int(match[1]) for key in keys if (match := re.match(pattern, key))}


def rename(key: str, modules: dict[str, str]) -> str | None:
    """The other layout's name of a tensor, or None if no module of the table holds it.

    modules: `dict(unet_modules(…))`, or `inverse(…)` of it for the way back. Whole parts of the path are
    compared, from the longest module down, so that `input_blocks.1` is not taken for the beginning of
    `input_blocks.10`.
    """
    parts = key.split(".")
    for n in range(len(parts) - 1, 0, -1):
        module = modules.get(".".join(parts[:n]))
        if module is not None:
            return ".".join([module, *parts[n:]])
    return None


def inverse(modules: dict[str, str]) -> dict[str, str]:
    """The table read from right to left: folder names to single-file names."""
    return {folder: single for single, folder in modules.items()}


def text_name(key: str) -> str:
    """A text tower's tensor by its published name: it begins with `text_model.`, left out in some files."""
    return key if key.startswith("text_model.") else f"text_model.{key}"


def vae_name(key: str) -> str:
    """A folder VAE's tensor by its present name: older folders' attention has query, key, value …"""
    parts = key.split(".")
    if "attentions" in parts and len(parts) > 2 and parts[-2] in VAE_ATTENTION_OLD:
        parts[-2] = VAE_ATTENTION_OLD[parts[-2]]
    return ".".join(parts)


def ema_key(key: str) -> str:
    """Where a single file keeps the moving average of `model.diffusion_model.…`: without the dots."""
    return EMA + key.removeprefix("model.").replace(".", "")


def is_extra(key: str) -> bool:
    """Whether a single file's key belongs to what is dropped (see EXTRAS)."""
    return any(fnmatchcase(key, pattern) for pattern in EXTRAS)
