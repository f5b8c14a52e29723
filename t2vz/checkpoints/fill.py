"""Networks filled from a checkpoint's parts, without a second copy of the weights in memory.

    checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")   # or a folder
    unet = build(UNet, checkpoint.unet, torch.float16, "cuda")

A network is first built on torch's "meta" device: it has names and shapes, and no memory. Then each tensor is
read, converted and put in its place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..errors import InputError
from .load import Part
from .read import Entry, read_tensors, some


def build(
    network: Callable[..., nn.Module], part: Part, dtype: torch.dtype, device: str | torch.device = "cpu"
) -> nn.Module:
    """`network(part.config)`, built without memory and filled: UNet, VAE, TextEncoder or ControlNet."""
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
    _refuse_differences(differences(shapes_of_module(module), part.entries), part)
    for name, tensor in read_tensors(part.entries, dtype):
        owner, _, leaf = name.rpartition(".")
        old = module.get_parameter(name)
        parameter = nn.Parameter(tensor.to(device), requires_grad=old.requires_grad)
        setattr(module.get_submodule(owner), leaf, parameter)
    left = [name for name, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.is_meta]
    if left:
        raise InputError(f"{part.path}: no file fills {some(left)} of the network; they must not be buffers")
    return module.eval()


def shapes_of_module(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """The names and shapes that a network's file must have."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


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
