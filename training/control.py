"""Training of the embedded ControlNet (Zhang et al. 2023, arXiv 2302.05543): edges of a picture, and the picture.

The UNet is frozen. The ControlNet starts as a copy of its half going down with zero convolutions, so it begins by
changing nothing, and learns to add residuals (E14) that lower the UNet's own loss when it is shown the picture's
edges. Half of the captions are empty, which makes it read the edges rather than lean on the words.

One thing differs from the paper's start: the stem that reads the edges does not end in a zero convolution too. Two
zeros in a row learn nothing from each other until the second has left zero for other reasons, which took the paper
thousands of steps; and torch's usual first weights let a sparse drawing fade layer by layer. `wake` lets it through
at full strength, and the zero convolutions at the end alone make the new ControlNet silent.
"""

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from t2vz.conditions.edges import edges
from t2vz.unet.controlnet import ConditionStem, ControlNet
from t2vz.unet.unet import UNet

from .clip import load_clip, text_states
from .fit import Settings
from .folder import Folder
from .log import write_sheet
from .pictures import Pictures
from .unet import cell_weights, encode_texts, guided, noise_loss, sample
from .vae import cached_latents, load_vae

STEM = (8, 16, 32, 64)  # channels of the condition's way from picture to latent size
SETTINGS = Settings(minutes=12, batch=16, learning_rate=1e-3, warmup=100, weight_decay=1e-3, ema=0.995)
NO_PROMPT = 0.5  # the share of captions replaced by ""


def train(folder: Folder) -> None:
    """Train a ControlNet for edges into controlnet/controlnet.safetensors; needs finished CLIP, VAE and UNet."""
    vae, clip, tokenizer, unet = load_vae(folder), load_clip(folder), folder.tokenizer(), folder.load("unet")
    latents, captions = cached_latents(folder, vae)
    texts, device = encode_texts(captions, clip, tokenizer), folder.here.device
    pictures = folder.paint("training", folder.pictures).first(len(latents))
    bits = folder.kept("controlnet/edges", len(pictures), lambda: find_edges(pictures))
    controlnet = folder.begin("controlnet", lambda: new_controlnet(unet, folder.seed))

    def controlled(condition: Tensor):
        """The UNet steered by a condition (n, 1, 3, H, W)."""
        return lambda x, t, context: unet(x, t, context, residuals=controlnet(x, t, context, condition))

    def loss_of(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The UNet's loss on some pictures, steered by their edges."""
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        context = texts.context(chosen, torch.rand(batch, generator=generator) < NO_PROMPT).to(device)
        condition, x_0 = as_condition(bits, chosen).to(device), latents[chosen].float().to(device)
        return noise_loss(controlled(condition), x_0, context, generator, cells=edge_cells(condition, x_0.shape[-1]))

    def show(path: Path) -> None:
        """Rows of edges above what was made of them."""
        condition = as_condition(bits, torch.arange(16)).to(device)
        context = text_states(clip, tokenizer, captions[:16]).to(device)
        eps = guided(controlled(torch.cat([condition, condition])), context, texts.empty)
        images = vae.decode(sample(eps, latents[:16].shape, device, folder.seed) / vae.config.scaling_factor)
        rows = [part for pair in zip((condition[:, 0] * 2 - 1).split(8), images.split(8)) for part in pair]
        write_sheet(path, torch.cat(rows))

    folder.train("controlnet", controlnet, SETTINGS, loss_of, show)
    folder.finish("controlnet", controlnet, config=asdict(controlnet.config))


def edge_cells(condition: Tensor, side: int) -> Tensor:
    """What each latent cell counts, (n, 1, side, side), 1 on average: a cell with an edge in it counts three times as
    much as one without. condition: (n, 1, 3, H, W)."""
    return cell_weights(255 * F.adaptive_max_pool2d(condition[:, 0, :1], side), 3.0)


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


def find_edges(pictures: Pictures) -> Tensor:
    """The edges of all pictures by Canny, as bits: uint8 (count, size, size/8)."""
    found = (edges(picture)[..., 0] > 0 for picture in tqdm(pictures.images, "edges"))
    return torch.from_numpy(np.stack([np.packbits(picture, axis=-1) for picture in found]))


def as_condition(bits: Tensor, indices: Tensor) -> Tensor:
    """The edge pictures of some indices (n,): float32 (n, 1, 3, H, W), 0 or 1, one frame each."""
    flat = torch.from_numpy(np.unpackbits(bits[indices].numpy(), axis=-1)).float()
    return flat[:, None, None].expand(-1, -1, 3, -1, -1)
