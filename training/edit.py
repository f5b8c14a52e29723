"""Training of the embedded edit UNet (Brooks et al. 2022, InstructPix2Pix, arXiv 2211.09800) on the painter's edits.

The text-to-image UNet, its first convolution widened with zeros to read the latent of a source picture beside the
noisy one, learns from (picture before, instruction, picture after). For guidance by image and text (E15) the
instruction, the picture, or both are left out one time in twenty each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from t2vz.schedulers import NoiseSchedule, ddim_step
from t2vz.schedulers.guidance import image_text_guidance
from t2vz.text import TextEncoder, Tokenizer, encode_text
from t2vz.unet.unet import UNet
from t2vz.vae.vae import VAE

from .common import Settings, fit
from .log import write_sheet
from .unet import AttentionForTraining, UNetLoss, noise_loss

SETTINGS = Settings(minutes=20, batch=16, learning_rate=6e-4, warmup=100, weight_decay=1e-3, ema=0.998)
LEFT_OUT = 0.05  # how often the instruction alone, the picture alone, and both are left out


@dataclass(frozen=True)
class EditExamples:
    """What the edit UNet learns from: latents of the pictures before, as the VAE gives them, and after, scaled (count,
    4, h, w); text states of the distinct instructions, the empty one last (distinct, 77, d); which one each has."""

    before: Tensor
    after: Tensor
    states: Tensor
    which: Tensor

    def split(self, count: int) -> tuple[EditExamples, EditExamples]:
        """The first `count` examples, and the others."""
        parts = zip(*(tensor.tensor_split([count]) for tensor in (self.before, self.after, self.which)))
        return tuple(EditExamples(before, after, self.states, which) for before, after, which in parts)

    def batch(self, chosen: Tensor, generator: torch.Generator, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """x_0 (n, 4, h, w), source (n, 4, h, w) and context (n, 77, d), some of the latter two left out."""
        fate = torch.rand(len(chosen), generator=generator)
        no_text, no_image = fate < 2 * LEFT_OUT, (fate >= LEFT_OUT) & (fate < 3 * LEFT_OUT)
        context = self.states[self.which[chosen].masked_fill(no_text, len(self.states) - 1)]
        source = self.before[chosen].float() * ~no_image[:, None, None, None]
        return self.after[chosen].float().to(device), source.to(device), context.float().to(device)


def train_edit_unet(
    unet: UNet,
    examples: EditExamples,
    shown: EditExamples,
    vae: VAE,
    folder: str | Path,
    settings: Settings = SETTINGS,
    loss: UNetLoss = UNetLoss(),
) -> UNet:
    """Train an 8-channel UNet (`unet.widen_input`) on edits. shown: at least 8 others for the sheet: rows of pictures
    before, as edited, after. Raises as `common.fit`."""
    alpha_bar = NoiseSchedule.stable_diffusion().alpha_bar
    unet.requires_grad_(True)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of the noise in some pictures after their edit, the pictures before them beside it."""
        chosen = torch.randint(len(examples.after), (settings.batch,), generator=generator)
        x_0, source, context = examples.batch(chosen, generator, settings.device)

        def editing(x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
            return unet(torch.cat([x_t, source[:, None]], dim=2), t, context)

        return noise_loss(editing, x_0, context, alpha_bar, generator, loss)

    def show(path: Path) -> None:
        """A sheet of 16 edits: rows of pictures before, as edited, after."""
        scale = vae.config.scaling_factor
        rows = []
        for part in torch.arange(16).split(8):
            source, context = shown.before[part].float(), shown.states[shown.which[part]].float()
            made = sample_edits(unet, source, context, shown.states[-1].float(), seed=settings.seed)
            for latents in (source, made.cpu() / scale, shown.after[part].float() / scale):
                rows.append(vae.decode(latents.to(settings.device)))
        write_sheet(path, torch.cat(rows), 8)

    with AttentionForTraining(settings.device):
        return fit(unet, loss_of, folder, settings, show, "edit")


def edit_examples(
    before: Tensor, after: Tensor, instructions: list[str], text_encoder: TextEncoder, tokenizer: Tokenizer
) -> EditExamples:
    """Encode each distinct instruction once. before (count, 4, h, w): unscaled; after: scaled."""
    distinct = {instruction: i for i, instruction in enumerate(dict.fromkeys(instructions))}
    words = [*distinct, ""]
    parts = [encode_text(text_encoder, tokenizer, words[i : i + 256]).half().cpu() for i in range(0, len(words), 256)]
    return EditExamples(before, after, torch.cat(parts), torch.tensor([distinct[text] for text in instructions]))


@torch.no_grad()
def sample_edits(
    unet: UNet,
    source: Tensor,
    context: Tensor,
    empty: Tensor,
    steps: int = 25,
    image_scale: float = 1.2,
    text_scale: float = 5.0,
    seed: int = 0,
) -> Tensor:
    """Edited latents by DDIM (E3) with E15's guidance: source (n, 4, h, w) as the VAE gives it, context (n, 77, d),
    empty (77, d) -> scaled latents (n, 4, h, w)."""
    schedule = NoiseSchedule.stable_diffusion()
    device = next(unet.parameters()).device
    source, context = source.to(device), context.to(device)
    nothing = empty.to(device).expand_as(context)
    contexts = torch.cat([nothing, nothing, context])
    sources = torch.cat([torch.zeros_like(source), source, source])
    x = torch.randn(source.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    for t in schedule.timesteps(steps):
        with torch.autocast(device.type, torch.bfloat16):
            eps = unet(torch.cat([x.repeat(3, 1, 1, 1), sources], dim=1)[:, None], t, contexts)[:, 0].float()
        eps = image_text_guidance(*eps.chunk(3), image_scale, text_scale)
        x = ddim_step(x, eps, schedule.alpha_bar_at(t), schedule.alpha_bar_at(schedule.previous(t, steps)))
    return x
