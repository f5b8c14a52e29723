"""Training of the embedded edit UNet (Brooks et al. 2022, InstructPix2Pix, arXiv 2211.09800) on the painter's edits.

The text-to-image UNet, its first convolution widened with zeros to read the latent of a source picture beside the
noisy one, learns from (picture before, instruction, picture after). For guidance by image and text (E15) the
instruction, the picture, or both are left out one time in twenty each.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from t2vz.schedulers import image_text_guidance
from t2vz.unet.unet import UNet
from t2vz.unet.widen import widen_input
from t2vz.world import Edit, paint_after, sample_edit

from .clip import load_clip
from .fit import Settings
from .folder import Folder
from .log import write_sheet
from .pictures import Pictures
from .unet import cell_weights, encode_texts, noise_loss, sample
from .vae import cached_latents, encode_all, load_vae

SETTINGS = Settings(minutes=20, batch=16, learning_rate=6e-4, warmup=100, weight_decay=1e-3, ema=0.998)
LEFT_OUT = 0.05  # how often the instruction alone, the picture alone, and both are left out
SHOWN = 16  # edits for the sheet, not learned from
CHANGED = (
    0.25  # a latent cell that an edit changes: its mean distance, where 1 is what latents differ by from each other
)


def train(folder: Folder) -> None:
    """Train the edit UNet, from the UNet, into edit/edit.safetensors; needs finished CLIP, VAE and UNet."""
    vae, device = load_vae(folder), folder.here.device
    unet = folder.begin("edit", lambda: widen_input(folder.load("unet"), 8))
    edits = edits_of(folder)
    texts = encode_texts([edit.instruction for edit in edits], load_clip(folder), folder.tokenizer())
    after = folder.kept("edit/after", len(edits), lambda: encode_all(vae, paint_edits(edits, folder.size)))
    scale = vae.config.scaling_factor
    before = cached_latents(folder, vae)[0][: len(after)].float() / scale  # as the VAE gives them (E15)
    learned = len(after) - SHOWN

    def loss_of(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of the noise in some pictures after their edit, the pictures before them beside it."""
        chosen = torch.randint(learned, (batch,), generator=generator)
        no_text, no_image = left_out(batch, generator)
        context, x_0 = texts.context(chosen, no_text).to(device), after[chosen].float().to(device)
        source = (before[chosen] * ~no_image[:, None, None, None]).to(device)

        def editing(x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
            return unet(torch.cat([x_t, source[:, None]], dim=2), t, context)

        return noise_loss(editing, x_0, context, generator, cells=changed_cells(x_0, scale * before[chosen]).to(device))

    def show(path: Path) -> None:
        """Two times 8 edits: rows of pictures before, as edited, after."""
        rows = []
        for part in torch.arange(learned, len(after)).split(8):
            source, context = before[part].to(device), texts.context(part, torch.zeros(len(part), dtype=bool))
            eps = guided_edit(unet, source, context.to(device), texts.empty.to(device))
            made = sample(eps, source.shape, device, folder.seed)
            rows += [vae.decode(latents.float().to(device)) for latents in (source, made / scale, after[part] / scale)]
        write_sheet(path, torch.cat(rows))

    folder.train("edit", unet, SETTINGS, loss_of, show)
    folder.finish("edit", unet, config=asdict(unet.config), edits=learned)


def changed_cells(after: Tensor, before: Tensor) -> Tensor:
    """What each cell counts (n, 1, h, w), 1 on average: what an edit changes counts three times as much as what it
    leaves, for that is copied from the source. Scaled latents (n, 4, h, w)."""
    changed = (after - before).abs().mean(dim=1, keepdim=True) > CHANGED
    return cell_weights(255 * changed, 3.0)


def left_out(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which of n examples lose their text, and which their picture: the text alone, both, the picture alone one time in
    twenty each. Two masks (n,)."""
    fate = torch.rand(n, generator=generator)
    return fate < 2 * LEFT_OUT, (fate >= LEFT_OUT) & (fate < 3 * LEFT_OUT)


def guided_edit(
    unet: UNet, source: Tensor, context: Tensor, empty: Tensor, image_scale: float = 1.2, text_scale: float = 5.0
) -> Callable[[Tensor, int], Tensor]:
    """ε(x, t) with guidance by image and text (E15). source (n, 4, h, w) as the VAE gives it, context (n, 77, d), empty
    (77, d)."""
    nothing = empty.expand_as(context)
    contexts = torch.cat([nothing, nothing, context])
    sources = torch.cat([torch.zeros_like(source), source, source])

    def eps(x: Tensor, t: int) -> Tensor:
        beside = torch.cat([x.repeat(3, 1, 1, 1), sources], dim=1)
        return image_text_guidance(*unet(beside[:, None], t, contexts)[:, 0].float().chunk(3), image_scale, text_scale)

    return eps


def edits_of(folder: Folder) -> list[Edit]:
    """One edit of each of the first training pictures, `folder.edits` to learn from and SHOWN more."""
    count = min(folder.edits + SHOWN, folder.latents, folder.pictures)
    scenes = (folder.scene(i) for i in range(count))
    return [sample_edit(np.random.default_rng([folder.seed, 1_000, i]), scene) for i, scene in enumerate(scenes)]


def paint_edits(edits: list[Edit], size: int) -> Pictures:
    """The pictures after the edits."""
    painted = np.stack([paint_after(edit, size) for edit in tqdm(edits, "painting edits")])
    return Pictures(painted, [edit.instruction for edit in edits])
