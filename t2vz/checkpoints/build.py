"""Networks filled with a checkpoint's tensors, without a second copy of the weights in memory.

A network is first built on torch's "meta" device: there it has names and shapes, and no memory. They are compared with
the file's before the first tensor is read; then each is read, converted and put in its place.
"""

import torch
from torch import nn

from ..errors import InputError
from .load import Checkpoint
from .networks import NETWORKS, Part
from .read import read_tensors, some


def build(part: Part, dtype: torch.dtype, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a part, filled with its tensors in `dtype` on `device`; in eval mode, without gradients.

    Peak memory: the weights in `dtype`, and about 64 MiB (or the largest tensor). Raises InputError naming the missing,
    unknown and misshaped tensors.
    """
    module = _without_memory(part)
    words = {"missing": "missing", "extra": "unknown", "misshaped": "of another shape"}
    found = differences(part, module)
    faults = "; ".join(f"{len(names)} tensors {words[fault]}: {some(names)}" for fault, names in found.items() if names)
    if faults:
        raise InputError(
            f"{part.path}: does not fit the {part.name} its sizes call for; {faults}; "
            f"the file is incomplete, pruned, or of another architecture"
        )
    for name, tensor in read_tensors(part.entries, dtype):
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(tensor.to(device), requires_grad=False))
    return module.eval()


def differences(part: Part, module: nn.Module | None = None) -> dict[str, list[str]]:
    """What a part's tensors have otherwise than its network: names that are missing, extra, and of another shape."""
    module = module or _without_memory(part)
    entries, wanted = part.entries, {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return {
        "missing": sorted(wanted.keys() - entries.keys()),
        "extra": sorted(entries.keys() - wanted.keys()),
        "misshaped": [
            f"{name} {list(entries[name].shape)} for {list(shape)}"
            for name, shape in wanted.items()
            if name in entries and entries[name].shape != shape
        ],
    }


def _without_memory(part: Part) -> nn.Module:
    with torch.device("meta"):
        return NETWORKS[part.name].module(part.config)


def stored_dtype(checkpoint: Checkpoint) -> str:
    """torch's name of the float type that loses nothing of the checkpoint: the one it is stored in, or a wider one."""
    parts = [part for part in (checkpoint.unet, checkpoint.vae, checkpoint.text) if part is not None]
    stored = {entry.dtype for part in parts for entry in part.entries.values()}
    if "F64" in stored:
        return "float64"
    return {("F16",): "float16", ("BF16",): "bfloat16"}.get(tuple(stored), "float32")
