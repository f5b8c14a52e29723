"""LoRA files: low-rank changes of a model's weights, W ← W + weight · (alpha / rank) · up · down (arXiv 2106.09685).

    checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")
    checkpoint = merge_lora(checkpoint, "style.safetensors", 0.7)      # reads names and shapes, and the alphas
    unet = build(checkpoint.unet, torch.float32)                       # now the changes are added, tensor by tensor

Nothing is written: the model's file stays as it is, and loading it again without the LoRA gives the old weights.
Two families of names are in use. kohya's trainer flattens a module's path, `lora_unet_down_blocks_0_attentions_0_…`
(or, from other trainers, the single file's path, `lora_unet_input_blocks_1_1_…`), and stores an alpha per module;
diffusers and peft keep the dots, `unet.down_blocks.0.attentions.0.….lora_A.weight`, and put alphas in the header;
ComfyUI keeps the dots of the single file's path, `diffusion_model.input_blocks.1.1.…`.
Flattened names cannot be split again ("to_q" has a "_" of its own), so the model's names are flattened and compared.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from . import layouts
from .kinds import BY_CONTEXT
from .networks import Checkpoint
from .read import Entry, find_path, options_of, read_bytes, read_header, read_tensors, some

# A factor's key: the module, what kind of name it is ("lora_down", "lora_A", ".lora.down", "_lora.down" …), its role,
# and peft's name of the adapter, if it is kept.
FACTOR = re.compile(
    r"(?P<module>.+?)[._]lora(?:_linear_layer)?[._](?P<role>down|up|mid|A|B)(?:\.(?P<adapter>[^.]+))?\.weight"
)
ROLES = {"A": "down", "B": "up"}
# What peft, torch.compile, and programs that train on many machines put into a module's name.
WRAPPERS = re.compile(r"^base_model\.model\.|_orig_mod[._]|_fsdp_wrapped_module[._]|_checkpoint_wrapped_module[._]")
# What may stand before a module's path: where it keeps its dots, and where it is flattened.
PREFIXES = {
    "unet": (("", "unet.", "diffusion_model.", "model.diffusion_model."), ("lora_unet_", "lycoris_")),
    "text": (
        ("", "text_encoder.", "text_encoders.clip_l.transformer.", "cond_stage_model.transformer."),
        ("lora_te_",),
    ),
}

# Relatives of LoRA that change a weight in another way, by what a key contains.
OTHER_METHODS = {
    "lora_controlnet": "a control-LoRA (take the whole ControlNet, with --controlnet)",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "lora_embedding": "a LoRA of embeddings",
    "lora_B.bias": "a LoRA with biases",
    ".diff": "a file of differences",
}

# The width of the text states that the model reads, as attn2's first factor shows it.
MADE_FOR = {768: "Stable Diffusion 1.x"} | {width: model for width, (_, model) in BY_CONTEXT.items()}
# Models by what their modules are called: the first pattern that one of them matches.
OTHER_MODELS = {
    "Flux": r"double_blocks|single_blocks|single_transformer_blocks",
    "Stable Diffusion 3": r"joint_blocks|lora_te3_|text_encoder_3\.|^transformer\.transformer_blocks",
    "Stable Cascade": r"lora_prior_",
    "AnimateDiff (a motion LoRA)": r"motion_modules?\.|temporal_transformer",
    "SDXL": r"lora_te[12]_|text_encoder_2\.",
}
# Kinds of layers, for a description: the first pattern that a module's name, flattened or not, matches.
TARGETS = {
    "self-attention": r"attn1|self_attn",
    "text attention": r"attn2",
    "feed-forward": r"[._]ff[._]|mlp",
    "projections": r"proj_(in|out)",
    "time": r"time_emb|emb_layers",
    "convolutions": r"conv|in_layers|out_layers|[._]op$|skip_connection|input_blocks_0_0|[._]out_2$",
    "other": r"",
}
ANOTHER_WAY = "changes weights in another way than LoRA; t2vz reads LoRA files"
SPOILT = "its LoRA settings (lora_adapter_metadata, or adapter_config.json) make no sense; get another copy"


@dataclass(frozen=True)
class Change:
    """What a file says of one module, by the name it gives it: its factors, "down", "up", and "mid" if there are three;
    scale, alpha / rank. A file may hold several adapters, and each adds its own."""

    module: str
    factors: Mapping[str, Entry]
    scale: float


def merge_lora(checkpoint: Checkpoint, path: str | Path, weight: float = 1.0) -> Checkpoint:
    """The checkpoint with a LoRA's changes, times `weight`, added to whatever changes it has already.

    Every key of the file is used or named in an error. Raises InputError: not a LoRA, made for another architecture,
    another method (LoHa, LoKr, DoRA …), half a pair missing.
    """
    path = find_path(path, "give a LoRA's .safetensors file")
    if not isinstance(weight, Real) or not math.isfinite(weight):
        raise InputError(f"{path}: its weight is {weight!r}; give a number, usually between 0 and 1")
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        advice = f"give {files[0] if len(files) == 1 else 'one of its .safetensors files'}"
        raise InputError(f"{path}: is a folder, and a LoRA is a file; {advice if files else 'it holds none'}")
    changes = read_changes(path, *read_header(path))
    _refuse_other_models(path, changes, checkpoint)
    names = _names(checkpoint)
    unknown = [change.module for change in changes if _plain(change.module) not in names]
    if unknown:
        raise InputError(f"{path}: was made for another model: {checkpoint.path} does not have {some(unknown)}")
    entries = {"unet": dict(checkpoint.unet.entries), "text": dict(checkpoint.text.entries)}
    for change in changes:
        part, name = names[_plain(change.module)]
        entry = entries[part][name]
        _check_shapes(path, change, entry)
        low_rank = partial(add_low_rank, factors=change.factors, scale=weight * change.scale)
        entries[part][name] = replace(entry, changes=(*entry.changes, low_rank))
    unet, text = (replace(part, entries=entries[part.name]) for part in (checkpoint.unet, checkpoint.text))
    return replace(checkpoint, unet=unet, text=text)


def add_low_rank(weight: Tensor, factors: Mapping[str, Entry], scale: float) -> Tensor:
    """W + scale · up · down, in W's type, the factors read from their file. A convolution's (o, i, h, w) is the matrix
    (o, i·h·w). factors: "down", "up", and "mid" if there are three."""
    tensors = dict(read_tensors(factors, weight.dtype))
    down, up = tensors["down"].flatten(1), tensors["up"].flatten(1)
    if "mid" in tensors:  # (r, r, h, w) between 1×1 factors: Σ up[o, n] · mid[n, m] · down[m, i]
        down = torch.einsum("nmhw, mi -> nihw", tensors["mid"], down).flatten(1)
    return weight + scale * (up @ down).reshape(weight.shape)


def read_changes(path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> list[Change]:
    """What a LoRA's file changes, module by module and adapter by adapter.

    Raises InputError for a key that is no part of a LoRA, one that is there twice under two names, a module without
    both factors or of rank 0, settings that make no sense.
    """
    found: dict[tuple[str, str], dict[str, Entry]] = {}  # by module and adapter
    alphas: dict[str, Entry] = {}
    strange = []
    for key, entry in entries.items():
        if match := FACTOR.fullmatch(key):
            factors = found.setdefault((match["module"], match["adapter"] or ""), {})
            before = factors.setdefault(ROLES.get(match["role"], match["role"]), entry)
            if before is not entry:
                raise InputError(f"{path}: {before.key} and {key} are the same factor; get another copy of the LoRA")
        elif key.endswith(".alpha"):
            alphas[key.removesuffix(".alpha")] = entry
        else:
            strange.append(key)
    if strange:
        method = other_method(strange)
        words = f"{method} {ANOTHER_WAY}" if method else "these are no part of a LoRA"
        raise InputError(f"{path}: holds {some(strange)}; {words} (of lora_down/lora_up, or lora_A/lora_B)")
    halves = [module for (module, _), factors in found.items() if not {"down", "up"} <= factors.keys()]
    halves += sorted(alphas.keys() - {module for module, _ in found})
    if halves:
        raise InputError(f"{path}: half of these pairs is missing: {some(halves)}; get another, complete copy")
    shapes = [(module, [factor.shape for factor in factors.values()]) for (module, _), factors in found.items()]
    empty = [module for module, sides in shapes if not all(shape and all(shape) for shape in sides)]
    if empty:
        raise InputError(f"{path}: has rank 0, which changes nothing, in {some(empty)}; get another copy of the LoRA")
    settings = _peft_settings(path, metadata)
    try:
        stored = {module: float(tensor) for module, tensor in read_tensors(alphas, torch.float32)}
        return [
            Change(module, factors, _scale(module, factors["down"].shape[0], stored, settings))
            for (module, _), factors in found.items()
        ]
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError, re.error) as error:
        raise InputError(f"{path}: {SPOILT}") from error


def other_method(keys: list[str]) -> str | None:
    """Which relative of LoRA the keys show (LoHa, LoKr, DoRA …), or None."""
    return next((method for mark, method in OTHER_METHODS.items() if any(mark in key for key in keys)), None)


def text_width(changes: Sequence[Change]) -> int | None:
    """The width of the text states a LoRA's UNet reads, as the factors of attn2's keys and values show it."""
    for change in changes:
        shape = change.factors["down"].shape
        if re.search(r"attn2.*to_[kv]$", change.module) and len(shape) > 1:
            return shape[1]
    return None


def target(module: str) -> str:
    """Which kind of layer a module is: "self-attention", "convolutions" … or "other"."""
    return next(name for name, pattern in TARGETS.items() if re.search(pattern, module))


def made_for(changes: Sequence[Change]) -> str | None:
    """The model a LoRA was made for, in words, or None if it does not show."""
    for model, pattern in OTHER_MODELS.items():
        if any(re.search(pattern, change.module) for change in changes):
            return model
    return MADE_FOR.get(text_width(changes))


def _refuse_other_models(path: Path, changes: Sequence[Change], checkpoint: Checkpoint) -> None:
    width, ours = text_width(changes), checkpoint.unet.config.context_dim
    model = made_for(changes)
    if model in OTHER_MODELS or width not in (None, ours):
        seen = f"{model or 'another model'}" + (f" (text states of {width})" if width else "")
        raise InputError(
            f"{path}: this LoRA was made for {seen}, and {checkpoint.path} reads text states of {ours}; "
            "give a LoRA made for this model"
        )


def _names(checkpoint: Checkpoint) -> dict[str, tuple[str, str]]:
    """Every name that a LoRA file may give a matrix or convolution of the model -> (part, tensor name)."""
    single = layouts.inverse(dict(layouts.unet_modules(checkpoint.unet.config)))
    names = {}
    for part in (checkpoint.unet, checkpoint.text):
        dotted, flattened = PREFIXES[part.name]
        for name, entry in part.entries.items():
            path = name.removesuffix(".weight")
            if path == name or len(entry.shape) < 2:
                continue
            for alias in (
                path,
                path.replace(".to_out.0", ".to_out"),
                path.removeprefix("text_model."),
                re.sub(r"self_attn\.(q|k|v|out)_proj$", r"self_attn.to_\1", path),
                (layouts.rename(name, single) or name).removesuffix(".weight"),
            ):
                keys = [prefix + alias for prefix in dotted]
                keys += [prefix + alias.replace(".", "_") for prefix in flattened]
                names |= dict.fromkeys(keys, (part.name, name))
    return names


def _plain(module: str) -> str:
    """A module's name without what wrappers put into it: peft, torch.compile, diffusers' attention processors."""
    return WRAPPERS.sub("", module).replace(".processor.", ".")


def _check_shapes(path: Path, change: Change, weight: Entry) -> None:
    """down (r, i, …) and up (o, r, …) must make a matrix as large as the weight."""
    down, up = change.factors["down"].shape, change.factors["up"].shape
    fits, inner, rank = len(down) >= 2 and len(up) >= 2, math.prod(down[1:]), down[0]
    if "mid" in change.factors:
        mid = change.factors["mid"].shape
        fits = fits and len(mid) == 4 and mid[1] == rank
        inner, rank = inner * math.prod(mid[2:]), mid[0]
    fits = fits and math.prod(up[1:]) == rank
    if not fits or up[0] != weight.shape[0] or inner != math.prod(weight.shape[1:]):
        factors = f"factors {list(down)} and {list(up)}, which do not make a change of {list(weight.shape)}"
        raise InputError(f"{path}: {change.module} has {factors}; the LoRA was made for another model")


def settings_file(path: Path, metadata: Mapping[str, str]) -> Path | None:
    """peft's LoraConfig beside `adapter_model.safetensors`, unless the header has it."""
    file = path.with_name("adapter_config.json")
    is_peft = path.name == "adapter_model.safetensors" and "lora_adapter_metadata" not in metadata
    return file if is_peft and file.is_file() else None


def _peft_settings(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """peft's LoraConfig of the header or the file beside; {} if there is none."""
    beside = settings_file(path, metadata)
    text = read_bytes(beside) if beside else metadata.get("lora_adapter_metadata", "{}")
    settings = options_of(text, beside or f"{path}, its LoRA settings (lora_adapter_metadata)")
    if any(name.endswith("use_dora") and value for name, value in settings.items()):
        raise InputError(f"{path}: its settings say use_dora; DoRA {ANOTHER_WAY}")
    return settings


def _scale(module: str, rank: int, alphas: Mapping[str, float], settings: Mapping[str, Any]) -> float:
    """alpha / rank: from kohya's alpha tensors, or from peft's settings, where it may be alpha / √rank (rsLoRA); 1 if
    no alpha is named. In front of a setting's name may stand "unet." or "text_encoder."."""
    if module in alphas:
        return alphas[module] / rank
    module = _plain(module)
    part = next((part for part in ("unet.", "text_encoder.") if module.startswith(part)), "")

    def setting(name, default):
        value = settings.get(part + name, settings.get(name))
        return default if value is None else value

    patterns = setting("alpha_pattern", {}).items()
    own = (alpha for pattern, alpha in patterns if re.fullmatch(rf"(.*\.)?({pattern})", module))
    alpha = next(own, setting("lora_alpha", rank))
    return float(alpha) / (math.sqrt(rank) if setting("use_rslora", False) else rank)
