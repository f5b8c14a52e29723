"""LoRA files: low-rank changes of a model's weights, W ← W + weight · (alpha / rank) · up · down (arXiv 2106.09685).

    checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")
    checkpoint = merge_lora(checkpoint, "style.safetensors", 0.7)      # reads names and shapes, and the alphas
    unet = build(UNet, checkpoint.unet, torch.float32)                 # now the changes are added, tensor by tensor

Nothing is written: the model's file stays as it is, and loading it again without the LoRA gives the old weights.
Two families of names are in use. kohya's trainer flattens a module's path, `lora_unet_down_blocks_0_attentions_0_…`
(or, from other trainers, the single file's path, `lora_unet_input_blocks_1_1_…`), and stores an alpha per module;
diffusers and peft keep the dots, `unet.down_blocks.0.attentions.0.….lora_A.weight`, and put alphas in the header.
Flattened names cannot be split again ("to_q" has a "_" of its own), so the model's names are flattened and compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from . import layouts
from .load import Checkpoint
from .networks import Part
from .read import Entry, read_header_and_metadata, read_tensors, some

# A factor's key: the module, what kind of name it is ("lora_down", "lora_A", ".lora.down", "_lora.down" …), its role.
FACTOR = re.compile(r"(?P<module>.+?)[._]lora(?:_linear_layer)?[._](?P<role>down|up|mid|A|B)(?:\.\w+)?\.weight")
ROLES = {"A": "down", "B": "up"}

# Relatives of LoRA that change a weight in another way, by what a key contains.
OTHER_METHODS = {
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
MADE_FOR = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}
# Kinds of layers, for a description: the first pattern that a module's name, flattened or not, matches.
TARGETS = {
    "self-attention": r"attn1|self_attn",
    "text attention": r"attn2",
    "feed-forward": r"[._]ff[._]|mlp",
    "projections": r"proj_(in|out)",
    "time": r"time_emb|emb_layers",
    "convolutions": r"conv|in_layers|out_layers|[._]op$|skip_connection|input_blocks_0_0|[._]out_2$",
}
SPOILT = "its LoRA settings (lora_adapter_metadata, or adapter_config.json) make no sense; get another copy"
SDXL_MARKS = ("lora_te1_", "lora_te2_", "text_encoder_2.")


@dataclass(frozen=True)
class LowRank:
    """The change of one weight: called with it, returns it changed. factors: "down", "up", and "mid" if three."""

    factors: Mapping[str, Entry]
    scale: float  # weight · alpha / rank

    def __call__(self, weight: Tensor) -> Tensor:
        """W + scale · up · down, in W's type. A convolution's (o, i, h, w) is the matrix (o, i·h·w)."""
        factors = dict(read_tensors(self.factors, weight.dtype))
        down, up = factors["down"].flatten(1), factors["up"].flatten(1)
        if "mid" in factors:  # (r, r, h, w) between 1×1 factors: Σ up[o, n] · mid[n, m] · down[m, i]
            down = torch.einsum("nmhw, mi -> nihw", factors["mid"], down).flatten(1)
        return weight + self.scale * (up @ down).reshape(weight.shape)


def merge_lora(checkpoint: Checkpoint, path: str | Path, weight: float = 1.0) -> Checkpoint:
    """The checkpoint with a LoRA's changes, times `weight`, added to whatever changes it has already.

    Every key of the file is used or named in an error. Raises InputError: not a LoRA, made for another architecture,
    another method (LoHa, LoKr, DoRA …), half a pair missing.
    """
    path = Path(path)
    if not math.isfinite(weight):
        raise InputError(f"{path}: its weight is {weight}; give a number, usually between 0 and 1")
    entries, metadata = read_header_and_metadata(path)
    modules = group_keys(path, entries)
    _refuse_other_models(path, modules, checkpoint)
    names = dict(_names(checkpoint))
    unknown = [module for module in modules if _plain(module) not in names]
    if unknown:
        raise InputError(
            f"{path}: changes what {checkpoint.path} does not have: {some(unknown)}; the LoRA was made "
            "for another model"
        )
    scale = scales(path, modules, metadata)
    parts = {"unet": dict(checkpoint.unet.entries), "text": dict(checkpoint.text.entries)}
    for module, factors in modules.items():
        part, name = names[_plain(module)]
        entry = parts[part][name]
        factors = {role: factor for role, factor in factors.items() if role != "alpha"}
        _check_shapes(path, module, factors, entry)
        change = LowRank(factors, weight * scale[module])
        parts[part][name] = replace(entry, changes=(*entry.changes, change))
    return replace(
        checkpoint,
        unet=replace(checkpoint.unet, entries=parts["unet"]),
        text=replace(checkpoint.text, entries=parts["text"]),
    )


def group_keys(path: Path, entries: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    """A file's tensors by the module they change, and there by role: down, up, mid, alpha.

    Raises InputError for a key that is none of these, and for a module without both factors.
    """
    modules: dict[str, dict[str, Entry]] = {}
    strange = []
    for key, entry in entries.items():
        if match := FACTOR.fullmatch(key):
            role = ROLES.get(match["role"], match["role"])
            modules.setdefault(match["module"], {})[role] = entry
        elif key.endswith(".alpha"):
            modules.setdefault(key.removesuffix(".alpha"), {})["alpha"] = entry
        else:
            strange.append(key)
    if strange:
        method = other_method(strange)
        words = f"{method} changes weights in another way than LoRA" if method else "these are no part of a LoRA"
        raise InputError(
            f"{path}: holds {some(strange)}; {words}; t2vz reads LoRA files (lora_down/lora_up, or lora_A/lora_B)"
        )
    halves = [module for module, factors in modules.items() if not {"down", "up"} <= factors.keys()]
    if halves:
        raise InputError(
            f"{path}: half of these pairs is missing: {some(halves)}; the file is incomplete, get another copy"
        )
    return modules


def other_method(keys: list[str]) -> str | None:
    """Which relative of LoRA the keys show (LoHa, LoKr, DoRA …), or None."""
    return next((method for mark, method in OTHER_METHODS.items() if any(mark in key for key in keys)), None)


def text_width(modules: Mapping[str, Mapping[str, Entry]]) -> int | None:
    """The width of the text states a LoRA's UNet reads, as the factors of attn2's keys and values show it."""
    for module, factors in modules.items():
        if "attn2" in module and re.search(r"to_[kv]$", module) and len(factors["down"].shape) > 1:
            return factors["down"].shape[1]
    return None


def target(module: str) -> str:
    """Which kind of layer a module is: "self-attention", "convolutions" … or "other"."""
    return next((name for name, pattern in TARGETS.items() if re.search(pattern, module)), "other")


def made_for(modules: Mapping[str, Mapping[str, Entry]]) -> str | None:
    """The model a LoRA was made for, in words, or None if it does not show."""
    if any(module.startswith(SDXL_MARKS) for module in modules):
        return "SDXL"
    return MADE_FOR.get(text_width(modules))


def _refuse_other_models(path: Path, modules: Mapping[str, Mapping[str, Entry]], checkpoint: Checkpoint) -> None:
    width, ours = text_width(modules), checkpoint.unet.config.context_dim
    model = made_for(modules)
    if model == "SDXL" or width not in (None, ours):
        seen = f"{model or 'another model'}" + (f" (text states of {width})" if width else "")
        raise InputError(
            f"{path}: this LoRA was made for {seen}, and {checkpoint.path} reads text states of {ours}; "
            "give a LoRA made for this model"
        )


def _names(checkpoint: Checkpoint) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every name that a LoRA file may give a weight of the model, and (part, tensor name)."""
    unet = checkpoint.unet.config
    single = layouts.inverse(dict(layouts.unet_modules(unet.has_attention, unet.layers_per_block)))
    for path, name in _weights(checkpoint.unet):
        original = layouts.rename(name, single).removesuffix(".weight")
        for alias in (path, path.replace(".to_out.0", ".to_out"), original):
            yield from ((prefix + alias, ("unet", name)) for prefix in ("", "unet."))
            yield "lora_unet_" + alias.replace(".", "_"), ("unet", name)
    for path, name in _weights(checkpoint.text):
        old = re.sub(r"self_attn\.(q|k|v|out)_proj$", r"self_attn.to_\1", path)
        for alias in (path, path.removeprefix("text_model."), old):
            yield from ((prefix + alias, ("text", name)) for prefix in ("", "text_encoder."))
            yield "lora_te_" + alias.replace(".", "_"), ("text", name)


def _weights(part: Part) -> Iterator[tuple[str, str]]:
    """(module path, tensor name) of every matrix and convolution of a part."""
    for name, entry in part.entries.items():
        if name.endswith(".weight") and len(entry.shape) >= 2:
            yield name.removesuffix(".weight"), name


def _plain(module: str) -> str:
    """A module's name without what wrappers put into it: peft's outer model, diffusers' attention processors."""
    return module.removeprefix("base_model.model.").replace(".processor.", ".")


def _check_shapes(path: Path, module: str, factors: Mapping[str, Entry], weight: Entry) -> None:
    """down (r, i, …) and up (o, r, …) must make a matrix as large as the weight."""
    down, up = factors["down"].shape, factors["up"].shape
    inner = math.prod(down[1:])
    if "mid" in factors:
        mid = factors["mid"].shape
        fits = len(mid) == 4 and mid[0] == up[1] and mid[1] == down[0]
        inner, rank = inner * math.prod(mid[2:]), mid[0]
    else:
        fits, rank = len(down) >= 2, down[0]
    fits = fits and len(up) >= 2 and math.prod(up[1:]) == rank
    if not fits or up[0] != weight.shape[0] or inner != math.prod(weight.shape[1:]):
        raise InputError(
            f"{path}: {module} has factors {list(down)} and {list(up)}, which do not make a change of "
            f"{list(weight.shape)}; the LoRA was made for another model"
        )


def scales(path: Path, modules: Mapping[str, Mapping[str, Entry]], metadata: Mapping[str, str]) -> dict[str, float]:
    """alpha / rank of every module: from kohya's alpha tensors, from peft's settings, or 1 if no alpha is named."""
    stored = {module: factors["alpha"] for module, factors in modules.items() if "alpha" in factors}
    settings = _peft_settings(path, metadata)
    ranks = {module: factors["down"].shape[0] for module, factors in modules.items()}
    try:
        alphas = {module: float(tensor) for module, tensor in read_tensors(stored, torch.float32)}
        return {
            module: alphas[module] / rank if module in alphas else _peft_scale(settings, _plain(module), rank)
            for module, rank in ranks.items()
        }
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, RuntimeError, re.error) as error:
        raise InputError(f"{path}: {SPOILT}") from error


def _peft_settings(path: Path, metadata: Mapping[str, str]) -> dict:
    """peft's LoraConfig as it is kept in the header, or beside `adapter_model.safetensors`; {} if there is none."""
    beside = path.with_name("adapter_config.json")
    try:
        if "lora_adapter_metadata" in metadata:
            settings = dict(json.loads(metadata["lora_adapter_metadata"]))
        elif path.name == "adapter_model.safetensors" and beside.is_file():
            settings = dict(json.loads(beside.read_text(encoding="utf-8")))
        else:
            return {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {SPOILT}") from error
    if any(name.endswith("use_dora") and value for name, value in settings.items()):
        raise InputError(
            f"{path}: its settings say use_dora; DoRA changes weights in another way than LoRA; t2vz reads LoRA files"
        )
    return settings


def _peft_scale(settings: Mapping, module: str, rank: int) -> float:
    """alpha / rank, or alpha / √rank (rsLoRA); in front of a setting's name may stand "unet." or "text_encoder."."""
    part = next((part for part in ("unet.", "text_encoder.") if module.startswith(part)), "")

    def setting(name, default):
        value = settings.get(part + name, settings.get(name))
        return default if value is None else value

    alpha = setting("lora_alpha", rank)
    for pattern, value in setting("alpha_pattern", {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
            break
    return float(alpha) / (math.sqrt(rank) if setting("use_rslora", False) else rank)
