"""LoRA files: low-rank changes of a model's weights, W ← W + weight · (alpha / rank) · up · down (arXiv 2106.09685).

    checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")
    checkpoint = merge_lora(checkpoint, "style.safetensors", 0.7)      # reads names and shapes, and the alphas
    unet = build(UNet, checkpoint.unet, torch.float32)                 # now the changes are added, tensor by tensor

Nothing is written: the model's file stays as it is, and loading it again without the LoRA gives the old weights.
Two families of names are in use. kohya's trainer flattens a module's path, `lora_unet_down_blocks_0_attentions_0_…`
(or, from other trainers, the single file's path, `lora_unet_input_blocks_1_1_…`), and stores an alpha per module;
diffusers and peft keep the dots, `unet.down_blocks.0.attentions.0.….lora_A.weight`, and put alphas in the header;
ComfyUI keeps the dots of the single file's path, `diffusion_model.input_blocks.1.1.…`.
Flattened names cannot be split again ("to_q" has a "_" of its own), so the model's names are flattened and compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from . import layouts
from .load import Checkpoint
from .networks import Part
from .read import Entry, find_path, read_header_and_metadata, read_tensors, some

# A factor's key: the module, what kind of name it is ("lora_down", "lora_A", ".lora.down", "_lora.down" …), its role,
# and peft's name of the adapter, if it is kept.
FACTOR = re.compile(
    r"(?P<module>.+?)[._]lora(?:_linear_layer)?[._](?P<role>down|up|mid|A|B)(?:\.(?P<adapter>[^.]+))?\.weight"
)
ROLES = {"A": "down", "B": "up"}
# What peft, torch.compile, and programs that train on many machines put into a module's name.
WRAPPERS = re.compile(r"^base_model\.model\.|_orig_mod[._]|_fsdp_wrapped_module[._]|_checkpoint_wrapped_module[._]")

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
# Models by what their modules are called: the first pattern that one of them matches.
OTHER_MODELS = {
    "Flux": r"double_blocks|single_blocks|single_transformer_blocks",
    "Stable Diffusion 3": r"joint_blocks|lora_te3_|text_encoder_3\.|^transformer\.transformer_blocks",
    "Stable Cascade": r"lora_prior_",
    "AnimateDiff (a motion LoRA)": r"motion_modules?\.|temporal_transformer",
    "SDXL": r"lora_te[12]_|text_encoder_2\.",
}


@dataclass(frozen=True)
class Change:
    """What a file says of one module, by the name it gives it: its factors, "down", "up", and "mid" if there are three;
    alpha / rank. adapter: a file may hold several, and each adds its own."""

    module: str
    adapter: str
    factors: Mapping[str, Entry]
    scale: float

    @property
    def rank(self) -> int:
        """Rows of the first factor."""
        return self.factors["down"].shape[0]


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
    path = find_path(path, "give a LoRA's .safetensors file")
    if not isinstance(weight, Real) or not math.isfinite(weight):
        raise InputError(f"{path}: its weight is {weight!r}; give a number, usually between 0 and 1")
    _refuse_folder(path)
    changes = read_changes(path, *read_header_and_metadata(path))
    _refuse_other_models(path, changes, checkpoint)
    names = dict(_names(checkpoint))
    unknown = [change.module for change in changes if _plain(change.module) not in names]
    if unknown:
        raise InputError(
            f"{path}: changes what {checkpoint.path} does not have: {some(unknown)}; the LoRA was made "
            "for another model"
        )
    parts = {"unet": dict(checkpoint.unet.entries), "text": dict(checkpoint.text.entries)}
    for change in changes:
        part, name = names[_plain(change.module)]
        entry = parts[part][name]
        _check_shapes(path, change, entry)
        low_rank = LowRank(change.factors, weight * change.scale)
        parts[part][name] = replace(entry, changes=(*entry.changes, low_rank))
    return replace(
        checkpoint,
        unet=replace(checkpoint.unet, entries=parts["unet"]),
        text=replace(checkpoint.text, entries=parts["text"]),
    )


def _refuse_folder(path: Path) -> None:
    if not path.is_dir():
        return
    files = sorted(path.glob("*.safetensors"))
    advice = "give another, for this one holds no .safetensors file"
    if files:
        advice = f"give {files[0]}" if len(files) == 1 else "give one of its .safetensors files"
    raise InputError(f"{path}: is a folder, and a LoRA is a file; {advice}")


def read_changes(path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> list[Change]:
    """What a LoRA's file changes, module by module and adapter by adapter.

    Raises InputError for a key that is no part of a LoRA, one that is there twice under two names, a module without
    both factors or of rank 0, settings that make no sense.
    """
    found: dict[tuple[str, str], dict[str, Entry]] = {}
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
    _refuse_strange(path, strange)
    halves = [module for (module, _), factors in found.items() if not {"down", "up"} <= factors.keys()]
    halves += sorted(alphas.keys() - {module for module, _ in found})
    if halves:
        raise InputError(
            f"{path}: half of these pairs is missing: {some(halves)}; the file is incomplete, get another copy"
        )
    empty = [
        module for (module, _), factors in found.items() if any(0 in f.shape or not f.shape for f in factors.values())
    ]
    if empty:
        raise InputError(f"{path}: has rank 0, which changes nothing, in {some(empty)}; get another copy of the LoRA")
    scales = _scales(path, found, alphas, metadata)
    return [Change(module, adapter, factors, scales[module, adapter]) for (module, adapter), factors in found.items()]


def _refuse_strange(path: Path, strange: list[str]) -> None:
    """Raise InputError that says what the keys are which are no part of a LoRA."""
    if not strange:
        return
    if "lora_controlnet" in strange:
        raise InputError(
            f"{path}: this is a control-LoRA, a ControlNet kept as low-rank changes of a UNet, which t2vz does not "
            "read; give the whole ControlNet (--controlnet)"
        )
    method = other_method(strange)
    words = f"{method} changes weights in another way than LoRA" if method else "these are no part of a LoRA"
    raise InputError(
        f"{path}: holds {some(strange)}; {words}; t2vz reads LoRA files (lora_down/lora_up, or lora_A/lora_B)"
    )


def other_method(keys: list[str]) -> str | None:
    """Which relative of LoRA the keys show (LoHa, LoKr, DoRA …), or None."""
    return next((method for mark, method in OTHER_METHODS.items() if any(mark in key for key in keys)), None)


def text_width(changes: Sequence[Change]) -> int | None:
    """The width of the text states a LoRA's UNet reads, as the factors of attn2's keys and values show it."""
    for change in changes:
        shape = change.factors["down"].shape
        if "attn2" in change.module and re.search(r"to_[kv]$", change.module) and len(shape) > 1:
            return shape[1]
    return None


def target(module: str) -> str:
    """Which kind of layer a module is: "self-attention", "convolutions" … or "other"."""
    return next((name for name, pattern in TARGETS.items() if re.search(pattern, module)), "other")


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


def _names(checkpoint: Checkpoint) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every name that a LoRA file may give a weight of the model, and (part, tensor name)."""
    unet = checkpoint.unet.config
    single = layouts.inverse(dict(layouts.unet_modules(unet)))
    for path, name in _weights(checkpoint.unet):
        original = layouts.rename(name, single).removesuffix(".weight")
        for alias in (path, path.replace(".to_out.0", ".to_out"), original):
            for prefix in ("", "unet.", "diffusion_model.", "model.diffusion_model."):
                yield prefix + alias, ("unet", name)
            for prefix in ("lora_unet_", "lycoris_"):
                yield prefix + alias.replace(".", "_"), ("unet", name)
    for path, name in _weights(checkpoint.text):
        old = re.sub(r"self_attn\.(q|k|v|out)_proj$", r"self_attn.to_\1", path)
        for alias in (path, path.removeprefix("text_model."), old):
            for prefix in ("", "text_encoder.", "text_encoders.clip_l.transformer.", "cond_stage_model.transformer."):
                yield prefix + alias, ("text", name)
            yield "lora_te_" + alias.replace(".", "_"), ("text", name)


def _weights(part: Part) -> Iterator[tuple[str, str]]:
    """(module path, tensor name) of every matrix and convolution of a part."""
    for name, entry in part.entries.items():
        if name.endswith(".weight") and len(entry.shape) >= 2:
            yield name.removesuffix(".weight"), name


def _plain(module: str) -> str:
    """A module's name without what wrappers put into it: peft, torch.compile, diffusers' attention processors."""
    return WRAPPERS.sub("", module).replace(".processor.", ".")


def _check_shapes(path: Path, change: Change, weight: Entry) -> None:
    """down (r, i, …) and up (o, r, …) must make a matrix as large as the weight."""
    down, up = change.factors["down"].shape, change.factors["up"].shape
    inner = math.prod(down[1:])
    if "mid" in change.factors:
        mid = change.factors["mid"].shape
        fits = len(mid) == 4 and mid[0] == up[1] and mid[1] == down[0]
        inner, rank = inner * math.prod(mid[2:]), mid[0]
    else:
        fits, rank = len(down) >= 2, down[0]
    fits = fits and len(up) >= 2 and math.prod(up[1:]) == rank
    if not fits or up[0] != weight.shape[0] or inner != math.prod(weight.shape[1:]):
        raise InputError(
            f"{path}: {change.module} has factors {list(down)} and {list(up)}, which do not make a change of "
            f"{list(weight.shape)}; the LoRA was made for another model"
        )


def _scales(
    path: Path,
    found: Mapping[tuple[str, str], Mapping[str, Entry]],
    alphas: Mapping[str, Entry],
    metadata: Mapping[str, str],
) -> dict[tuple[str, str], float]:
    """alpha / rank of every module: from kohya's alpha tensors, from peft's settings, or 1 if no alpha is named."""
    settings = _peft_settings(path, metadata)
    try:
        stored = {module: float(tensor) for module, tensor in read_tensors(alphas, torch.float32)}
        ranks = {key: factors["down"].shape[0] for key, factors in found.items()}
        return {
            key: stored[key[0]] / rank if key[0] in stored else _peft_scale(settings, _plain(key[0]), rank)
            for key, rank in ranks.items()
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
