"""StableDiffusion: one bundle of text tower, UNet, VAE and noise schedule, loaded from a path.

sd = StableDiffusion.load()                                      # the embedded checkpoint
sd = StableDiffusion.load("v1-5-pruned-emaonly.safetensors")     # or a folder: unet/ vae/ text_encoder/ tokenizer/
sd = StableDiffusion.load(edit=True)                             # the embedded model that edits videos (E15)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from .checkpoints import (
    CLIP_NAME,
    NO_CLIP,
    PARTS,
    Checkpoint,
    Defaults,
    Part,
    Words,
    build,
    checkpoint_hash,
    describe_words,
    find_tokenizer,
    merge_lora,
    open_checkpoint,
    open_controlnet,
    open_vae,
    read_defaults,
    read_words,
    unknown_words,
)
from .errors import InputError
from .schedulers import NoiseSchedule
from .text import TextEncoder, Tokenizer, encode_text
from .unet import ControlNet, UNet
from .vae import VAE


@dataclass
class StableDiffusion:
    """A frozen text-to-image model. unet, vae, text_encoder: nn.Modules in eval mode; schedule: its noise schedule."""

    unet: UNet
    vae: VAE
    text_encoder: TextEncoder
    tokenizer: Tokenizer
    schedule: NoiseSchedule
    path: Path | None = None  # the file or folder it came from
    unet_path: Path | None = None  # that of its UNet, if it lies elsewhere (the embedded edit model's)
    kind: str = "sd1"
    words: Words | None = None  # those it knows, where it knows few (checkpoints/words.py)
    defaults: Defaults = field(default_factory=dict)  # settings it was made for (checkpoints/defaults.py)
    _hash: str | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        tokenizer: str | Path | None = None,
        vae: str | Path | None = None,
        loras: Sequence[tuple[str | Path, float]] = (),
        edit: bool = False,
    ) -> "StableDiffusion":
        """Load a checkpoint: a single .safetensors file, or a folder in diffusers' layout; None: the embedded model.

        dtype: float32, float16, bfloat16 or float64. With float16 the VAE is kept in float32, where its activations
        overflow. tokenizer: a folder with vocab.json and merges.txt, if the checkpoint carries none. vae: another VAE's
        folder or file, in place of the checkpoint's. loras: (file, weight) of LoRAs to merge into the UNet and the text
        tower, in this order; the files stay as they are. edit: an InstructPix2Pix model, whose UNet reads 8 channels,
        for `edit_video`; None is then the embedded one. Where such a UNet lies in PATH-edit/unet (as `training export`
        writes it), it is taken from there and the rest from PATH.
        Raises InputError, one line, for anything that is not Stable Diffusion 1.x in safetensors.
        """
        checkpoint = assemble(path, vae, loras, edit)
        path, unet_path = checkpoint.path, edit_unet(path) if edit else None
        vae_dtype = torch.float32 if dtype == torch.float16 else dtype
        unet = build(checkpoint.unet, dtype, device)
        autoencoder = build(checkpoint.vae, vae_dtype, device)
        text_encoder = build(checkpoint.text, dtype, device)
        for network in (unet, autoencoder):
            lay_out(network.requires_grad_(False))
        source = unet_path.parent if unet_path else path
        words = _tokenizer(path, tokenizer, checkpoint.text.config.max_position_embeddings)
        if words.size > checkpoint.text.config.vocab_size:
            raise InputError(
                f"a tokenizer of {words.size} tokens does not fit {path}, whose text tower knows "
                f"{checkpoint.text.config.vocab_size}; give the tokenizer that belongs to it"
            )
        return cls(
            unet,
            autoencoder,
            text_encoder.requires_grad_(False),
            words,
            checkpoint.schedule,
            path,
            unet_path,
            checkpoint.kind,
            read_words(source),
            read_defaults(source),
        )

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text states of some prompts: (prompts, tokens, dim). Only a prompt's first 75 tokens are read."""
        return encode_text(self.text_encoder, self.tokenizer, prompts)

    def prompt_notes(self, prompt: str) -> list[str]:
        """What the user should know about a prompt: the words past CLIP's 75 tokens, and those the model never saw."""
        notes = []
        cut = self.tokenizer.encode(prompt).cut
        if cut:
            shown = cut if len(cut) <= 120 else f"{cut[:80]} … {cut[-30:]}"
            notes.append(
                f'the text tower reads {self.tokenizer.length - 2} tokens of a prompt; cut off and ignored: "{shown}"'
            )
        unknown = unknown_words(self.words, prompt) if self.words else []
        if unknown:
            named = ", ".join(f'"{word}"' for word in unknown[:8]) + (" …" if len(unknown) > 8 else "")
            notes.append(f"this model does not know {named}; it knows {describe_words(self.words)}")
        return notes

    @property
    def dtype(self) -> torch.dtype:
        """The type the UNet and the text tower compute in."""
        return next(self.unet.parameters()).dtype

    @property
    def vae_dtype(self) -> torch.dtype:
        """The type the VAE computes in."""
        return next(self.vae.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    @property
    def default_size(self) -> int:
        """The side, in pixels, of the pictures the model was trained on."""
        return self.unet.config.sample_size * self.vae.factor

    def hash(self) -> str:
        """SHA-256 of the checkpoint's weights, for run files; read once, when first asked for."""
        if self._hash is None:
            self._hash = checkpoint_hash(*filter(None, (self.path, self.unet_path)))
        return self._hash


def load_controlnet(
    path: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    unet: UNet | None = None,
) -> ControlNet:
    """Load a ControlNet (E14): a folder in diffusers' layout or a .safetensors file of either naming; None: the
    embedded one, which reads edges.

    dtype, device: those of the StableDiffusion it will steer. unet: its UNet, needed only by files that hold the
    differences from one. In eval mode, without gradients. Raises InputError, one line, for anything else.
    """
    part = open_controlnet(embedded_controlnet() if path is None else path, unet)
    return lay_out(build(part, dtype, device).requires_grad_(False))


def check_controlnet(sd: StableDiffusion, controlnet: ControlNet) -> None:
    """Raise InputError unless the ControlNet's residuals, text states and pictures are those of the model it steers."""
    ours, theirs = controlnet.config, sd.unet.config
    for name, found, wanted in (
        ("widths", ours.block_out_channels, theirs.block_out_channels),
        ("resnets per level", ours.layers_per_block, theirs.layers_per_block),
        ("latent channels", ours.in_channels, theirs.in_channels),
        ("text width", ours.context_dim, theirs.context_dim),
        ("picture sides per latent side", controlnet.factor, sd.vae.factor),
    ):
        if found != wanted:
            raise InputError(
                f"the ControlNet does not fit the model: its {name} {found}, the model's {wanted}; give "
                "one that was trained for this model"
            )
    weight = next(controlnet.parameters())
    if (weight.dtype, weight.device) != (sd.dtype, sd.device):
        raise InputError(
            f"the ControlNet is in {weight.dtype} on {weight.device}, the model in {sd.dtype} on "
            f"{sd.device}; load both alike"
        )


def assemble(
    path: str | Path | None = None,
    vae: str | Path | None = None,
    loras: Sequence[tuple[str | Path, float]] = (),
    edit: bool = False,
) -> Checkpoint:
    """What `StableDiffusion.load` loads, before a tensor is read: opened, the VAE exchanged, the LoRAs to be merged."""
    checkpoint = _open(path, ("unet", "text") if vae else PARTS, edit)
    if vae is not None:
        checkpoint = replace(checkpoint, vae=_fitting_vae(checkpoint, vae))
    for file, weight in loras:
        checkpoint = merge_lora(checkpoint, file, weight)
    return checkpoint


def _open(path: str | Path | None, needs: tuple[str, ...], edit: bool) -> Checkpoint:
    """The checkpoint at a path, or the embedded one: of the kind that makes videos from text, or that edits them.

    The embedded edit model has a UNet of its own, and shares the rest with the other; so may any folder's.
    """
    unet_path = edit_unet(path) if edit else None
    if unet_path:
        unet = open_checkpoint(unet_path.parent, needs=("unet",))
        needs = tuple(part for part in needs if part != "unet")
        base = open_checkpoint(embedded_weights() if path is None else path, needs)
        checkpoint = replace(base, kind=unet.kind, unet=unet.unet)
    else:
        checkpoint = open_checkpoint(embedded_weights() if path is None else path, needs)
    if edit and checkpoint.kind != "instruct-pix2pix":
        raise InputError(
            f"{path}: this is Stable Diffusion, whose UNet reads 4 channels and sees no source video; to "
            "edit, give an InstructPix2Pix model (8 channels); this one makes videos with t2vz generate"
        )
    if not edit and checkpoint.kind != "sd1":
        raise InputError(
            f"{path}: this is InstructPix2Pix, whose UNet reads 8 channels, a source video's among them; "
            "use it with t2vz edit (StableDiffusion.load(path, edit=True)), or give a Stable Diffusion "
            "1.x checkpoint"
        )
    return checkpoint


def edit_unet(path: str | Path | None) -> Path | None:
    """Where the edit UNet of a checkpoint lies, if not in it: the embedded one's, or that of the folder PATH-edit."""
    if path is None:
        return embedded_edit() / "unet"
    folder = Path(path).resolve()  # "." has no name
    beside = folder.with_name(folder.name + "-edit") / "unet"
    return beside if folder.is_dir() and beside.is_dir() else None


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
            raise InputError(
                f"{path}: a VAE of another model: its {what} {found}, where {checkpoint.path} has "
                f"{wanted}; give a VAE made for this model"
            )
    return vae


def _tokenizer(path: Path, folder: str | Path | None, length: int) -> Tokenizer:
    """The tokenizer given, else the one in or beside the checkpoint, else CLIP's through transformers."""
    found = find_tokenizer(path, folder)
    try:
        if found is not None:
            return Tokenizer(found, length)
    except Exception as error:  # transformers raises many kinds
        raise InputError(
            f"{found}: its tokenizer cannot be read; copy it again from where the checkpoint came from"
        ) from error
    try:
        return Tokenizer(CLIP_NAME, length)
    except OSError as error:
        raise InputError(f"{path}: {NO_CLIP}") from error


def lay_out(network: torch.nn.Module) -> torch.nn.Module:
    """Half precision: weights channels-last, where convolutions are faster. float32 and float64: as they are.

    There channels-last gains no time on CPUs and loses digits: torch's GroupNorm then takes the variance as
    E[x²] − E[x]², which is off by 1e-4 where the mean is ten standard deviations.
    """
    weight = next(network.parameters())
    if weight.dtype in (torch.float16, torch.bfloat16) and weight.device.type in ("cpu", "cuda"):
        network.to(memory_format=torch.channels_last)
    return network


def checkpoint_defaults(path: str | Path | None = None, edit: bool = False) -> Defaults:
    """What `load(path, edit=edit).defaults` will be, without loading anything."""
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
    package = Path(__file__).resolve().parent
    for folder in (package / "weights" / name, package.parent / "weights" / name):
        if (folder / holds).exists():
            return folder
    raise InputError(f"{words} is not installed; give the path of one ({flag}), or install t2vz again")
