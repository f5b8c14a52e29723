"""What a file or folder is: model, layout, sizes, float types, and what is missing or extra in it. Headers only.

    report = inspect("v1-5-pruned-emaonly.safetensors")
    report["what"], report["parts"][0]["missing"]

It reports what the loader itself finds (`contents.look`), so "complete" means that the loader will find all it needs.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import layouts, lora
from .attached import WORDS_FILE
from .contents import ALONE, UNETS, Contents, attempt, look
from .networks import NETWORKS, PARTS, Part, differences
from .read import HEADER, Entry
from .tokenizer import find_tokenizer, open_tokenizer

RULES = "nothing tells its head counts, norm groups, scaling factor, schedule: they are Stable Diffusion 1.x's rules"


def inspect(path: str | Path) -> dict[str, Any]:
    """A report of plain values (it can be written as JSON).

    path, what (in words), kind (a short word), layout, files, bytes, tensors, parameters, dtypes {type: parameters};
    parts: of each network name, sizes, parameters, dtypes, missing, extra, misshaped, problem (why it is refused, or
    None); lora (of a LoRA only); groups: keys by their beginning, of a model t2vz does not know; strange: keys of no
    network; dropped: keys that are passed over; metadata: the header's words; notes.
    Raises InputError for what cannot be read: no such file, a pickle, cut short, no safetensors.
    """
    found = look(path)
    kind, schedule = found.kind, found.schedule
    weights = {entry.path for entry in found.entries.values()}
    report = {
        "path": str(path),
        "what": kind.words + ": its UNet alone" * (kind.kind in UNETS and schedule is None),
        "kind": kind.kind,
        "layout": kind.layout,
        "files": len(weights),
        "bytes": sum(file.stat().st_size for file in weights),
        **_count(found.entries),
        "parts": [_describe(name, part) for name, part in found.parts.items()],
        "strange": found.strange,
        "dropped": found.dropped,
        "metadata": dict(found.metadata),
        "notes": _notes(found),
    }
    if isinstance(schedule, InputError) or (schedule is not None and found.path.is_dir()):
        report["parts"].append(_describe("scheduler", schedule))
    if schedule is not None and isinstance(text := found.parts.get("text"), Part):
        tokenizer = attempt(lambda: find_tokenizer(found.path) and open_tokenizer(found.path, text.config))
        if isinstance(tokenizer, InputError):
            report["parts"].append(_describe("tokenizer", tokenizer))
    if kind.kind == "lora":
        report["lora"] = _describe_lora(found)
    elif kind.kind not in ALONE and not found.parts:
        report |= {"strange": [], "dropped": []}
        report["groups"] = dict(Counter(".".join(key.split(".")[:2]) for key in found.entries).most_common(12))
    return report


def _count(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """How many tensors and numbers, and in which types."""
    dtypes: Counter[str] = Counter()
    for entry in entries.values():
        dtypes[entry.dtype] += prod(entry.shape)
    return {"tensors": len(entries), "parameters": sum(dtypes.values()), "dtypes": dict(dtypes.most_common())}


def _describe(name: str, part: Any) -> dict[str, Any]:
    """One part: its sizes, and what differs from the network of those sizes."""
    if isinstance(part, InputError):
        return {"name": name, "problem": str(part)}
    if not isinstance(part, Part):  # the noise schedule
        return {"name": name, "sizes": asdict(part), "problem": None}
    sizes = {field: list(v) if isinstance(v, tuple) else v for field, v in asdict(part.config).items()}
    return {"name": name, "sizes": sizes, **_count(part.entries), **differences(part), "problem": None}


def _notes(found: Contents) -> list[str]:
    """What a reader should know beside the numbers."""
    notes, kind, path = [], found.kind.kind, found.path
    if found.schedule is not None and path.is_dir():
        wanted = ["scheduler/scheduler_config.json", *(f"{NETWORKS[name].folder}/" for name in PARTS)]
        notes += [f"there is no {place.split('/')[0]}/" for place in wanted if not (path / place).exists()]
        notes += [f"{WORDS_FILE} lists the words it knows"] * (path / WORDS_FILE).is_file()
    elif found.schedule is not None:
        notes += [f"it holds no {name}" for name in PARTS if name not in found.parts]
    if any(isinstance(part, Part) and not part.described for part in found.parts.values()):
        said = sorted(key for key in found.metadata if key.startswith(HEADER))
        notes.append(f"its header says what a single file cannot: {', '.join(said)}" if said else RULES)
    if kind == "instruct-pix2pix" and any(key.startswith(layouts.EMA) for key in found.entries):
        notes.append("of its two UNets the moving average (model_ema.) is the one that is run")
    if kind == "controlnet-delta":
        notes.append("its weights are differences, added to a UNet when it is loaded")
    if kind == "inpainting":
        notes.append("t2vz does not run inpainting models")
    elif kind not in (*ALONE, "lora") and not path.is_dir():
        notes.append("t2vz does not run this; it runs Stable Diffusion 1.x")
    return notes


def _describe_lora(found: Contents) -> dict[str, Any]:
    """Ranks, what is changed, alphas, and the model it was made for, as far as names and shapes tell."""
    try:
        changes = lora.read_changes(found.path, found.entries, found.metadata)
    except InputError as error:
        return {"method": lora.other_method(list(found.entries)) or "unknown", "problem": str(error)}
    modules = [change.module for change in changes]
    in_text = [name for name in modules if name.startswith(("lora_te", "text_encoder", "text_model", "cond_stage"))]
    scales = Counter(f"{change.scale:g}" for change in changes)
    return {
        "method": "LoRA",
        "problem": None,
        "names": "kohya" if any(module.startswith("lora_") for module in modules) else "peft",
        "made_for": lora.made_for(changes),
        "text_width": lora.text_width(changes),
        "modules": {"unet": len(modules) - len(in_text), "text": len(in_text)},
        "ranks": dict(Counter(change.factors["down"].shape[0] for change in changes).most_common()),
        "targets": dict(Counter(map(lora.target, modules)).most_common()),
        "scales": dict(scales.most_common(6)),
    }
