"""The one table of what a checkpoint is made of: UNet, VAE, text tower, and the ControlNet beside it.

A row says where the tensors of a network lie in the two layouts, and how their names there become the module's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ..text import TextEncoder
from ..unet import ControlNet, UNet
from ..vae import VAE
from . import layouts
from .config import Config
from .layouts import control_levels, control_modules, unet_levels, unet_modules, vae_levels, vae_modules
from .read import Entry

STEM = "diffusion_pytorch_model"


def _as_it_is(name: str, entry: Entry) -> tuple[str, Entry]:
    return name, entry


@dataclass(frozen=True)
class Network:
    """A row of NETWORKS: where a network's tensors lie in the two layouts, and how their names become the module's."""

    name: str
    module: Callable[[Config], nn.Module]
    class_name: str  # of diffusers' or transformers' class, in config.json
    folder: str  # in a checkpoint folder
    prefix: str  # of its keys in a single file
    # The two layouts' names of a config's modules, None if they are the same; a config by the keys of a single file.
    modules: Callable[[Config], Iterable[tuple[str, str]]] | None = None
    levels: Callable[[Collection[str]], Config] | None = None
    # Older names and shapes -> the module's; None for what is no weight of it.
    tidy: Callable[[str, Entry], tuple[str, Entry] | None] = _as_it_is
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
        Network("unet", UNet, "UNet2DConditionModel", "unet", layouts.UNET, unet_modules, unet_levels),
        Network("vae", VAE, "AutoencoderKL", "vae", layouts.VAE, vae_modules, vae_levels, _tidy_vae),
        Network("text", TextEncoder, "CLIPTextModel", "text_encoder", layouts.TEXT, tidy=_tidy_text, stem="model"),
        Network("ControlNet", ControlNet, "ControlNetModel", "", layouts.CONTROL, control_modules, control_levels),
    )
}
PARTS = ("unet", "vae", "text")  # of a checkpoint; a ControlNet comes beside one


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint: its sizes, and where each tensor lies, by the name it has in the module."""

    name: str  # a row of NETWORKS
    path: Path  # the file or folder, for messages
    config: Config
    entries: dict[str, Entry]
    described: bool = False  # by a config.json; otherwise what shapes do not show is Stable Diffusion 1.x's


def by_module_names(row: Network, entries: Mapping[str, Entry], single: bool) -> dict[str, Entry]:
    """A network's tensors by the names its module has. What no module has keeps its key, and is refused by it."""
    table = dict(row.modules(row.levels(entries))) if single and row.modules else None
    named = {}
    for key, entry in entries.items():
        name = key if table is None else layouts.rename(key, table) or row.prefix + key
        if tidied := row.tidy(name, entry):
            named[tidied[0]] = tidied[1]
    return named


def shapes_of(entries: Mapping[str, Entry]) -> dict[str, tuple[int, ...]]:
    """{key: shape}, by which files are told apart."""
    return {key: entry.shape for key, entry in entries.items()}
