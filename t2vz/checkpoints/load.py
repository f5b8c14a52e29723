"""Checkpoints, VAEs and ControlNets opened: found, told apart, checked. Headers and config files alone are read.

checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")   # or a folder
unet = build(checkpoint.unet, torch.float16, "cuda")              # now the tensors are read (networks.py)
"""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from ..errors import InputError
from .contents import Contents, look
from .kinds import BY_CONTEXT, refuse
from .networks import PARTS, STEM, Checkpoint, Part, shapes_of
from .read import find_path, refuse_pickles, some
from .tokenizer import tokenizer_files

GIVE_VAE = "give a VAE's folder (with config.json), or a .safetensors file that holds one"
GIVE_CONTROLNET = (
    "give a ControlNet for Stable Diffusion 1.x: a .safetensors file, or a folder with config.json and "
    f"{STEM}.safetensors"
)


def open_checkpoint(path: str | Path, needs: tuple[str, ...] = PARTS) -> Checkpoint:
    """Open a single file or a folder; no tensor is read.

    needs: the parts without which it is of no use ("unet", "vae", "text").
    Raises InputError: no such file, a pickle, cut short, another model (it says which), a part missing.
    """
    path = find_path(path)
    if path.is_dir() and not (path / "unet").is_dir():
        raise InputError(f"{path}: holds no unet/ folder; {_folder_advice(path)}")
    contents = look(path)
    kind, layout = contents.kind, "folder" if path.is_dir() else "single-file"
    if kind.advice is not None or kind.layout != layout:
        refuse(kind, path, shapes_of(contents.entries))
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
    return Checkpoint(path, kind.kind, layout, contents.schedule, **usable)


def _folder_advice(path: Path) -> str:
    """What someone who gave this folder probably wanted."""
    if (path / "config.json").is_file():
        return f"it seems to be one part of a checkpoint: give the folder above it, {path.absolute().parent}"
    if files := sorted(path.glob("*.safetensors")):
        return f"to load the single file in it, give {files[0]}"
    refuse_pickles(path)
    return "give a folder with unet/ vae/ text_encoder/ tokenizer/, or a .safetensors file"


def stored_dtype(checkpoint: Checkpoint) -> str:
    """torch's name of the float type that loses nothing of the checkpoint: the one it is stored in, or a wider one."""
    parts = filter(None, (checkpoint.unet, checkpoint.vae, checkpoint.text))
    stored = {entry.dtype for part in parts for entry in part.entries.values()}
    if "F64" in stored:
        return "float64"
    return {("F16",): "float16", ("BF16",): "bfloat16"}.get(tuple(stored), "float32")


def open_vae(path: str | Path) -> Part:
    """A VAE alone: diffusers' folder of one, or a .safetensors file in either naming (of a whole single file, its VAE).

    A lone file without a config.json beside it is taken to have SD 1.x's norm groups and scaling factor.
    Raises InputError: as `open_checkpoint`, or if there is no VAE.
    """
    return _open_alone(path, "vae", "VAE", GIVE_VAE)[1]


def open_controlnet(path: str | Path, unet: nn.Module | None = None) -> Part:
    """A ControlNet (E14): diffusers' folder of one, or a .safetensors file in either naming; no tensor is read.

    A file without a config is taken to have SD 1.x's heads and norm groups. Files of ControlNet 1.0 carry the whole
    Stable Diffusion 1.5 as well, which is passed over. unet: the network that a file of differences is added to, which
    a key "difference" marks. Raises InputError: no such file, a pickle, cut short, another model (it says which), keys
    that belong to nothing, differences and no UNet to add them to.
    """
    contents, part = _open_alone(path, "ControlNet", "ControlNet", GIVE_CONTROLNET)
    if contents.strange:
        raise InputError(f"{path}: holds tensors that are no part of a ControlNet: {some(contents.strange)}")
    if part.config.block_out_channels[0] == 320 and part.config.context_dim in BY_CONTEXT:
        _, model = BY_CONTEXT[part.config.context_dim]
        raise InputError(f"{path}: this is a ControlNet for {model}; {GIVE_CONTROLNET}")
    if not part.described and "shuffle" in Path(path).name.lower():
        what = "by its name a shuffle ControlNet, which averages its residuals over the picture"
        raise InputError(f"{path}: {what}; t2vz runs those that follow a picture's shapes (canny, depth, openpose …)")
    return _added_to(unet, part) if "difference" in contents.entries else part


def _open_alone(path: str | Path, name: str, what: str, advice: str) -> tuple[Contents, Part]:
    """What is at the path of one network, and that network. Raises InputError that says what was probably wanted."""
    path = find_path(path, advice)
    if path.is_dir() and not (path / "config.json").is_file():
        inside = [path / what.lower()] if (path / what.lower()).is_dir() else sorted(path.glob("*.safetensors"))
        hint = f"did you mean {inside[0]}?" if inside else advice
        raise InputError(f"{path}: holds no config.json, so it is no {what}'s folder; {hint}")
    contents = look(path)
    part = contents.parts.get(name)
    if part is None:
        raise InputError(f"{path}: this is {contents.kind.words}, not a {what}; {advice}")
    if isinstance(part, InputError):
        raise part
    return contents, part


def _added_to(unet: nn.Module | None, part: Part) -> Part:
    """Each weight that the UNet has under the same name is the UNet's plus the file's."""
    if unet is None:
        raise InputError(f"{part.path}: holds the differences from a UNet; name it, load_controlnet(…, unet=sd.unet)")
    weights = unet.state_dict()
    shared = {name: entry for name, entry in part.entries.items() if name in weights}
    misfits = [name for name, entry in shared.items() if entry.shape != tuple(weights[name].shape)]
    if misfits:
        raise InputError(f"{part.path}: made for a UNet of other sizes than this ({some(misfits)}); give its own UNet")
    added = {
        name: replace(entry, changes=(lambda difference, base=weights[name]: difference + base.to(difference),))
        for name, entry in shared.items()
    }
    return replace(part, entries=part.entries | added)


def checkpoint_hash(*paths: str | Path, tokenizer: Path | None = None) -> str:
    """SHA-256 of all files that decide what the checkpoints, VAEs, ControlNets or LoRAs at some paths compute.

    Those are the weights, and the configs, schedule, tokenizer and settings that are read beside them. Of one file it
    is its contents', as sha256sum prints it; of several their names' within the folder and their contents'. So it does
    not depend on where the files lie. tokenizer: a further folder. Raises as `look`.
    """
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
