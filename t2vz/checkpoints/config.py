"""The sizes of networks: what tensor shapes show, and the few numbers that only words can say.

Widths, levels, layers and channels are read off the shapes (`*_from_shapes`, by the folder layout's names). Head
counts, norm groups, scaling factor, picture size and the noise schedule leave no trace in shapes: a folder says them in
its config.json, t2vz's own single files in their header, and where nothing is said they are Stable Diffusion 1.x's.
Every other option of a config.json is compared with what `*_to_json` writes for the network that is built: a file that
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
from .read import HEADER

Shapes = Mapping[str, tuple[int, ...]]
Config = UNetConfig | VAEConfig | TextConfig

TEXT_HEAD_WIDTH = 64  # channels of a head in CLIP's text towers

# The one value of each option that t2vz builds. An option that is not listed must be off (null or false): it is newer
# than this list, and what it would change is unknown.
CONTROLNET_BUILT = {
    "act_fn": "silu",
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "transformer_layers_per_block": 1,
}
UNET_BUILT = CONTROLNET_BUILT | {
    "attention_type": "default",
    "center_input_sample": False,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "dropout": 0.0,
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


def unet_from_shapes(shapes: Shapes, where: str) -> UNetConfig:
    """A UNet's sizes, with SD 1.x's heads, groups and picture size. Raises InputError naming the tensor that should
    show a size and is not there."""
    temporal = any(is_temporal(key) for key in shapes)
    channels = _shape(shapes, "conv_out.weight", where)[0]
    return UNetConfig(out_channels=channels, temporal_attention=temporal, **_going_down(shapes, where))


def controlnet_from_shapes(shapes: Shapes, where: str) -> ControlNetConfig:
    """A ControlNet's sizes, with SD 1.x's heads and groups. Raises InputError as above."""
    stem = "controlnet_cond_embedding"
    first = _shape(shapes, f"{stem}.conv_in.weight", where)
    halving = range(1, _count(shapes, rf"{stem}\.blocks\.(\d+)\.", where), 2)  # every second conv
    return ControlNetConfig(
        condition_channels=first[1],
        condition_out_channels=(first[0], *(_shape(shapes, f"{stem}.blocks.{i}.weight", where)[0] for i in halving)),
        **_going_down(shapes, where),
    )


def _going_down(shapes: Shapes, where: str) -> dict[str, Any]:
    """What UNet and ControlNet have in common."""
    levels = range(_count(shapes, r"down_blocks\.(\d+)\.", where))
    text_reader = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return {
        "in_channels": _shape(shapes, "conv_in.weight", where)[1],
        "block_out_channels": tuple(
            _shape(shapes, f"down_blocks.{i}.resnets.0.conv2.weight", where)[0] for i in levels
        ),
        "has_attention": tuple(any(key.startswith(f"down_blocks.{i}.attentions.") for key in shapes) for i in levels),
        "layers_per_block": _count(shapes, r"down_blocks\.0\.resnets\.(\d+)\.", where),
        "heads": (8,) * len(levels),
        "context_dim": _shape(shapes, text_reader, where)[1],
    }


def vae_from_shapes(shapes: Shapes, where: str) -> VAEConfig:
    """A VAE's sizes, with SD 1.x's groups and scaling factor. Raises InputError as above."""
    levels = range(_count(shapes, r"encoder\.down_blocks\.(\d+)\.", where))
    return VAEConfig(
        in_channels=_shape(shapes, "encoder.conv_in.weight", where)[1],
        latent_channels=_shape(shapes, "decoder.conv_in.weight", where)[1],
        block_out_channels=tuple(
            _shape(shapes, f"encoder.down_blocks.{i}.resnets.0.conv1.weight", where)[0] for i in levels
        ),
        layers_per_block=_count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.", where),
    )


def text_from_shapes(shapes: Shapes, where: str) -> TextConfig:
    """The text tower's sizes, with 64 channels a head. Raises InputError as above."""
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
    """How many different numbers the pattern's group matches at the start of keys."""
    numbers = {match[1] for key in shapes if (match := re.match(pattern, key))}
    if not numbers:
        named = pattern.replace(r"(\d+)", "0").replace("\\", "")
        raise InputError(f"{where}: no tensor's name begins with {named}; the file is pruned or another model")
    return len(numbers)


def _shape(shapes: Shapes, key: str, where: str) -> tuple[int, ...]:
    if key not in shapes or len(shapes[key]) < 2:
        raise InputError(f"{where}: no weight named {key}; the file is pruned or of another architecture")
    return shapes[key]


FROM_SHAPES = {
    "unet": unet_from_shapes,
    "vae": vae_from_shapes,
    "text": text_from_shapes,
    "ControlNet": controlnet_from_shapes,
}


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


def read_sizes(name: str, shapes: Shapes, path: Any, said: Mapping[str, Any], where: str) -> Config:
    """The sizes of a network: of its shapes, and of what its config.json or header says (`said`, {} for nothing).

    name: a row of FROM_SHAPES. path, where: the weights and what describes them, for messages. Raises InputError that
    names the first option which asks for another architecture than Stable Diffusion 1.x's, or contradicts the shapes.
    """
    config = FROM_SHAPES[name](shapes, str(path))
    said = {option: value for option, value in said.items() if value is not None and not option.startswith("_")}
    for option, field in UNSHOWN.items():
        field = field if hasattr(config, field) else option
        if option in said and hasattr(config, field):
            config = replace(config, **{field: _like(getattr(config, field), said[option], option, where)})
    _check_divisors(config, where if said else str(path), said)
    built = to_json(config)
    if name == "text":  # its other options concern training, or the tokenizer's numbers
        said = {option: said[option] for option in said.keys() & {"model_type", *asdict(config)}}
    for option, value in said.items():
        expected = built.get(option, False)
        if option in UNSHOWN or option in IGNORED or _same(value, expected):
            continue
        rule = "an architecture without it"
        if option in built:
            rule = f"{expected!r}" + ", which its tensors show" * (option not in BUILT[type(config)])
        _refuse(where, option, value, rule)
    return config


def _like(present: Any, value: Any, option: str, where: str) -> Any:
    """A value that a file says, checked to be of the kind of the one it replaces."""
    if isinstance(present, tuple):  # one number for all levels, or one for each
        values = tuple(value) if isinstance(value, list | tuple) else (value,) * len(present)
        if len(values) != len(present) or not all(type(v) is int and v > 0 for v in values):
            _refuse(where, option, value, f"a positive whole number for each of the {len(present)} levels")
        return values
    if isinstance(value, list | tuple) and value and all(v == value[0] for v in value):
        value = value[0]
    if isinstance(present, str):
        if value not in ACTIVATIONS:
            _refuse(where, option, value, " or ".join(ACTIVATIONS))
        return value
    kinds = (int,) if isinstance(present, int) else (int, float)
    if type(value) not in kinds or not 0 < value < math.inf:
        _refuse(where, option, value, f"a positive {'whole ' * isinstance(present, int)}number")
    return type(present)(value)


def _same(value: Any, expected: Any) -> bool:
    """Whether an option has the value that is built; one value for all levels may be written as a list, and back."""
    if isinstance(value, list | tuple) == isinstance(expected, list | tuple):
        return value == expected or (isinstance(value, tuple) and list(value) == expected)
    one, many = (expected, value) if isinstance(value, list | tuple) else (value, expected)
    return len(many) > 0 and all(entry == one for entry in many)


def _check_divisors(config: Config, where: str, said: Mapping[str, Any]) -> None:
    """Raise InputError unless heads and norm groups divide the widths."""
    if isinstance(config, TextConfig):
        widths, divisors = (config.hidden_size,), [("heads", (config.num_attention_heads,))]
    else:
        widths, groups = config.block_out_channels, (config.norm_groups,) * len(config.block_out_channels)
        divisors = [("norm groups", groups), ("heads", getattr(config, "heads", groups))]
    for words, numbers in divisors:
        if any(width % number for width, number in zip(widths, numbers, strict=True)):
            number, hint = f"{max(numbers)} {words}", "load a checkpoint of Stable Diffusion 1.x's shape"
            if not said:
                number += " (Stable Diffusion 1.x's, as no config.json says another number)"
                hint = "put its config.json beside the file"
            shown = ", ".join(map(str, widths))
            raise InputError(f"{where}: its widths, {shown}, do not divide by {number}; {hint}")


def _refuse(where: str, option: str, value: Any, rule: str) -> NoReturn:
    raise InputError(
        f"{where}: {option} = {value!r}, but t2vz builds Stable Diffusion 1.x, with {rule}; load a checkpoint of that "
        "shape"
    )


def schedule_from_json(said: Mapping[str, Any], where: str) -> NoiseSchedule:
    """The noise schedule the UNet was trained on; how a sampler visits it (spacing, clipping …) is not read.

    Raises InputError for another schedule than "scaled linear", and for models that predict v or x_0.
    """
    said = {"beta_schedule": "linear"} | {option: value for option, value in said.items() if value is not None}
    for option, built in (SCHEDULE_BUILT | {"trained_betas": None}).items():
        if said.get(option, built) != built:
            _refuse(where, option, said[option], repr(built))
    if (offset := said.get("steps_offset", 1)) not in (0, 1):
        _refuse(where, "steps_offset", offset, "0 or 1")
    return NoiseSchedule(
        train_steps=_like(1, said.get("num_train_timesteps", 1000), "num_train_timesteps", where),
        beta_first=_like(1.0, said.get("beta_start", 1e-4), "beta_start", where),
        beta_last=_like(1.0, said.get("beta_end", 0.02), "beta_end", where),
        steps_offset=int(offset),
    )


def header_words(name: str, sizes: Config | NoiseSchedule, rule: Config | NoiseSchedule) -> dict[str, str]:
    """What a single file's header must say of a network: the options in which it differs from what `rule`, the reader's
    assumption, has. {} if there are none: files of SD 1.x's own kind need no words."""
    assumed = to_json(rule)
    differing = {option: value for option, value in to_json(sizes).items() if assumed.get(option) != value}
    return {HEADER + name: json.dumps(differing)} if differing else {}


def from_header(name: str, metadata: Mapping[str, str], path: Any) -> dict[str, Any]:
    """What a single file's header says of a network, {} for nothing. Raises InputError if it makes no sense."""
    try:
        said = json.loads(metadata.get(HEADER + name, "{}"))
    except ValueError as error:
        raise InputError(f"{path}: its header's {HEADER}{name} is not JSON; export the file again") from error
    if not isinstance(said, dict):
        raise InputError(f"{path}: its header's {HEADER}{name} is no dictionary of options; export the file again")
    return said
