"""StableDiffusion: one bundle of text tower, UNet, VAE and noise schedule, loaded from a path.

    sd = StableDiffusion.load()                                      # the embedded checkpoint
    sd = StableDiffusion.load("v1-5-pruned-emaonly.safetensors")     # or a folder: unet/ vae/ text_encoder/ tokenizer/
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel

from .checkpoints import CLIP_NAME, NO_CLIP, build, checkpoint_hash, find_tokenizer, open_checkpoint
from .errors import InputError
from .schedulers import NoiseSchedule
from .text import Tokenizer, encode_text
from .unet import UNet
from .vae import VAE


@dataclass
class StableDiffusion:
    """A frozen text-to-image model. unet, vae, text_encoder: nn.Modules in eval mode; schedule: its noise schedule."""

    unet: UNet
    vae: VAE
    text_encoder: CLIPTextModel
    tokenizer: Tokenizer
    schedule: NoiseSchedule
    path: Path | None = None  # the file or folder it came from
    kind: str = "sd1"
    _hash: str | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls, path: str | Path | None = None, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu",
        tokenizer: str | Path | None = None,
    ) -> "StableDiffusion":
        """Load a checkpoint: a single .safetensors file, or a folder in diffusers' layout; None: the embedded model.

        dtype: float32, float16, bfloat16 or float64. With float16 the VAE is kept in float32, where its activations
        overflow. tokenizer: a folder with vocab.json and merges.txt, if the checkpoint carries none.
        Raises InputError, one line, for anything that is not Stable Diffusion 1.x in safetensors.
        """
        path = embedded_weights() if path is None else Path(path)
        checkpoint = open_checkpoint(path)
        if checkpoint.kind != "sd1":
            raise InputError(f"{path}: a {checkpoint.kind} model cannot make a video from text alone; give a Stable "
                             "Diffusion 1.x checkpoint")
        vae_dtype = torch.float32 if dtype == torch.float16 else dtype
        unet = build(UNet, checkpoint.unet, dtype, device)
        vae = build(VAE, checkpoint.vae, vae_dtype, device)
        text_encoder = build(CLIPTextModel, checkpoint.text, dtype, device)
        for network in (unet, vae):
            lay_out(network.requires_grad_(False))
        words = _tokenizer(path, tokenizer, checkpoint.text.config.max_position_embeddings)
        if words.size > checkpoint.text.config.vocab_size:
            raise InputError(f"a tokenizer of {words.size} tokens does not fit {path}, whose text tower knows "
                             f"{checkpoint.text.config.vocab_size}; give the tokenizer that belongs to it")
        return cls(unet, vae, text_encoder.requires_grad_(False), words, checkpoint.schedule, path, checkpoint.kind)

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text states of some prompts: (prompts, tokens, dim). Only a prompt's first 75 tokens are read."""
        return encode_text(self.text_encoder, self.tokenizer, prompts)

    def prompt_notes(self, prompt: str) -> list[str]:
        """What the user should know about a prompt: the words past CLIP's 75 tokens that are not read."""
        cut = self.tokenizer.encode(prompt).cut
        if not cut:
            return []
        shown = cut if len(cut) <= 120 else f"{cut[:80]} … {cut[-30:]}"
        return [f'the text tower reads {self.tokenizer.length - 2} tokens of a prompt; cut off and ignored: "{shown}"']

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
            self._hash = checkpoint_hash(self.path)
        return self._hash


def _tokenizer(path: Path, folder: str | Path | None, length: int) -> Tokenizer:
    """The tokenizer given, else the one in or beside the checkpoint, else CLIP's through transformers."""
    found = find_tokenizer(path, folder)
    if found is not None:
        return Tokenizer(found, length)
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


def embedded_weights() -> Path:
    """The folder of the embedded checkpoint, in an installed package or in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "weights" / "embedded", package.parent / "weights" / "embedded"):
        if (folder / "unet").is_dir():
            return folder
    raise InputError(
        "the embedded checkpoint is not installed; give the path of one (--weights), or install t2vz again"
    )
