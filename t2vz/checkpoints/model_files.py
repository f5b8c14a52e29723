"""The files that make one model: a checkpoint or the embedded one, an edit UNet of its own, another VAE, LoRAs."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .attached import Defaults, read_defaults
from .load import open_checkpoint, open_vae
from .lora import merge_lora
from .networks import PARTS, Checkpoint, Part
from .read import find_path


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
        checkpoint = replace(checkpoint, kind=own.kind, unet=own.unet)
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
