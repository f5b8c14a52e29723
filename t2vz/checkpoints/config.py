"""The sizes of networks: what tensor shapes show, and the few numbers that only words can say.

Widths, levels, layers and channels are read off the shapes (SHOWN, by the folder layout's names). Head counts, norm
groups, scaling factor, picture size and the noise schedule leave no trace in shapes: a folder says them in its
config.json, t2vz's own single files in their header, and where nothing is said they are Stable Diffusion 1.x's.
Every other option of a config.json is compared with what `to_json` writes for the network that is built: a file that
asks for another computation is refused by the option's name.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NoReturn

from ..errors import InputError
from ..schedulers import NoiseSchedule
from ..text.config import TextConfig
from ..unet.config import ControlNetConfig, UNetConfig
from ..unet.temporal import is_temporal
from ..vae.config import VAEConfig
from .read import HEADER, options_of

Shapes = Mapping[str, tuple[int, ...]]
Config = UNetConfig | VAEConfig | TextConfig

TEXT_HEAD_WIDTH = 64  # channels of a head in CLIP's text towers

# The one value of each option that t2vz builds. An option that is not listed must be off (null or false): it is newer
# than this list, and what it would change is unknown.
CONTROLNET_BUILT = {
    "act_fn": "silu",
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "transformer_layers_per_block": 1,
}
UNET_BUILT = CONTROLNET_BUILT | {
    "attention_type": "default",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
}
CONTROLNET_BUILT |= {"controlnet_conditioning_channel_order": "rgb"}
VAE_BUILT = {"act_fn": "silu", "mid_block_add_attention": True, "use_quant_conv": True, "use_post_quant_conv": True}
# dtype: transformers 5 otherwise builds the tower in the type it is stored in, beside diffusers' float32 UNet.
TEXT_BUILT = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "dtype": "float32"}
SCHEDULE_BUILT = {"beta_schedule": "scaled_linear", "prediction_type": "epsilon", "rescale_betas_zero_snr": False}
SAMPLER = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "leading", "trained_betas": None}
BUILT = {
    UNetConfig: {"_class_name": "UNet2DConditionModel"} | UNET_BUILT,
    ControlNetConfig: {"_class_name": "ControlNetModel"} | CONTROLNET_BUILT,
    VAEConfig: {"_class_name": "AutoencoderKL"} | VAE_BUILT,
    TextConfig: TEXT_BUILT,
    NoiseSchedule: {"_class_name": "DDIMScheduler"} | SCHEDULE_BUILT | SAMPLER,
}
# Options that do not change what is computed: picture sizes, float types, sizes of parts that are off.
IGNORED = {"sample_size", "upcast_attention", "force_upcast", "addition_embed_type_num_heads"}
ACTIVATIONS = ("quick_gelu", "gelu")
# t2vz's name -> diffusers', where they differ. attention_head_dim is the number of heads, whatever it is called.
OPTIONS = {
    "heads": "attention_head_dim",
    "context_dim": "cross_attention_dim",
    "norm_groups": "norm_num_groups",
    "condition_channels": "conditioning_channels",
    "condition_out_channels": "conditioning_embedding_out_channels",
    "train_steps": "num_train_timesteps",
    "beta_first": "beta_start",
    "beta_last": "beta_end",
}
# What shapes do not show: option -> field. The second name of the heads overrules the first.
UNSHOWN = {"attention_head_dim": "heads", "num_attention_heads": "heads", "norm_num_groups": "norm_groups"} | {
    name: name for name in ("sample_size", "scaling_factor", "hidden_act", "layer_norm_eps")
}

# Sizes that shapes show: field -> a tensor and its axis. Where the name has a *, one for each number that stands there;
# and without an axis, how many numbers those are.
GOING_DOWN = {
    "in_channels": ("conv_in.weight", 1),
    "block_out_channels": ("down_blocks.*.resnets.0.conv2.weight", 0),
    "layers_per_block": ("down_blocks.0.resnets.*", None),
    "context_dim": ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1),
}
CONTROL_STEM = {
    "condition_channels": ("controlnet_cond_embedding.conv_in.weight", 1),
    "condition_out_channels": ("controlnet_cond_embedding.blocks.*.weight", 0),
}
SHOWN = {
    UNetConfig: GOING_DOWN | {"out_channels": ("conv_out.weight", 0)},
    ControlNetConfig: GOING_DOWN | CONTROL_STEM,
    VAEConfig: {
        "in_channels": ("encoder.conv_in.weight", 1),
        "latent_channels": ("decoder.conv_in.weight", 1),
        "block_out_channels": ("encoder.down_blocks.*.resnets.0.conv1.weight", 0),
        "layers_per_block": ("encoder.down_blocks.0.resnets.*", None),
    },
    TextConfig: {
        "vocab_size": ("text_model.embeddings.token_embedding.weight", 0),
        "hidden_size": ("text_model.embeddings.token_embedding.weight", 1),
        "intermediate_size": ("text_model.encoder.layers.0.mlp.fc1.weight", 0),
        "num_hidden_layers": ("text_model.encoder.layers.*", None),
        "max_position_embeddings": ("text_model.embeddings.position_embedding.weight", 0),
    },
}


def sizes_from_shapes(kind: type[Config], shapes: Shapes, where: str) -> Config:
    """A network's sizes; what shapes do not show is SD 1.x's: heads, norm groups, scaling factor, picture size.

    Raises InputError naming the tensor that should show a size and is not there.
    """
    shown: dict[str, Any] = {field: _shown(shapes, *place, where) for field, place in SHOWN[kind].items()}
    if kind is TextConfig:
        shown["num_attention_heads"] = max(1, shown["hidden_size"] // TEXT_HEAD_WIDTH)
    elif kind is not VAEConfig:
        attends = [f"down_blocks.{i}.attentions." for i in range(len(shown["block_out_channels"]))]
        shown["has_attention"] = tuple(any(key.startswith(prefix) for key in shapes) for prefix in attends)
        shown["heads"] = (8,) * len(attends)
    if kind is UNetConfig:
        shown["temporal_attention"] = any(is_temporal(key) for key in shapes)
    if kind is ControlNetConfig:  # two convolutions for each halving: of the same width, and to the next
        widths = shown["condition_out_channels"]
        shown["condition_out_channels"] = widths[::2] + widths[-1:]
    return kind(**shown)


def _shown(shapes: Shapes, name: str, axis: int | None, where: str) -> int | tuple[int, ...]:
    """What a row of SHOWN says of these shapes."""
    before, star, after = name.partition("*")
    numbers = {match[1] for key in shapes if star and (match := re.match(rf"{re.escape(before)}(\d+)\.", key))}
    if star and not numbers:
        raise InputError(f"{where}: no tensor's name begins with {before}0.; the file is pruned or another model")
    if axis is None:
        return len(numbers)
    sides = []
    for key in [f"{before}{i}{after}" for i in range(len(numbers))] or [name]:
        if len(shapes.get(key, ())) < 2:
            raise InputError(f"{where}: no weight named {key}; the file is pruned or of another architecture")
        sides.append(shapes[key][axis])
    return tuple(sides) if star else sides[0]


def to_json(sizes: Config | NoiseSchedule) -> dict[str, Any]:
    """config.json of a network or a schedule, as the classes of diffusers and transformers read it."""
    options = {
        OPTIONS.get(name, name): list(value) if isinstance(value, tuple) else value
        for name, value in asdict(sizes).items()
    }
    if isinstance(sizes, UNetConfig):
        attends = ["CrossAttn" * has for has in options.pop("has_attention")]
        if not sizes.temporal_attention:  # t2vz's own option; diffusers has none like it
            del options["temporal_attention"]
        options["down_block_types"] = [f"{kind}DownBlock2D" for kind in attends]
        if isinstance(sizes, ControlNetConfig):
            del options["out_channels"], options["sample_size"]
        else:
            options["up_block_types"] = [f"{kind}UpBlock2D" for kind in reversed(attends)]
    elif isinstance(sizes, VAEConfig):
        levels = len(sizes.block_out_channels)
        options["down_block_types"], options["up_block_types"] = (
            [f"{way}Block2D"] * levels for way in ("DownEncoder", "UpDecoder")
        )
        options["out_channels"] = sizes.in_channels
    elif isinstance(sizes, TextConfig):
        # CLIP's own special tokens, the vocabulary's last two: start, then end, also padding. (Published configs name
        # 0, 2 and 1, which no tokenizer uses, and transformers warns of numbers that are not in the vocabulary.)
        start, end = sizes.vocab_size - 2, sizes.vocab_size - 1
        options |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    return BUILT[type(sizes)] | options


def describes(said: Mapping[str, Any], kind: type[Config]) -> bool:
    """Whether a config.json is of such a network, by the name of its class."""
    option = "architectures" if kind is TextConfig else "_class_name"
    return said.get(option) == BUILT[kind][option]


def read_sizes(kind: type[Config], shapes: Shapes, path: Any, said: Mapping[str, Any], where: str) -> Config:
    """The sizes of a network: of its shapes, and of what its config.json or header says (`said`, {} for nothing).

    path, where: the weights and what describes them, for messages. Raises InputError that names the first option which
    asks for another architecture than Stable Diffusion 1.x's, or contradicts the shapes.
    """
    config = sizes_from_shapes(kind, shapes, str(path))
    said = {option: value for option, value in said.items() if value is not None and not option.startswith("_")}
    for option, field in UNSHOWN.items():
        field = field if hasattr(config, field) else option
        if option in said and hasattr(config, field):
            config = replace(config, **{field: checked(said[option], getattr(config, field), option, where)})
    _check_divisors(config, where if said else str(path), said)
    built = to_json(config)
    if kind is TextConfig:  # its other options concern training, or the tokenizer's numbers
        said = {option: said[option] for option in said.keys() & {"model_type", *asdict(config)}}
    for option, value in said.items():
        expected = built.get(option, False)
        if option in UNSHOWN or option in IGNORED or _same(value, expected):
            continue
        rule = "an architecture without it"
        if option in built:
            rule = f"{expected!r}" + ", which its tensors show" * (option not in BUILT[type(config)])
        refuse_option(where, option, value, rule)
    return config


def checked(value: Any, present: Any, option: str, where: str) -> Any:
    """A value that a file says, if it is of the kind of the one it replaces. Raises InputError if it is not."""
    if isinstance(present, tuple):  # one number for all levels, or one for each
        values = tuple(value) if isinstance(value, list | tuple) else (value,) * len(present)
        if len(values) != len(present) or not all(type(v) is int and v > 0 for v in values):
            refuse_option(where, option, value, f"a positive whole number for each of the {len(present)} levels")
        return values
    if isinstance(value, list | tuple) and value and all(v == value[0] for v in value):
        value = value[0]
    if isinstance(present, str):
        if value not in ACTIVATIONS:
            refuse_option(where, option, value, " or ".join(ACTIVATIONS))
        return value
    kinds = (int,) if isinstance(present, int) else (int, float)
    if type(value) not in kinds or not 0 < value < math.inf:
        refuse_option(where, option, value, f"a positive {'whole ' * isinstance(present, int)}number")
    return type(present)(value)


def _same(value: Any, expected: Any) -> bool:
    """Whether an option has the value that is built; one value for all levels may be written as a list, and back."""
    if isinstance(value, list | tuple) == isinstance(expected, list | tuple):
        return value == expected or (isinstance(value, tuple) and list(value) == expected)
    one, many = (expected, value) if isinstance(value, list | tuple) else (value, expected)
    return len(many) > 0 and all(entry == one for entry in many)


def _check_divisors(config: Config, where: str, said: Mapping[str, Any]) -> None:
    """Raise InputError unless heads and norm groups divide the widths."""
    widths = (config.hidden_size,) if isinstance(config, TextConfig) else config.block_out_channels
    heads = getattr(config, "heads", getattr(config, "num_attention_heads", 1))
    for words, divisors in (("norm groups", getattr(config, "norm_groups", 1)), ("heads", heads)):
        numbers = divisors if isinstance(divisors, tuple) else (divisors,) * len(widths)
        if any(width % number for width, number in zip(widths, numbers, strict=True)):
            number, hint = f"{max(numbers)} {words}", "load a checkpoint of Stable Diffusion 1.x's shape"
            if not said:
                number += " (Stable Diffusion 1.x's, as no config.json says another number)"
                hint = "put its config.json beside the file"
            shown = ", ".join(map(str, widths))
            raise InputError(f"{where}: its widths, {shown}, do not divide by {number}; {hint}")


def refuse_option(where: str, option: str, value: Any, rule: str) -> NoReturn:
    """Raise InputError: an option of a file has a value that t2vz does not build."""
    said = f"{where}: {option} = {value!r}"
    raise InputError(f"{said}, but t2vz builds Stable Diffusion 1.x, with {rule}; load a checkpoint of that shape")


def header_words(name: str, sizes: Config | NoiseSchedule, rule: Config | NoiseSchedule) -> dict[str, str]:
    """What a single file's header must say of a network: the options in which it differs from what `rule`, the reader's
    assumption, has. {} if there are none: files of SD 1.x's own kind need no words."""
    assumed = to_json(rule)
    differing = {option: value for option, value in to_json(sizes).items() if assumed.get(option) != value}
    return {HEADER + name: json.dumps(differing)} if differing else {}


def from_header(name: str, metadata: Mapping[str, str], path: Any) -> tuple[dict[str, Any], str]:
    """What a single file's header says of a network, {} for nothing, and its place. Raises InputError if it makes no
    sense."""
    where = f"{path}, header {HEADER}{name}"
    return options_of(metadata.get(HEADER + name, "{}"), where), where
