"""What a file or folder is: model, layout, sizes, float types, and what is missing or extra in it. Headers only.

    report = inspect("v1-5-pruned-emaonly.safetensors")
    report["what"], report["parts"][0]["missing"]

Sizes come from where the loader takes them (config.json, or shapes and SD 1.x's rules), and what should be there from
the network itself, built without memory. So "complete" means that the loader will find every tensor it needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..text import TextEncoder
from ..unet import ControlNet, UNet
from ..vae import VAE
from . import config, ldm, lora, sizes
from .control import open_controlnet
from .fill import differences, shapes_of_module
from .identify import CONTROL_DELTA, Kind, identify
from .load import Part, folder_entries, open_vae, read_json, shapes_of, squeeze_attention, text_entries
from .read import Entry, find_weights, read_header_and_metadata
from .tokenizer import TOKENIZER_FILES
from .unsaid import PREFIX, hear_unsaid
from .words import WORDS_FILE

NETWORKS = {"unet": UNet, "vae": VAE, "text": TextEncoder, "ControlNet": ControlNet}
FOLDERS = {
    "unet": ("unet", "diffusion_pytorch_model"),
    "vae": ("vae", "diffusion_pytorch_model"),
    "text": ("text_encoder", "model"),
}
SINGLE = {
    "unet": (
        ldm.UNET,
        sizes.unet_from_shapes,
        lambda found: ldm.unet_modules(found.has_attention, found.layers_per_block),
    ),
    "vae": (
        ldm.VAE,
        sizes.vae_from_shapes,
        lambda found: ldm.vae_modules(len(found.block_out_channels), found.layers_per_block),
    ),
    "text": (ldm.TEXT, sizes.text_from_shapes, None),
}
WHOLE = ("sd1", "instruct-pix2pix", "inpainting")
RULES = (
    "a single file tells no head counts, norm groups, scaling factor nor schedule: those above are Stable "
    "Diffusion 1.x's rules"
)


def inspect(path: str | Path) -> dict[str, Any]:
    """A report of plain values (it can be written as JSON).

    path, what (in words), kind (a short word), layout, files, bytes, tensors, parameters, dtypes {type: parameters};
    parts: of each network name, sizes, parameters, dtypes, missing, extra, misshaped, problem (why its sizes could not
    be found, or None); lora (of a LoRA only); groups: keys by their beginning, of a model t2vz does not know; strange:
    keys of no network; dropped: keys that are passed over; metadata: the header's words; notes.
    Raises InputError for what cannot be read: no such file, a pickle, cut short, no safetensors.
    """
    path = Path(path)
    if path.is_dir() and any((path / folder).is_dir() for folder, _ in FOLDERS.values()):
        return _inspect_folder(path)
    files, metadata = [path], {}
    if path.is_dir():
        files = _weights_of_a_part(path)
    entries: dict[str, Entry] = {}
    for file in files:
        found, metadata = read_header_and_metadata(file)
        entries |= found
    kind = identify(shapes_of(entries))
    report = _summary(path, kind, files, entries) | {"metadata": metadata}
    if kind.kind == "lora":
        report["lora"] = _describe_lora(path, entries)
    elif kind.kind in WHOLE and kind.layout == "single-file":
        _add_single_file(report, path, kind, entries, metadata)
    elif kind.kind in WHOLE:
        report["what"] += ": its UNet alone"
        report["parts"].append(_describe("unet", lambda: _folder_part("unet", path, entries)))
    elif kind == CONTROL_DELTA:
        report["notes"].append("its sizes show once the UNet is added to it")
    elif kind.kind == "controlnet":
        report["parts"].append(_describe("ControlNet", lambda: open_controlnet(path)))
    elif kind.kind == "vae":
        report["parts"].append(_describe("vae", lambda: open_vae(path)))
    elif kind.kind == "text":
        report["parts"].append(_describe("text", lambda: _folder_part("text", path, entries)))
    else:
        report["groups"] = dict(Counter(".".join(key.split(".")[:2]) for key in entries).most_common(12))
        report["notes"].append("t2vz does not run this; it runs Stable Diffusion 1.x")
    if kind.kind == "inpainting":
        report["notes"].append("t2vz does not run inpainting models")
    return report


def _inspect_folder(path: Path) -> dict[str, Any]:
    """A checkpoint folder: each part by itself, so that one that cannot be read does not hide the others."""
    parts, files, entries, notes = [], [], {}, []
    kind = Kind("unknown", "a checkpoint folder without a UNet", "folder")
    for name, (folder, stem) in FOLDERS.items():
        if not (path / folder).is_dir():
            notes.append(f"there is no {folder}/")
            continue
        try:
            found = folder_entries(path / folder, stem)
        except InputError as error:
            parts.append({"name": name, "problem": str(error)})
            continue
        files += find_weights(path / folder, stem)
        entries |= {f"{folder}/{key}": entry for key, entry in found.items()}
        if name == "unet":
            kind = identify(shapes_of(found))
        parts.append(
            _describe(name, lambda name=name, found=found, folder=folder: _folder_part(name, path / folder, found))
        )
    scheduler = path / "scheduler/scheduler_config.json"
    if scheduler.is_file():
        parts.append(_describe_schedule(scheduler))
    for name, wanted in (("scheduler", scheduler), ("tokenizer", path / "tokenizer")):
        if not wanted.exists():
            notes.append(f"there is no {name}/")
    if (path / "tokenizer").is_dir() and not any(
        (path / "tokenizer" / name).is_file() for name in (TOKENIZER_FILES[0], "tokenizer.json")
    ):
        notes.append(f"tokenizer/ holds no {' and '.join(TOKENIZER_FILES)}")
    if (path / WORDS_FILE).is_file():
        notes.append(f"{WORDS_FILE} lists the words it knows")
    return _summary(path, kind, files, entries) | {"parts": parts, "notes": notes}


def _summary(path: Path, kind: Kind, files: list[Path], entries: Mapping[str, Entry]) -> dict[str, Any]:
    return {
        "path": str(path),
        "what": kind.words,
        "kind": kind.kind,
        "layout": kind.layout,
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        **_count(entries),
        "parts": [],
        "strange": [],
        "dropped": [],
        "metadata": {},
        "notes": [],
    }


def _count(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """How many tensors and numbers, and in which types."""
    dtypes: Counter[str] = Counter()
    for entry in entries.values():
        dtypes[entry.dtype] += prod(entry.shape)
    return {"tensors": len(entries), "parameters": sum(dtypes.values()), "dtypes": dict(dtypes.most_common())}


def _describe(name: str, open_part: Callable[[], Part]) -> dict[str, Any]:
    """One part: its sizes, and what differs from the network of those sizes."""
    try:
        part = open_part()
        with torch.device("meta"):
            module = NETWORKS[name](part.config)
        faults = differences(shapes_of_module(module), part.entries)
    except InputError as error:
        return {"name": name, "problem": str(error)}
    return {"name": name, "sizes": _plain_sizes(part.config), **_count(part.entries), **faults, "problem": None}


def _plain_sizes(sizes_found: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(sizes_found).items()}


def _describe_schedule(file: Path) -> dict[str, Any]:
    try:
        return {"name": "scheduler", "sizes": asdict(config.schedule_from_json(*read_json(file))), "problem": None}
    except InputError as error:
        return {"name": "scheduler", "problem": str(error)}


def _add_single_file(
    report: dict[str, Any], path: Path, kind: Kind, entries: Mapping[str, Entry], metadata: Mapping[str, str]
) -> None:
    """The parts of a single file, by the prefixes of its keys."""
    report["dropped"] = [key for key in entries if ldm.is_extra(key)]
    kept = {key: entry for key, entry in entries.items() if not ldm.is_extra(key)}
    prefixes = tuple(prefix for prefix, _, _ in SINGLE.values())
    report["strange"] = [key for key in kept if not key.startswith(prefixes)]
    for name, (prefix, _, _) in SINGLE.items():
        mine = {key.removeprefix(prefix): entry for key, entry in kept.items() if key.startswith(prefix)}
        if not mine:
            report["notes"].append(f"it holds no {name}")
            continue
        extra: list[str] = []
        described = _describe(
            name, lambda name=name, mine=mine, extra=extra: _single_part(name, path, mine, metadata, extra)
        )
        described["extra"] = [*described.get("extra", []), *extra]
        report["parts"].append(described)
    said = sorted(key for key in metadata if key.startswith(PREFIX))
    report["notes"].append(f"its header says what a single file cannot: {', '.join(said)}" if said else RULES)
    if kind.kind == "instruct-pix2pix" and any(key.startswith(ldm.EMA) for key in entries):
        report["notes"].append("of its two UNets the moving average (model_ema.) is the one that is run")


def _single_part(
    name: str, path: Path, entries: dict[str, Entry], metadata: Mapping[str, str], extra: list[str]
) -> Part:
    """One part of a single file, by folder names; keys of no module go to `extra`."""
    prefix, from_shapes, modules_of = SINGLE[name]
    entries = text_entries(entries) if name == "text" else entries
    found = hear_unsaid(name, from_shapes(shapes_of(entries), str(path)), metadata, str(path))
    if modules_of is not None:
        modules = dict(modules_of(found))
        extra += [prefix + key for key in entries if ldm.rename(key, modules) is None]
        entries = {
            ldm.rename(key, modules): squeeze_attention(entry)
            for key, entry in entries.items()
            if ldm.rename(key, modules) is not None
        }
    return Part(name, path, found, entries)


def _folder_part(name: str, path: Path, entries: dict[str, Entry]) -> Part:
    """One part with the folder layout's names. Without a config.json beside it its sizes are not known."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file():
        raise InputError(f"{file}: is not there, and the sizes are in it; copy it from where the weights came from")
    from_json = {"unet": config.unet_from_json, "vae": config.vae_from_json, "text": config.text_from_json}[name]
    if name == "vae":
        entries = {ldm.vae_name(key): squeeze_attention(entry) for key, entry in entries.items()}
    if name == "text":
        entries = text_entries(entries)
    return Part(name, path, from_json(*read_json(file)), entries)


def _weights_of_a_part(folder: Path) -> list[Path]:
    """The weight files of a folder that is one part of a checkpoint, whichever."""
    for stem in ("diffusion_pytorch_model", "model"):
        try:
            return find_weights(folder, stem)
        except InputError as error:
            problem = error
    raise InputError(
        f"{folder}: is neither a checkpoint (no unet/, vae/, text_encoder/) nor one part of it; give a "
        "folder, or a .safetensors file"
    ) from problem


def _describe_lora(path: Path, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Ranks, what is changed, alphas, and the model it was made for, as far as names and shapes tell."""
    method = lora.other_method(list(entries))
    try:
        modules = lora.group_keys(path, entries)
    except InputError as error:
        return {"method": method or "unknown", "problem": str(error)}
    in_text = [module for module in modules if module.startswith(("lora_te", "text_encoder", "text_model"))]
    targets = Counter(lora.target(module) for module in modules)
    return {
        "method": "LoRA",
        "problem": None,
        "names": "kohya" if any(m.startswith("lora_") for m in modules) else "peft",
        "made_for": lora.made_for(modules),
        "text_width": lora.text_width(modules),
        "modules": {"unet": len(modules) - len(in_text), "text": len(in_text)},
        "ranks": dict(Counter(factors["down"].shape[0] for factors in modules.values()).most_common()),
        "targets": dict(targets.most_common()),
        "scales": _scales(path, modules),
    }


def _scales(path: Path, modules: Mapping[str, Mapping[str, Entry]]) -> dict[str, int]:
    """alpha / rank, and of how many modules: the alphas are the only numbers that are read."""
    scales = lora.scales(path, modules, read_header_and_metadata(path)[1])
    return {f"{scale:g}": count for scale, count in Counter(scales.values()).most_common(6)}
