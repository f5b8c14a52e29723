"""Training of the embedded ControlNet (Zhang et al. 2023, arXiv 2302.05543): edges of a picture, and the picture.

The UNet is frozen. The ControlNet starts as a copy of its half going down with zero convolutions, so it begins by
changing nothing, and learns to add residuals (E14) that lower the UNet's own loss when it is shown the picture's
edges. Half of the captions are empty, which makes it read the edges rather than lean on the words.

One thing differs from the paper's start: the stem that reads the edges does not end in a zero convolution too. Two
zeros in a row learn nothing from each other until the second has left zero for other reasons, which took the paper
thousands of steps; and torch's usual first weights let a sparse drawing fade layer by layer. `wake` lets it through
at full strength, and the zero convolutions at the end alone make the new ControlNet silent.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from t2vz.conditions.edges import edges
from t2vz.schedulers import NoiseSchedule
from t2vz.text import TextEncoder, Tokenizer
from t2vz.unet.controlnet import ConditionStem, ControlNet
from t2vz.unet.unet import UNet
from t2vz.vae.vae import VAE

from .common import Settings, fit
from .log import write_sheet
from .pictures import Pictures
from .unet import AttentionForTraining, Examples, UNetLoss, noise_loss, sample

STEM = (8, 16, 32, 64)  # channels of the condition's way from picture to latent size
SETTINGS = Settings(minutes=12, batch=16, learning_rate=1e-3, warmup=100, weight_decay=1e-3, ema=0.995)
LOSS = UNetLoss(no_prompt=0.5)


def new_controlnet(unet: UNet, seed: int = 0) -> ControlNet:
    """An untrained ControlNet for a UNet: it changes nothing yet."""
    controlnet = ControlNet.from_unet(unet, condition_out_channels=STEM)
    wake(controlnet.controlnet_cond_embedding, seed)
    return controlnet


def wake(stem: ConditionStem, seed: int) -> None:
    """New weights for the stem, normal with deviation 1.8/√(inputs of a sum): each output is then about as large as its
    input, for the SiLU behind it halves it (He et al. 2015, arXiv 1502.01852, have √2 for the ReLU)."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in stem.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=1.8 / math.sqrt(parameter[0].numel()), generator=generator)
        else:
            nn.init.zeros_(parameter)


def find_edges(pictures: Pictures) -> np.ndarray:
    """The edges of all pictures by Canny, as bits: uint8 (count, size, size/8)."""
    found = (edges(picture)[..., 0] > 0 for picture in tqdm(pictures.images, "edges"))
    return np.stack([np.packbits(picture, axis=-1) for picture in found])


def as_condition(bits: np.ndarray, indices: Tensor) -> Tensor:
    """The edge pictures of some indices (n,): float32 (n, 1, 3, H, W), 0 or 1, one frame each."""
    flat = torch.from_numpy(np.unpackbits(bits[indices.numpy()], axis=-1)).float()
    return flat[:, None, None].expand(-1, -1, 3, -1, -1)


def train_controlnet(
    controlnet: ControlNet,
    unet: UNet,
    examples: Examples,
    bits: np.ndarray,
    pictures: Pictures,
    vae: VAE,
    text_encoder: TextEncoder,
    tokenizer: Tokenizer,
    folder: str | Path,
    settings: Settings = SETTINGS,
    loss: UNetLoss = LOSS,
) -> ControlNet:
    """Train `controlnet` in place, for `unet`, on cached latents and the edges of the same pictures (`find_edges`).

    pictures, vae, text_encoder, tokenizer: for the sheet (edges above what was made of them). Raises as `common.fit`.
    """
    alpha_bar = NoiseSchedule.stable_diffusion().alpha_bar
    unet.requires_grad_(False)
    controlnet.requires_grad_(True)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The UNet's loss on some pictures, steered by their edges."""
        chosen = torch.randint(len(examples.latents), (settings.batch,), generator=generator)
        x_0, context = examples.batch(chosen, loss.no_prompt, generator, settings.device)
        condition = as_condition(bits, chosen).to(settings.device)

        def controlled(x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
            return unet(x_t, t, context, residuals=controlnet(x_t, t, context, condition))

        return noise_loss(controlled, x_0, context, alpha_bar, generator, loss)

    def show(path: Path) -> None:
        shown = torch.arange(16)
        condition = as_condition(bits, shown).to(settings.device)
        made = sample_controlled(unet, controlnet, condition, text_encoder, tokenizer, pictures.captions[:16], settings)
        images = vae.decode(made.float() / vae.config.scaling_factor)
        rows = [part for pair in zip((condition[:, 0] * 2 - 1).split(8), images.split(8)) for part in pair]
        write_sheet(path, torch.cat(rows), 8)

    with AttentionForTraining(settings.device):
        return fit(controlnet, loss_of, folder, settings, show, "controlnet")


@torch.no_grad()
def sample_controlled(
    unet: UNet,
    controlnet: ControlNet,
    condition: Tensor,
    text_encoder: TextEncoder,
    tokenizer: Tokenizer,
    prompts: list[str],
    settings: Settings,
) -> Tensor:
    """One picture's latents for each condition (n, 1, 3, H, W) and prompt, by `unet.sample`: (n, 4, h, w), scaled."""
    both = torch.cat([condition, condition])

    def controlled(x: Tensor, t: int, context: Tensor) -> Tensor:
        return unet(x, t, context, residuals=controlnet(x, t, context, both))

    side = condition.shape[-1] // controlnet.factor
    device = next(unet.parameters()).device
    return sample(controlled, text_encoder, tokenizer, prompts, side, seed=settings.seed, device=device)
