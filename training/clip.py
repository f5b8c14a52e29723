"""Contrastive training of a small CLIP (Radford et al. 2021, arXiv 2103.00020) on painted scenes.

Text and picture are embedded on one sphere so that a picture is nearest to its own caption. The text tower,
frozen, is then the text encoder of the embedded model; the image tower serves the CLIP score (E16). Both are
`transformers`' classes.

In a batch of random scenes colour and place nearly always tell whose caption is whose, and a CLIP learned from such
batches hardly knows its things: "red ball" and "red cat" then differ by a tenth of their states' length, too little
for the UNet to hear. So a batch is made of groups that agree in two of the facts (thing, colour, place), and only the
third tells the group's pictures apart; and words start far from each other (`WORD_STD`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from t2vz.text import TextConfig, TextEncoder, Tokenizer

from .common import Settings, fit
from .pictures import Pictures
from .tokenizer import LENGTH

SETTINGS = Settings(minutes=8, batch=96, learning_rate=1e-3, warmup=60, ema=0.99)
WORD_STD = 0.2  # of the token embeddings at the start; transformers' 0.02 is soon outgrown by the few loudest words
GROUP = 16  # pictures of a batch that agree in two facts
DIFFER = (0.6, 0.2, 0.2)  # how often the third fact is the thing, the colour, the place


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
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=sizes.width))
        torch.nn.init.normal_(clip.text_model.embeddings.token_embedding.weight, std=WORD_STD)
    return clip


def text_tower(clip: CLIPModel) -> TextEncoder:
    """The CLIP's text tower as a network of its own."""
    sizes = clip.config.text_config
    text = TextEncoder(TextConfig(**{field.name: getattr(sizes, field.name) for field in fields(TextConfig)}))
    text.text_model.load_state_dict(clip.text_model.state_dict())
    return text.eval()


def caption_ids(tokenizer: Tokenizer, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Distinct captions as tokens (distinct, 77), and for each caption which of them it is (captions,)."""
    distinct = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    ids = torch.stack([tokenizer.encode(caption).ids for caption in distinct])
    return ids, torch.tensor([distinct[caption] for caption in captions])


def shrink(images: Tensor, size: int) -> Tensor:
    """Pictures (n, 3, H, W) at the image tower's size, by averaging areas."""
    return F.interpolate(images, (size, size), mode="area")


def shrunken(pictures: Pictures, size: int) -> Pictures:
    """All pictures at the image tower's size."""
    parts = torch.arange(len(pictures)).split(256)
    small = [((shrink(pictures.batch(part), size) + 1) * 127.5).round().byte().permute(0, 2, 3, 1) for part in parts]
    return Pictures(torch.cat(small).numpy(), pictures.captions)


def alike(facts: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """A batch of `count` pictures in groups of GROUP: those of a group agree in two of their three facts (n, 3)."""
    groups = []
    while GROUP * len(groups) < count:
        model = facts[torch.randint(len(facts), (), generator=generator)]
        differs = int(torch.multinomial(torch.tensor(DIFFER), 1, generator=generator))
        agree = facts == model
        agree[:, differs] = True
        members = agree.all(dim=1).nonzero().flatten()
        groups.append(members[torch.randint(len(members), (GROUP,), generator=generator)])
    return torch.cat(groups)[:count]


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
    facts: Tensor,
    tokenizer: Tokenizer,
    folder: str | Path,
    settings: Settings = SETTINGS,
) -> CLIPModel:
    """Train both towers in place on pictures and captions. facts (count, 3): each picture's thing, colour and place,
    as numbers. Raises as `common.fit`."""
    ids, which = caption_ids(tokenizer, pictures.captions)
    # The text tower looks only backwards, so what stands after a caption's end changes nothing before it.
    ids = ids[:, : int((ids != tokenizer.end).sum(dim=1).max()) + 1]
    small = shrunken(pictures, clip.config.vision_config.image_size)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = alike(facts, settings.batch, generator)
        images = small.batch(chosen, settings.device)
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
