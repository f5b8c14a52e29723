"""config.json of the folder layout ↔ the sizes t2vz's networks are built from.

The files are diffusers' and transformers': dictionaries of many options, of which Stable Diffusion 1.x uses
one setting. `*_from_json` takes the sizes out, and compares every other option with the one value that is
built here: a file that asks for another computation is refused by the option's name. `*_to_json` writes
dictionaries that both libraries load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..errors import InputError
from ..schedulers import NoiseSchedule
from ..text.config import TextConfig
from ..unet.config import ControlNetConfig, UNetConfig
from ..vae.config import VAEConfig

CROSS_DOWN, PLAIN_DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

# The value of each option that t2vz builds. An option that no list names must be off (None or False): it is
# newer than this list, and what it would change is unknown.
UNET_BUILT = {
    "act_fn": "silu",
    "attention_type": "default",
    "center_input_sample": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "downsample_padding": 1,
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "resnet_out_scale_factor": 1.0,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "transformer_layers_per_block": 1,
}
CONTROLNET_BUILT = {
    name: UNET_BUILT[name]
    for name in (
        "act_fn",
        "downsample_padding",
        "flip_sin_to_cos",
        "freq_shift",
        "mid_block_scale_factor",
        "mid_block_type",
        "norm_eps",
        "resnet_time_scale_shift",
        "transformer_layers_per_block",
    )
} | {"controlnet_conditioning_channel_order": "rgb"}
VAE_BUILT = {"act_fn": "silu", "mid_block_add_attention": True, "use_quant_conv": True, "use_post_quant_conv": True}
# Options that do not change what is computed: picture sizes, float types, sizes of parts that are off.
IGNORED = {"sample_size", "upcast_attention", "force_upcast", "addition_embed_type_num_heads"}

# What transformers takes for the sizes of a text tower that a file leaves out.
TEXT_DEFAULTS = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
}

# SD 1.5's sampler settings, for folders that t2vz writes; the betas are added from the schedule.
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
    "trained_betas": None,
}


class _Options:
    """A config.json being read: sizes are taken one by one, and what is left must be what t2vz builds."""

    def __init__(self, json: Mapping[str, Any], where: str):
        self.left = {key: value for key, value in json.items() if not key.startswith("_")}
        self.where = where

    def take(self, name: str, default: Any) -> Any:
        """An option's value, or the default if it is not given or null; it counts as read."""
        value = self.left.pop(name, None)
        return default if value is None else value

    def whole(self, name: str, default: int) -> int:
        """One positive whole number; a list of equal numbers counts as one."""
        values = self._numbers(name, self.take(name, default))
        if len(set(values)) != 1:
            self.refuse(name, values, "one value for all levels")
        return values[0]

    def per_level(self, name: str, default: Any, levels: int | None = None) -> tuple[int, ...]:
        """One positive whole number per level; a single number counts for all."""
        values = self._numbers(name, self.take(name, default))
        values = values * levels if levels and len(values) == 1 else values
        if levels and len(values) != levels:
            self.refuse(name, values, f"one value for each of the {levels} levels")
        return values

    def number(self, name: str, default: float) -> float:
        """One positive number."""
        value = self.take(name, default)
        if type(value) not in (int, float) or not value > 0:
            self.refuse(name, value, "a positive number there")
        return float(value)

    def names(self, name: str, default: list[str]) -> list[str]:
        """A list of words."""
        value = self.take(name, default)
        if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            self.refuse(name, value, "a list of block names there")
        return list(value)

    def built(self, built: Mapping[str, Any]) -> None:
        """Refuse every option left that asks for something other than what is built."""
        for name, value in self.left.items():
            if isinstance(value, list) and len(set(map(str, value))) == 1:  # the same for every level
                value = value[0]
            if name in built and value != built[name]:
                self.refuse(name, value, repr(built[name]))
            if name not in built and name not in IGNORED and value not in (None, False):
                self.refuse(name, value, "an architecture without it")

    def refuse(self, name: str, value: Any, rule: str) -> None:
        """Raise InputError: the option has a value that Stable Diffusion 1.x does not have."""
        raise InputError(
            f"{self.where}: {name} = {value!r}, but t2vz builds Stable Diffusion 1.x, with "
            f"{rule}; load a checkpoint of that shape"
        )

    def _numbers(self, name: str, value: Any) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or not all(type(v) is int and v > 0 for v in values):
            self.refuse(name, value, "positive whole numbers there")
        return values


def unet_from_json(json: Mapping[str, Any], where: str = "unet/config.json") -> UNetConfig:
    """A UNet's sizes from diffusers' config, where `attention_head_dim` is the number of heads.

    Raises InputError that names the first option which asks for another architecture.
    """
    options = _Options(json, where)
    sizes = _sizes_going_down(options)
    up = options.names("up_block_types", [PLAIN_UP] + [CROSS_UP] * 3)
    if up != [CROSS_UP if has else PLAIN_UP for has in reversed(sizes["has_attention"])]:
        options.refuse("up_block_types", up, "the levels of down_block_types in reverse")
    config = UNetConfig(
        out_channels=options.whole("out_channels", 4), sample_size=options.whole("sample_size", 64), **sizes
    )
    options.built(UNET_BUILT)
    _check_divisors(options, config)
    return config


def controlnet_from_json(json: Mapping[str, Any], where: str = "config.json") -> ControlNetConfig:
    """A ControlNet's sizes from diffusers' config. Raises as `unet_from_json`."""
    options = _Options(json, where)
    config = ControlNetConfig(
        condition_channels=options.whole("conditioning_channels", 3),
        condition_out_channels=options.per_level("conditioning_embedding_out_channels", [16, 32, 96, 256]),
        **_sizes_going_down(options),
    )
    options.built(CONTROLNET_BUILT)
    _check_divisors(options, config)
    return config


def _sizes_going_down(options: _Options) -> dict[str, Any]:
    """What UNet and ControlNet have in common, by the names of UNetConfig."""
    widths = options.per_level("block_out_channels", [320, 640, 1280, 1280])
    levels = len(widths)
    down = options.names("down_block_types", [CROSS_DOWN] * 3 + [PLAIN_DOWN])
    if len(down) != levels or any(block not in (CROSS_DOWN, PLAIN_DOWN) for block in down):
        options.refuse("down_block_types", down, f"{levels} of {CROSS_DOWN}, {PLAIN_DOWN}")
    default_heads = options.per_level("attention_head_dim", 8, levels)
    return {
        "in_channels": options.whole("in_channels", 4),
        "block_out_channels": widths,
        "has_attention": tuple(block == CROSS_DOWN for block in down),
        "layers_per_block": options.whole("layers_per_block", 2),
        "heads": options.per_level("num_attention_heads", default_heads, levels),
        "context_dim": options.whole("cross_attention_dim", 1280),
        "norm_groups": options.whole("norm_num_groups", 32),
    }


def _check_divisors(options: _Options, config: UNetConfig) -> None:
    for width, heads in zip(config.block_out_channels, config.heads, strict=True):
        if width % heads or width % config.norm_groups:
            options.refuse(
                "block_out_channels",
                config.block_out_channels,
                f"widths that {config.heads} heads and {config.norm_groups} norm groups divide",
            )


def unet_to_json(config: UNetConfig) -> dict[str, Any]:
    """What `unet_from_json` reads, written so that diffusers' UNet2DConditionModel loads it."""
    return (
        UNET_BUILT
        | _going_down_to_json(config)
        | {
            "_class_name": "UNet2DConditionModel",
            "out_channels": config.out_channels,
            "up_block_types": [CROSS_UP if has else PLAIN_UP for has in reversed(config.has_attention)],
            "sample_size": config.sample_size,
        }
    )


def controlnet_to_json(config: ControlNetConfig) -> dict[str, Any]:
    """What `controlnet_from_json` reads, written so that diffusers' ControlNetModel loads it."""
    return (
        CONTROLNET_BUILT
        | _going_down_to_json(config)
        | {
            "_class_name": "ControlNetModel",
            "conditioning_channels": config.condition_channels,
            "conditioning_embedding_out_channels": list(config.condition_out_channels),
        }
    )


def _going_down_to_json(config: UNetConfig) -> dict[str, Any]:
    return {
        "in_channels": config.in_channels,
        "block_out_channels": list(config.block_out_channels),
        "down_block_types": [CROSS_DOWN if has else PLAIN_DOWN for has in config.has_attention],
        "layers_per_block": config.layers_per_block,
        "attention_head_dim": list(config.heads),
        "cross_attention_dim": config.context_dim,
        "norm_num_groups": config.norm_groups,
    }


def vae_from_json(json: Mapping[str, Any], where: str = "vae/config.json") -> VAEConfig:
    """A VAE's sizes from diffusers' config. SD 1.5's own file leaves `scaling_factor` out: it is 0.18215."""
    options = _Options(json, where)
    widths = options.per_level("block_out_channels", [64])
    for name, block in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        blocks = options.names(name, [block])
        if blocks != [block] * len(widths):
            options.refuse(name, blocks, f"{len(widths)} of {block}")
    config = VAEConfig(
        in_channels=options.whole("in_channels", 3),
        latent_channels=options.whole("latent_channels", 4),
        block_out_channels=widths,
        layers_per_block=options.whole("layers_per_block", 1),
        norm_groups=options.whole("norm_num_groups", 32),
        scaling_factor=options.number("scaling_factor", 0.18215),
    )
    options.built(VAE_BUILT | {"out_channels": config.in_channels})
    if any(width % config.norm_groups for width in widths):
        options.refuse("block_out_channels", widths, f"widths that {config.norm_groups} norm groups divide")
    return config


def vae_to_json(config: VAEConfig) -> dict[str, Any]:
    """What `vae_from_json` reads, written so that diffusers' AutoencoderKL loads it."""
    return VAE_BUILT | {
        "_class_name": "AutoencoderKL",
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "latent_channels": config.latent_channels,
        "block_out_channels": list(config.block_out_channels),
        "down_block_types": ["DownEncoderBlock2D"] * len(config.block_out_channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(config.block_out_channels),
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_groups,
        "scaling_factor": config.scaling_factor,
    }


def text_from_json(json: Mapping[str, Any], where: str = "text_encoder/config.json") -> TextConfig:
    """The text tower's sizes. Token ids are not read: the published ones are wrong, the tokenizer's right."""
    options = _Options(json, where)
    kind = options.take("model_type", "clip_text_model")
    if kind != "clip_text_model":
        options.refuse("model_type", kind, "CLIP's text tower (clip_text_model)")
    activation = options.take("hidden_act", "quick_gelu")
    if activation not in ("quick_gelu", "gelu"):
        options.refuse("hidden_act", activation, "quick_gelu")
    sizes = {name: options.whole(name, default) for name, default in TEXT_DEFAULTS.items()}
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        options.refuse("num_attention_heads", sizes["num_attention_heads"], "heads that divide the width")
    eps = options.number("layer_norm_eps", 1e-5)
    return TextConfig(**sizes, hidden_act=activation, layer_norm_eps=eps)


def text_to_json(config: TextConfig) -> dict[str, Any]:
    """What `text_from_json` reads, written so that transformers' CLIPTextModel loads it.

    The special tokens are CLIP's own, the vocabulary's last two: start, then end, also padding. (Published configs name
    0, 2 and 1, which no tokenizer uses, and transformers warns of numbers that are not in the vocabulary.)
    """
    start, end = config.vocab_size - 2, config.vocab_size - 1
    special = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    return {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"} | asdict(config) | special


def schedule_from_json(json: Mapping[str, Any], where: str = "scheduler/scheduler_config.json") -> NoiseSchedule:
    """The noise schedule the UNet was trained on; how a sampler visits it (spacing, clipping …) is not read.

    Raises InputError for another schedule than "scaled linear", and for models that predict v or x_0.
    """
    options = _Options(json, where)
    prediction = options.take("prediction_type", "epsilon")
    if prediction != "epsilon":
        options.refuse("prediction_type", prediction, "'epsilon'")
    kind = options.take("beta_schedule", "linear")
    if kind != "scaled_linear":
        options.refuse("beta_schedule", kind, "'scaled_linear'")
    for name in ("trained_betas", "rescale_betas_zero_snr"):
        if value := options.take(name, None):
            options.refuse(name, value, "the scaled linear schedule as it is")
    offset = options.take("steps_offset", 1)
    if offset not in (0, 1):
        options.refuse("steps_offset", offset, "0 or 1")
    return NoiseSchedule(
        train_steps=options.whole("num_train_timesteps", 1000),
        beta_first=options.number("beta_start", 1e-4),
        beta_last=options.number("beta_end", 0.02),
        steps_offset=int(offset),
    )


def schedule_to_json(schedule: NoiseSchedule) -> dict[str, Any]:
    """What `schedule_from_json` reads, written so that diffusers' DDIMScheduler loads it."""
    return SCHEDULER | {
        "num_train_timesteps": schedule.train_steps,
        "beta_start": schedule.beta_first,
        "beta_end": schedule.beta_last,
        "steps_offset": schedule.steps_offset,
    }
