"""Networks filled from a checkpoint's parts, without a second copy of the weights in memory.

    checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")   # or a folder
    unet = build(UNet, checkpoint.unet, torch.float16, "cuda")

A network is first built on torch's "meta" device: it has names and shapes, and no memory. Then each tensor is
read, converted and put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..errors import InputError
from .load import Part
from .read import Entry, read_tensors, some


def build(
    network: Callable[..., nn.Module], part: Part, dtype: torch.dtype, device: str | torch.device = "cpu"
) -> nn.Module:
    """`network(part.config)`, built without memory and filled: UNet, VAE or transformers' CLIPTextModel."""
    with torch.device("meta"):
        module = network(part.config)
    return fill(module, part, dtype, device)


def fill(module: nn.Module, part: Part, dtype: torch.dtype, device: str | torch.device = "cpu") -> nn.Module:
    """Put a part's tensors into `module`, in `dtype` on `device`; returns it, in eval mode.

    module: built under `torch.device("meta")`, so that it has shapes and no memory; its weights appear one by
    one. All names and shapes are compared before the first tensor is read. Peak memory: the weights in
    `dtype`, and about 64 MiB (or the largest tensor). Raises InputError naming the missing, unknown and
    misshaped tensors.
    """
    wanted, entries = matched(module, part)
    _refuse_differences(differences(wanted, entries), part)
    for name, tensor in read_tensors(entries, dtype):
        owner, _, leaf = name.rpartition(".")
        old = module.get_parameter(name)
        parameter = nn.Parameter(tensor.to(device), requires_grad=old.requires_grad)
        setattr(module.get_submodule(owner), leaf, parameter)
    _make_position_ids(module, device)
    left = [name for name, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.is_meta]
    if left:
        raise InputError(f"{part.path}: no file fills {some(left)} of the network; they must not be buffers")
    return module.eval()


def matched(module: nn.Module, part: Part) -> tuple[dict[str, tuple[int, ...]], dict[str, Entry]]:
    """The names and shapes that the module has, and a part's entries by the module's names."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if part.name != "text":
        return wanted, part.entries
    wanted.pop(_position_ids(wanted), None)
    if any(name.startswith("text_model.") for name in wanted):
        return wanted, part.entries
    # transformers 5 leaves the published names' first part out
    return wanted, {name.removeprefix("text_model."): entry for name, entry in part.entries.items()}


def differences(wanted: dict[str, tuple[int, ...]], entries: dict[str, Entry]) -> dict[str, list[str]]:
    """What a file's tensors have otherwise than wanted: names that are missing, extra, and of another shape."""
    return {
        "missing": sorted(wanted.keys() - entries.keys()),
        "extra": sorted(entries.keys() - wanted.keys()),
        "misshaped": [
            f"{name} {list(entries[name].shape)} for {list(shape)}"
            for name, shape in wanted.items()
            if name in entries and entries[name].shape != shape
        ],
    }


def _refuse_differences(found: dict[str, list[str]], part: Part) -> None:
    """Raise InputError unless both have the same names and shapes."""
    words = {"missing": "missing", "extra": "unknown", "misshaped": "of another shape"}
    faults = "; ".join(f"{len(names)} tensors {words[fault]}: {some(names)}" for fault, names in found.items() if names)
    if faults:
        raise InputError(
            f"{part.path}: does not fit the {part.name} its sizes call for; {faults}; "
            f"the file is incomplete, pruned, or of another architecture"
        )


def _position_ids(names: Iterable[str]) -> str | None:
    return next((name for name in names if name.endswith("embeddings.position_ids")), None)


def _make_position_ids(module: nn.Module, device: str | torch.device) -> None:
    """Make the text tower's position numbers 0, 1, 2 …: files may hold spoilt ones, and meta tensors none."""
    for name, ids in list(module.named_buffers()):
        if name.endswith("embeddings.position_ids"):
            owner = module.get_submodule(name.rpartition(".")[0])
            owner.position_ids = torch.arange(ids.shape[-1], device=device).expand(1, -1)
