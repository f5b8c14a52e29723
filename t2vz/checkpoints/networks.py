"""The one table of what a checkpoint is made of: UNet, VAE, text tower, and the ControlNet beside it; and how a row of
it becomes a network, without a second copy of the weights in memory.

A row says where the tensors of a network lie in the two layouts, and how their names there become the module's. The
network is first built on torch's "meta" device: there it has names and shapes, and no memory. They are compared with
the file's before the first tensor is read; then each is read, converted and put in its place.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..schedulers import NoiseSchedule
from ..text import TextConfig, TextEncoder
from ..unet import ControlNet, ControlNetConfig, UNet, UNetConfig
from ..vae import VAE, VAEConfig
from . import layouts
from .config import Config
from .layouts import control_modules, unet_levels, unet_modules, vae_levels, vae_modules
from .read import Entry, read_tensors, some

STEM = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Network:
    """A row of NETWORKS: where a network's tensors lie in the two layouts, and how their names become the module's."""

    name: str
    folder: str  # in a checkpoint folder
    module: Callable[[Config], nn.Module]
    config: type[Config]
    prefix: str  # of its keys in a single file
    # Both layouts' names of the modules of some sizes, None if they are the same; and as much of these sizes as that
    # takes, by a single file's keys without the prefix.
    modules: Callable[[Any], Iterable[tuple[str, str]]] | None = None
    levels: Callable[[Iterable[str]], Any] | None = None
    # Older names and shapes -> the module's; None for what is no weight of it.
    tidy: Callable[[str, Entry], tuple[str, Entry] | None] = lambda name, entry: (name, entry)
    stem: str = STEM  # of its weight file's name in a folder


def _tidy_vae(name: str, entry: Entry) -> tuple[str, Entry]:
    """The VAE's attention as linear layers: single files store [c, c, 1, 1]. Convolutions are left alone."""
    square = ".attentions." in name and entry.shape[2:] == (1, 1)
    return layouts.vae_name(name), replace(entry, shape=entry.shape[:2]) if square else entry


def _tidy_text(name: str, entry: Entry) -> tuple[str, Entry] | None:
    """Without position_ids (0, 1, 2 …, spoilt in some files) and CLIP's unused parts."""
    unused = name.endswith(("embeddings.position_ids", "text_projection.weight", "logit_scale"))
    return None if unused else (layouts.text_name(name), entry)


NETWORKS = {
    row.name: row
    for row in (
        Network("unet", "unet", UNet, UNetConfig, layouts.UNET, unet_modules, unet_levels),
        Network("vae", "vae", VAE, VAEConfig, layouts.VAE, vae_modules, vae_levels, _tidy_vae),
        Network("text", "text_encoder", TextEncoder, TextConfig, layouts.TEXT, tidy=_tidy_text, stem="model"),
        Network("ControlNet", "", ControlNet, ControlNetConfig, layouts.CONTROL, control_modules, unet_levels),
    )
}
PARTS = ("unet", "vae", "text")  # of a checkpoint; a ControlNet comes beside one


def row_of(network: nn.Module) -> Network:
    """The row of NETWORKS that a module is of."""
    return next(row for row in NETWORKS.values() if type(network.config) is row.config)


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint: its sizes, and where each tensor lies, by the name it has in the module."""

    name: str  # a row of NETWORKS
    path: Path  # the file or folder, for messages
    config: Config
    entries: dict[str, Entry]
    described: bool = False  # by a config.json; otherwise what shapes do not show is Stable Diffusion 1.x's


@dataclass(frozen=True)
class Checkpoint:
    """What a path holds. A part that was not asked for and is not there is None.

    kind: "sd1" or "instruct-pix2pix". layout: "single-file" or "folder". schedule: what the UNet learned.
    """

    path: Path
    kind: str
    layout: str
    schedule: NoiseSchedule
    unet: Part | None
    vae: Part | None
    text: Part | None
    unet_path: Path | None = None  # where the UNet lies, if not at `path` (load.edit_unet)


def by_module_names(row: Network, entries: Mapping[str, Entry], single: bool) -> dict[str, Entry]:
    """A network's tensors by the names its module has. What no module has keeps its key, and is refused by it."""
    table = dict(row.modules(row.levels(entries))) if single and row.modules else None
    named = {}
    for key, entry in entries.items():
        name = key if table is None else layouts.rename(key, table) or row.prefix + key
        if tidied := row.tidy(name, entry):
            put(named, *tidied)
    return named


def put(named: dict[str, Entry], name: str, entry: Entry) -> None:
    """Add an entry by its name. Raises InputError if the file has that tensor under another key as well."""
    before = named.setdefault(name, entry)
    if before is not entry:
        raise InputError(f"{entry.path}: {before.key} and {entry.key} are the same tensor; get another copy")


def shapes_of(entries: Mapping[str, Entry]) -> dict[str, tuple[int, ...]]:
    """{key: shape}, by which files are told apart."""
    return {key: entry.shape for key, entry in entries.items()}


def build(part: Part, dtype: torch.dtype, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a part, filled with its tensors in `dtype` on `device`; in eval mode, without gradients.

    Peak memory: the weights in `dtype`, and the largest tensor. Raises InputError naming the missing, unknown and
    misshaped tensors.
    """
    module = _without_memory(part)
    words = {"missing": "missing", "extra": "unknown", "misshaped": "of another shape"}
    found = differences(part, module)
    faults = "; ".join(f"{len(names)} tensors {words[fault]}: {some(names)}" for fault, names in found.items() if names)
    if faults:
        raise InputError(
            f"{part.path}: does not fit the {part.name} its sizes call for; {faults}; "
            "the file is incomplete, pruned, or of another architecture"
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
