"""StableDiffusion: one bundle of text tower, UNet, VAE and noise schedule, loaded from a path.

sd = StableDiffusion.load()                                      # the embedded checkpoint
sd = StableDiffusion.load("v1-5-pruned-emaonly.safetensors")     # or a folder: unet/ vae/ text_encoder/ tokenizer/
sd = StableDiffusion.load(edit=True)                             # the embedded model that edits videos (E15)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoints import (
    Defaults,
    Words,
    assemble,
    build,
    checkpoint_hash,
    describe_words,
    embedded_controlnet,
    find_tokenizer,
    open_controlnet,
    open_tokenizer,
    read_defaults,
    read_inverted,
    read_words,
    unknown_words,
)
from .errors import InputError
from .schedulers import NoiseSchedule
from .text import TextEncoder, Tokenizer, encode_text, foreign_syntax
from .unet import ControlNet, UNet
from .vae import VAE, decode_frames, encode_frames

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


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
    tokenizer_path: Path | None = None  # that of its tokenizer, if another was given than its own
    kind: str = "sd1"
    words: Words | None = None  # those it knows, where it knows few (checkpoints/attached.py)
    defaults: Defaults = field(default_factory=dict)  # settings it was made for (checkpoints/attached.py)
    inverted: Tensor | None = None  # (m, c, h, w), scaled: the video it was tuned on, inverted (pipelines/tune.py)
    _hash: str | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        dtype: torch.dtype | str = torch.float32,
        device: torch.device | str = "cpu",
        tokenizer: str | Path | None = None,
        vae: str | Path | None = None,
        loras: Sequence[tuple[str | Path, float] | str | Path] = (),
        edit: bool = False,
    ) -> "StableDiffusion":
        """Load a checkpoint: a single .safetensors file, or a folder in diffusers' layout; None: the embedded model.

        dtype: float32, float16, bfloat16 or float64. With float16 the VAE is kept in float32, where its activations
        overflow. tokenizer: a folder with vocab.json and merges.txt, if the checkpoint carries none. vae: another VAE's
        folder or file, in place of the checkpoint's. loras: files of LoRAs, or (file, weight), to merge into the UNet
        and the text tower, in this order; the files stay as they are. edit: an InstructPix2Pix model, whose UNet reads
        8 channels, for `edit_video`; None is then the embedded one. Where such a UNet lies in PATH-edit/unet (as
        `training export` writes it), it is taken from there and the rest from PATH.
        Raises InputError, one line, for anything that is not Stable Diffusion 1.x in safetensors, and for a tokenizer
        that is not exactly its text tower's.
        """
        dtype, device = as_dtype(dtype), as_device(device)
        checkpoint = assemble(path, vae, loras, edit)
        path, unet_path = checkpoint.path, checkpoint.unet_path
        words = open_tokenizer(path, checkpoint.text.config, tokenizer)
        unet = to_channels_last(build(checkpoint.unet, dtype, device))
        autoencoder = to_channels_last(build(checkpoint.vae, vae_dtype_for(dtype), device))
        text_encoder = build(checkpoint.text, dtype, device)
        source = unet_path.parent if unet_path else path
        return cls(
            unet,
            autoencoder,
            text_encoder,
            words,
            checkpoint.schedule,
            path,
            unet_path,
            None if tokenizer is None else find_tokenizer(path, tokenizer),
            checkpoint.kind,
            read_words(source),
            read_defaults(source),
            read_inverted(path),
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None) -> "StableDiffusion":
        """Move the networks to a device, or into another float type; what is None stays. Changes and returns itself.

        As in `load`, the VAE of a float16 model is kept in float32.
        """
        device = self.device if device is None else as_device(device)
        dtype = self.dtype if dtype is None else as_dtype(dtype)
        self.text_encoder.to(device, dtype)
        to_channels_last(self.unet.to(device, dtype))
        to_channels_last(self.vae.to(device, vae_dtype_for(dtype)))
        return self

    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """Frames, uint8 (m, H, W, 3), to the latents that the UNet works on, (m, 4, H/8, W/8), on the model's device.

        The mean of the VAE's posterior times its scaling factor, frame by frame; H and W are multiples of 8. Raises
        InputError for anything else.
        """
        if not isinstance(frames, Tensor | np.ndarray):
            raise InputError(f"encode: got a {type(frames).__name__}; give frames as uint8 (m, H, W, 3)")
        frames, f = np.asarray(frames), self.vae.factor
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) == 0:
            raise InputError(f"encode: got {frames.dtype} {frames.shape}; give frames as uint8 (m, H, W, 3)")
        if frames.shape[1] % f or frames.shape[2] % f:
            raise InputError(f"encode: frames of {frames.shape[2]}×{frames.shape[1]}; both sides must divide by {f}")
        return (torch.cat([*encode_frames(self.vae, frames)]) * self.vae.config.scaling_factor).to(self.dtype)

    def decode(self, latents: Tensor) -> np.ndarray:
        """The UNet's latents, (m, 4, h, w), to frames, uint8 (m, 8h, 8w, 3), frame by frame: the way back.

        Raises InputError for other shapes.
        """
        channels = self.vae.config.latent_channels
        if not isinstance(latents, Tensor):
            raise InputError(f"decode: got a {type(latents).__name__}; give a tensor (m, {channels}, h, w)")
        if latents.ndim != 4 or latents.shape[1] != channels or len(latents) == 0:
            raise InputError(f"decode: got latents {tuple(latents.shape)}; give (m, {channels}, h, w)")
        return np.stack([*decode_frames(self.vae, latents)])

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text states of some prompts: (prompts, tokens, dim). Only a prompt's first 75 tokens are read."""
        return encode_text(self.text_encoder, self.tokenizer, prompts)

    def prompt_notes(self, prompt: str) -> list[str]:
        """What the user should know about a prompt: commands of other programs, the words past CLIP's 75 tokens, and
        those the model never saw."""
        notes = foreign_syntax(prompt)
        cut = self.tokenizer.encode(prompt).cut
        if cut:
            shown = cut if len(cut) <= 120 else f"{cut[:80]} … {cut[-30:]}"
            room = self.tokenizer.length - 2
            notes.append(f'the text tower reads {room} tokens of a prompt; cut off and ignored: "{shown}"')
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
        """SHA-256 of all files that it was read from, without another VAE and LoRAs; made when first asked for."""
        if self._hash is None:
            paths = filter(None, (self.path, self.unet_path))
            self._hash = checkpoint_hash(*paths, tokenizer=self.tokenizer_path)
        return self._hash


def vae_dtype_for(dtype: torch.dtype) -> torch.dtype:
    """The VAE's type in a model of this type: float16 overflows in its activations."""
    return torch.float32 if dtype == torch.float16 else dtype


def load_controlnet(
    path: str | Path | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: torch.device | str = "cpu",
    unet: UNet | None = None,
) -> ControlNet:
    """Load a ControlNet (E14): a folder in diffusers' layout or a .safetensors file of either naming; None: the
    embedded one, which reads edges.

    dtype, device: those of the StableDiffusion it will steer. unet: its UNet, needed only by files that hold the
    differences from one. In eval mode, without gradients. Raises InputError, one line, for anything else.
    """
    dtype, device = as_dtype(dtype), as_device(device)
    part = open_controlnet(embedded_controlnet() if path is None else path, unet)
    return to_channels_last(build(part, dtype, device))


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
            facts = f"its {name} {found}, the model's {wanted}"
            raise InputError(f"the ControlNet does not fit the model: {facts}; give one that was trained for it")
    weight = next(controlnet.parameters())
    if (weight.dtype, weight.device) != (sd.dtype, sd.device):
        where = f"{weight.dtype} on {weight.device}, the model in {sd.dtype} on {sd.device}"
        raise InputError(f"the ControlNet is in {where}; load both alike")


def to_channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """Half precision: weights channels-last, where convolutions are faster. float32 and float64: as they are.

    There channels-last gains no time on CPUs and loses digits: torch's GroupNorm then takes the variance as
    E[x²] − E[x]², which is off by 1e-4 where the mean is ten standard deviations.
    """
    weight = next(network.parameters())
    half = weight.dtype in (torch.float16, torch.bfloat16) and weight.device.type in ("cpu", "cuda")
    return network.to(memory_format=torch.channels_last if half else torch.contiguous_format)


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A float type, also by its name. Raises InputError for others."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in DTYPES:
        names = ", ".join(str(known).removeprefix("torch.") for known in DTYPES)
        raise InputError(f"dtype {dtype!r}: networks compute in one of {names}; give torch.float16 or its name")
    return found


def as_device(device: torch.device | str | int) -> torch.device:
    """A device of this machine. Raises InputError for others."""
    try:
        found = torch.device(device)
        torch.empty(1, device=found).item()
        return found
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InputError(f"device {device!r}: not available on this machine; use cpu, cuda, cuda:1 … or mps") from error
