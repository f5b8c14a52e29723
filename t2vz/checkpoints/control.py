"""ControlNets (E14) of either layout as one Part: diffusers' folder, or a .safetensors file in either naming.

    controlnet = build(ControlNet, open_controlnet("control_v11p_sd15_canny.safetensors"), torch.float16, "cuda")

Files in the original naming call everything `control_model.…`, or leave that out; those of ControlNet 1.0 carry the
whole Stable Diffusion 1.5 as well, which is passed over. Some files hold differences from a UNet, marked by a key
`difference`: there the weights that both networks have are added up when they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from ..errors import InputError
from ..unet.config import ControlNetConfig
from . import config, ldm, sizes
from .identify import BY_CONTEXT, CONTROL_DELTA, CONTROL_FOLDER, CONTROL_LDM, identify
from .load import Part, folder_entries, read_json, renamed, shapes_of
from .read import Entry, read_header, some

STEM = "diffusion_pytorch_model"
ADVICE = (
    "give a ControlNet for Stable Diffusion 1.x: a .safetensors file, or a folder with config.json and "
    f"{STEM}.safetensors"
)


def open_controlnet(path: str | Path, unet: nn.Module | None = None) -> Part:
    """Open a ControlNet's folder or file; no tensor is read.

    A file without a config is taken to have SD 1.x's heads and norm groups. unet: the network that a file of
    differences is added to. Raises InputError: no such file, a pickle, cut short, another model (it says which), keys
    that belong to nothing, differences and no UNet to add them to.
    """
    path = Path(path)
    entries = _entries(path)
    kind = identify(shapes_of(entries))
    if kind not in (CONTROL_LDM, CONTROL_DELTA, CONTROL_FOLDER):
        raise InputError(f"{path}: this is {kind.words}, not a ControlNet; {ADVICE}")
    entries.pop("difference", None)
    if kind.layout == "single-file":
        entries = _by_folder_names(path, entries)
    described = _config_beside(path, kind.layout)
    found = described or sizes.controlnet_from_shapes(shapes_of(entries), str(path))
    _refuse_relatives(path, found, by_name=described is None)
    if kind == CONTROL_DELTA:
        entries = _added_to(unet, entries, path)
    return Part("ControlNet", path, found, entries)


def _entries(path: Path) -> dict[str, Entry]:
    """The ControlNet's tensors, without the prefix, and without a Stable Diffusion that is in the same file."""
    if path.is_dir():
        _refuse_folder(path)
        return folder_entries(path, STEM)
    entries = read_header(path)
    control = {key.removeprefix(ldm.CONTROL): entry for key, entry in entries.items() if key.startswith(ldm.CONTROL)}
    if not control:
        return entries
    others = [key for key in entries if not key.startswith((ldm.CONTROL, ldm.UNET, ldm.VAE, ldm.TEXT))]
    unknown = [key for key in others if not ldm.is_extra(key) and key != "difference"]
    if unknown:
        raise InputError(f"{path}: holds tensors that are no part of a ControlNet: {some(unknown)}")
    return control | {key: entries[key] for key in others if key == "difference"}


def _refuse_folder(path: Path) -> None:
    """What someone who gave a folder that is no ControlNet's probably wanted."""
    if (path / "config.json").is_file():
        return
    inside = [path / "controlnet"] if (path / "controlnet").is_dir() else sorted(path.glob("*.safetensors"))
    raise InputError(
        f"{path}: holds no config.json, so it is no ControlNet's folder; "
        + (f"did you mean {inside[0]}?" if inside else ADVICE)
    )


def _by_folder_names(path: Path, entries: dict[str, Entry]) -> dict[str, Entry]:
    shapes = shapes_of(entries)
    _, attention, resnets = sizes.levels_from_shapes(shapes, str(path))
    stem = {key.split(".")[1] for key in shapes if key.startswith("input_hint_block.")}  # two, and two per halving
    return renamed(path, "", entries, dict(ldm.control_modules(attention, resnets, halvings=len(stem) // 2 - 1)))


def _config_beside(path: Path, layout: str) -> ControlNetConfig | None:
    """The sizes that a config.json in the folder, or beside a folder's lone weight file, tells."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    if layout != "folder" or not file.is_file():
        return None
    content, where = read_json(file)
    if path.is_file() and content.get("_class_name") != "ControlNetModel":
        return None
    return config.controlnet_from_json(content, where)


def _refuse_relatives(path: Path, found: ControlNetConfig, by_name: bool) -> None:
    """ControlNets of other models; and those that average their residuals, which the name alone tells in a file."""
    if found.block_out_channels[0] == 320 and found.context_dim in BY_CONTEXT:
        raise InputError(f"{path}: this is a ControlNet for {BY_CONTEXT[found.context_dim][1]}; {ADVICE}")
    if by_name and "shuffle" in path.name.lower():
        raise InputError(
            f"{path}: by its name a shuffle ControlNet, which averages its residuals over the picture; "
            "t2vz runs those that follow a picture's shapes (canny, depth, openpose …)"
        )


def _added_to(unet: nn.Module | None, entries: dict[str, Entry], path: Path) -> dict[str, Entry]:
    """Each weight that the UNet has under the same name is the UNet's plus the file's."""
    if unet is None:
        raise InputError(
            f"{path}: holds the differences of a ControlNet from a UNet; name the UNet they are added to, "
            "load_controlnet(…, unet=sd.unet)"
        )
    weights = unet.state_dict()
    misfits = [name for name, entry in entries.items() if name in weights and entry.shape != tuple(weights[name].shape)]
    if misfits:
        raise InputError(
            f"{path}: holds differences from a UNet of other sizes than the one given ({some(misfits)}); "
            "give the model it was made for"
        )
    return {
        name: replace(entry, changes=(_plus(weights[name]),)) if name in weights else entry
        for name, entry in entries.items()
    }


def _plus(base: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda difference: difference + base.to(difference)
