"""Contrastive training of a small CLIP (Radford et al. 2021, arXiv 2103.00020) on painted scenes.

Text and picture are embedded on one sphere so that a picture is nearest to its own caption. The text tower,
frozen, is then the text encoder of the embedded model; the image tower serves the CLIP score (E16). Both are
`transformers`' classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from t2vz.text import Tokenizer

from .common import Settings, fit
from .pictures import Pictures
from .tokenizer import LENGTH

SETTINGS = Settings(minutes=8, batch=96, learning_rate=1e-3, warmup=60, ema=0.99)


@dataclass(frozen=True)
class CLIPSizes:
    """Sizes of both towers. Heads are 64 channels wide, as in every CLIP."""

    width: int = 128
    text_layers: int = 2
    image_layers: int = 3
    image_size: int = 64
    patch: int = 8


def new_clip(tokenizer: Tokenizer, sizes: CLIPSizes = CLIPSizes(), seed: int = 0) -> CLIPModel:
    """An untrained CLIPModel whose vocabulary is the tokenizer's."""
    heads = max(1, sizes.width // 64)
    tower = {
        "hidden_size": sizes.width,
        "intermediate_size": 4 * sizes.width,
        "num_attention_heads": heads,
        "hidden_act": "quick_gelu",
        "projection_dim": sizes.width,
    }
    text = {
        **tower,
        "num_hidden_layers": sizes.text_layers,
        "vocab_size": tokenizer.end + 1,
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.start,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.end,
    }
    image = {
        **tower,
        "num_hidden_layers": sizes.image_layers,
        "image_size": sizes.image_size,
        "patch_size": sizes.patch,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=sizes.width))


def caption_ids(tokenizer: Tokenizer, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Distinct captions as tokens (distinct, 77), and for each caption which of them it is (captions,)."""
    distinct = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    ids = torch.stack([tokenizer.encode(caption).ids for caption in distinct])
    return ids, torch.tensor([distinct[caption] for caption in captions])


def shrink(images: Tensor, size: int) -> Tensor:
    """Pictures (n, 3, H, W) at the image tower's size, by averaging areas."""
    return F.interpolate(images, (size, size), mode="area")


def contrastive_losses(clip: CLIPModel, ids: Tensor, images: Tensor, which: Tensor) -> dict[str, Tensor]:
    """Cross entropy both ways over the batch's similarities. ids (n, tokens), images (n, 3, s, s), which
    (n,).

    Two pictures of a batch may have the same caption (`which` says so); the target is then spread over both.
    """
    out = clip(input_ids=ids, pixel_values=images)
    scale = clip.logit_scale.exp().clamp(max=100.0)
    logits = scale * out.text_embeds.float() @ out.image_embeds.float().T
    same = (which[:, None] == which[None, :]).float()
    targets = same / same.sum(dim=1, keepdim=True)
    loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    found = same.gather(1, logits.argmax(dim=1, keepdim=True)).mean()
    return {"loss": loss, "found": found.detach()}


def train_clip(
    clip: CLIPModel,
    pictures: Pictures,
    tokenizer: Tokenizer,
    folder: str | Path,
    settings: Settings = SETTINGS,
) -> CLIPModel:
    """Train both towers in place on pictures and captions. Raises as `common.fit`."""
    ids, which = caption_ids(tokenizer, pictures.captions)
    # The text tower looks only backwards, so what stands after a caption's end changes nothing before it.
    ids = ids[:, : int((ids != tokenizer.end).sum(dim=1).max()) + 1]

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(pictures), (settings.batch,), generator=generator)
        images = shrink(pictures.batch(chosen, settings.device), clip.config.vision_config.image_size)
        return contrastive_losses(
            clip, ids[which[chosen]].to(settings.device), images, which[chosen].to(settings.device)
        )

    return fit(clip, loss_of, folder, settings, name="clip")


@torch.no_grad()
def measure_retrieval(clip: CLIPModel, tokenizer: Tokenizer, pictures: Pictures) -> float:
    """How often the nearest of all the pictures' captions is the picture's own, in [0, 1]."""
    device = clip.logit_scale.device
    ids, which = caption_ids(tokenizer, pictures.captions)
    size = clip.config.vision_config.image_size
    images = shrink(pictures.batch(torch.arange(len(pictures)), device), size)
    out = clip(input_ids=ids.to(device), pixel_values=images)
    nearest = (out.image_embeds @ out.text_embeds.T).argmax(dim=1).cpu()
    return (nearest == which).double().mean().item()
