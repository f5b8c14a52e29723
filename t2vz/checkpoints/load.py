"""Checkpoints, VAEs and ControlNets opened: found, told apart, checked. Headers and config files alone are read.

checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")   # or a folder
unet = build(checkpoint.unet, torch.float16, "cuda")              # now the tensors are read (build.py)
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ..errors import InputError
from ..schedulers import NoiseSchedule
from .contents import Contents, look, tokenizer_files
from .kinds import BY_CONTEXT, refuse
from .networks import PARTS, STEM, Part, shapes_of
from .read import find_path, refuse_pickles, some

GIVE_VAE = "give a VAE's folder (with config.json), or a .safetensors file"
GIVE_CONTROLNET = (
    "give a ControlNet for Stable Diffusion 1.x: a .safetensors file, or a folder with config.json and "
    f"{STEM}.safetensors"
)


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


def open_checkpoint(path: str | Path, needs: tuple[str, ...] = PARTS) -> Checkpoint:
    """Open a single file or a folder; no tensor is read.

    needs: the parts without which it is of no use ("unet", "vae", "text").
    Raises InputError: no such file, a pickle, cut short, another model (it says which), a part missing.
    """
    path = find_path(path)
    if path.is_dir() and not (path / "unet").is_dir():
        raise InputError(f"{path}: holds no unet/ folder; {_folder_advice(path)}")
    contents = look(path)
    layout = "folder" if path.is_dir() else "single-file"
    if contents.kind.advice is not None or contents.kind.layout != layout:
        refuse(contents.kind, path, shapes_of(contents.entries))
    found = {name: contents.parts.get(name) for name in PARTS}
    for problem in (found["unet"], contents.schedule, *(found[name] for name in needs)):
        if isinstance(problem, InputError):
            raise problem
    if contents.strange:
        raise InputError(f"{path}: holds tensors that are no part of Stable Diffusion 1.x: {some(contents.strange)}")
    missing = ["text encoder" if name == "text" else name for name in needs if found[name] is None]
    if missing:
        advice = "name one with --vae (vae=PATH), or " if missing == ["vae"] else ""
        raise InputError(f"{path}: holds no {', no '.join(missing)}; {advice}give a whole checkpoint")
    usable = {name: part if isinstance(part, Part) else None for name, part in found.items()}
    return Checkpoint(path, contents.kind.kind, layout, contents.schedule, **usable)


def open_vae(path: str | Path) -> Part:
    """A VAE alone: diffusers' folder of one, or a .safetensors file in either naming (of a whole single file, its VAE).

    A lone file without a config.json beside it is taken to have SD 1.x's norm groups and scaling factor.
    Raises InputError: as `open_checkpoint`, or if there is no VAE.
    """
    contents = _open_alone(path, "VAE", GIVE_VAE)
    part = contents.parts.get("vae")
    if contents.kind.kind != "vae" and (contents.kind.advice is not None or contents.kind.layout == "folder"):
        raise InputError(f"{path}: this is {contents.kind.words}, not a VAE; {GIVE_VAE}")
    if isinstance(part, InputError):
        raise part
    if part is None:
        raise InputError(f"{path}: holds no vae; give a file that has one")
    return part


def open_controlnet(path: str | Path, unet: nn.Module | None = None) -> Part:
    """A ControlNet (E14): diffusers' folder of one, or a .safetensors file in either naming; no tensor is read.

    A file without a config is taken to have SD 1.x's heads and norm groups. Files of ControlNet 1.0 carry the whole
    Stable Diffusion 1.5 as well, which is passed over. unet: the network that a file of differences is added to, which
    a key "difference" marks. Raises InputError: no such file, a pickle, cut short, another model (it says which), keys
    that belong to nothing, differences and no UNet to add them to.
    """
    contents = _open_alone(path, "ControlNet", GIVE_CONTROLNET)
    part = contents.parts.get("ControlNet")
    if part is None:
        raise InputError(f"{path}: this is {contents.kind.words}, not a ControlNet; {GIVE_CONTROLNET}")
    if isinstance(part, InputError):
        raise part
    if contents.strange:
        raise InputError(f"{path}: holds tensors that are no part of a ControlNet: {some(contents.strange)}")
    if part.config.block_out_channels[0] == 320 and part.config.context_dim in BY_CONTEXT:
        raise InputError(
            f"{path}: this is a ControlNet for {BY_CONTEXT[part.config.context_dim][1]}; {GIVE_CONTROLNET}"
        )
    if not part.described and "shuffle" in Path(path).name.lower():
        raise InputError(
            f"{path}: by its name a shuffle ControlNet, which averages its residuals over the picture; "
            "t2vz runs those that follow a picture's shapes (canny, depth, openpose …)"
        )
    return _added_to(unet, part) if "difference" in contents.entries else part


def _open_alone(path: str | Path, what: str, advice: str) -> Contents:
    """`look` at the path of a VAE or a ControlNet, and say what someone who gave another folder probably wanted."""
    path = find_path(path, advice)
    if path.is_dir() and not (path / "config.json").is_file():
        inside = [path / what.lower()] if (path / what.lower()).is_dir() else sorted(path.glob("*.safetensors"))
        hint = f"did you mean {inside[0]}?" if inside else advice
        raise InputError(f"{path}: holds no config.json, so it is no {what}'s folder; {hint}")
    return look(path)


def _added_to(unet: nn.Module | None, part: Part) -> Part:
    """Each weight that the UNet has under the same name is the UNet's plus the file's."""
    if unet is None:
        raise InputError(
            f"{part.path}: holds the differences of a ControlNet from a UNet; name the UNet they are added to, "
            "load_controlnet(…, unet=sd.unet)"
        )
    weights, entries = unet.state_dict(), part.entries
    misfits = [name for name, entry in entries.items() if name in weights and entry.shape != tuple(weights[name].shape)]
    if misfits:
        raise InputError(
            f"{part.path}: holds differences from a UNet of other sizes than the one given ({some(misfits)}); "
            "give the model it was made for"
        )
    added = {
        name: replace(entry, changes=(lambda difference, base=weights[name]: difference + base.to(difference),))
        for name, entry in entries.items()
        if name in weights
    }
    return replace(part, entries=entries | added)


def _folder_advice(path: Path) -> str:
    """What someone who gave this folder probably wanted."""
    if (path / "config.json").is_file():
        return f"it seems to be one part of a checkpoint: give the folder above it, {path.absolute().parent}"
    files = sorted(path.glob("*.safetensors"))
    if files:
        return f"to load the single file in it, give {files[0]}"
    refuse_pickles(path)
    return "give a folder with unet/ vae/ text_encoder/ tokenizer/, or a .safetensors file"


def files_read(path: str | Path) -> list[Path]:
    """All files that decide what the checkpoint, VAE, ControlNet or LoRA at `path` computes, in order: the weights, and
    the configs, schedule, tokenizer and settings that are read beside them. Raises as `look`."""
    return sorted(look(path).files)


def checkpoint_hash(*paths: str | Path, tokenizer: Path | None = None) -> str:
    """SHA-256 of `files_read` of some paths: of one file its contents', as sha256sum prints it; of several their names'
    within the folder and their contents'. So it does not depend on where the files lie. tokenizer: a further folder."""
    contents = [look(path) for path in paths]
    files = [(file, found.path) for found in contents for file in sorted(found.files)]
    files += [(file, tokenizer) for file in tokenizer_files(tokenizer)] if tokenizer else []
    digest = hashlib.sha256()
    for file, path in files:
        if len(files) > 1:
            digest.update(f"{os.path.relpath(file, path if path.is_dir() else path.parent)}\n".encode())
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()
