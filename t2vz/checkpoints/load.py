"""Models, checkpoints, VAEs, ControlNets opened: found, told apart, checked. Headers and config files alone are read.

checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")   # or a folder
unet = build(checkpoint.unet, torch.float16, "cuda")              # now the tensors are read (networks.py)
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from ..errors import InputError
from ..files import files_hash
from .attached import Defaults, read_defaults
from .contents import Contents, look
from .kinds import BY_CONTEXT, refuse
from .lora import merge_lora
from .networks import PARTS, Checkpoint, Part, shapes_of
from .read import find_path, refuse_pickles, some
from .tokenizer import tokenizer_files

GIVE_VAE = "give a VAE's folder (with config.json), or a .safetensors file that holds one"
GIVE_CONTROLNET = "give a ControlNet for Stable Diffusion 1.x: a .safetensors file, or its folder (with config.json)"


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
    return files_hash([(os.path.relpath(file, path if path.is_dir() else path.parent), file) for file, path in files])


def assemble(
    path: str | Path | None = None,
    vae: str | Path | None = None,
    loras: Sequence[tuple[str | Path, float] | str | Path] = (),
    edit: bool = False,
) -> Checkpoint:
    """What `StableDiffusion.load` loads, before a tensor is read: opened, the VAE exchanged, the LoRAs to be merged."""
    checkpoint = _open(path, ("unet", "text") if vae else PARTS, edit)
    if vae is not None:
        checkpoint = replace(checkpoint, vae=_fitting_vae(checkpoint, vae))
    for lora in [loras] if isinstance(loras, str | Path) else loras:
        try:
            file, weight = (lora, 1.0) if isinstance(lora, str | Path) else lora
        except (TypeError, ValueError) as error:
            raise InputError(f"loras: {lora!r} is no file nor (file, weight); give [PATH, (PATH, 0.7)]") from error
        checkpoint = merge_lora(checkpoint, file, weight)
    return checkpoint


def _open(path: str | Path | None, needs: tuple[str, ...], edit: bool) -> Checkpoint:
    """The checkpoint at a path, or the embedded one: of the kind that makes videos from text, or that edits them.

    The embedded edit model has a UNet of its own, and shares the rest with the other; so may any folder's.
    """
    unet_path = edit_unet(path) if edit else None
    base = embedded_weights() if path is None else path
    if unet_path:
        own = open_checkpoint(unet_path.parent, needs=("unet",))
        checkpoint = open_checkpoint(base, tuple(part for part in needs if part != "unet"))
        checkpoint = replace(checkpoint, kind=own.kind, unet=own.unet, unet_path=unet_path)
    else:
        checkpoint = open_checkpoint(base, needs)
    if edit and checkpoint.kind != "instruct-pix2pix":
        what = "Stable Diffusion, whose UNet reads 4 channels and makes videos with t2vz generate"
        raise InputError(f"{path}: this is {what}; to edit, give an InstructPix2Pix model (8 channels)")
    if not edit and checkpoint.kind != "sd1":
        what = "InstructPix2Pix, whose UNet reads 8 channels, a source video's among them; it is for t2vz edit"
        raise InputError(f"{path}: this is {what} (load(…, edit=True)); give a Stable Diffusion 1.x checkpoint")
    return checkpoint


def _fitting_vae(checkpoint: Checkpoint, path: str | Path) -> Part:
    """Another VAE for a checkpoint; its latents must be what the UNet learned on, as far as sizes tell."""
    vae, own = open_vae(path), checkpoint.vae
    facts = [("latent channels", vae.config.latent_channels, checkpoint.unet.config.out_channels)]
    if own is not None:
        facts += [
            ("scaling factor of latents", vae.config.scaling_factor, own.config.scaling_factor),
            ("levels", len(vae.config.block_out_channels), len(own.config.block_out_channels)),
        ]
    for what, found, wanted in facts:
        if found != wanted:
            ours = f"where {checkpoint.path} has {wanted}"
            raise InputError(f"{path}: a VAE of another model: its {what} {found}, {ours}; give one made for this")
    return vae


def edit_unet(path: str | Path | None) -> Path | None:
    """Where the edit UNet of a checkpoint lies, if not in it: the embedded one's, or that of the folder PATH-edit."""
    if path is None:
        return embedded_edit() / "unet"
    folder = Path(os.path.abspath(find_path(path)))  # "." has no name; a link keeps its own
    beside = folder.with_name(folder.name + "-edit") / "unet"
    return beside if folder.is_dir() and beside.is_dir() else None


def checkpoint_defaults(path: str | Path | None = None, edit: bool = False) -> Defaults:
    """What `StableDiffusion.load(path, edit=edit).defaults` will be, without loading anything."""
    unet_path = edit_unet(path) if edit else None
    return read_defaults(unet_path.parent if unet_path else embedded_weights() if path is None else path)


def embedded_weights() -> Path:
    """The folder of the embedded checkpoint, in an installed package or in a checkout."""
    return _embedded("embedded", "unet", "the embedded checkpoint", "--weights")


def embedded_edit() -> Path:
    """The folder of the embedded edit model: unet/; its other parts are those of `embedded_weights`."""
    return _embedded("embedded-edit", "unet", "the embedded edit model", "--weights")


def embedded_controlnet() -> Path:
    """The folder of the embedded ControlNet, if there is one: `python -m training controlnet` makes it."""
    return _embedded("embedded-control", "config.json", "the embedded ControlNet", "--controlnet")


def _embedded(name: str, holds: str, words: str, flag: str) -> Path:
    """The folder weights/name, which must hold something called `holds`."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "weights" / name, package.parent / "weights" / name):
        if (folder / holds).exists():
            return folder
    raise InputError(f"{words} is not installed; give the path of one ({flag}), or install t2vz again")
