"""Contrastive training of a small CLIP (Radford et al. 2021, arXiv 2103.00020) on painted scenes.

Text and picture are embedded on one sphere so that a picture is nearest to its own caption. The text tower,
frozen, is then the text encoder of the embedded model; the image tower serves the CLIP score (E16). Both are
`transformers`' classes.

In a batch of random scenes colour and place nearly always tell whose caption is whose, and a CLIP learned from such
batches hardly knows its things: "red ball" and "red cat" then differ by a tenth of their states' length, too little
for the UNet to hear. So a batch is made of groups that agree in two of the facts (thing, colour, place), and only the
third tells the group's pictures apart; and words start far from each other (`WORD_STD`).
"""

from collections.abc import Callable
from dataclasses import asdict, fields

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from t2vz.text import TextConfig, TextEncoder, Tokenizer, encode_text
from t2vz.world import BACKGROUNDS, COLOURS, OBJECTS, Scene

from .fit import Settings
from .folder import CLIPSizes, Folder
from .pictures import Pictures
from .tokenizer import LENGTH

SETTINGS = Settings(minutes=8, batch=96, learning_rate=1e-3, warmup=60, ema=0.99)
WORD_STD = 0.2  # of the token embeddings at the start; transformers' 0.02 is soon outgrown by the few loudest words
GROUP = 16  # pictures of a batch that agree in two facts
DIFFER = (0.6, 0.2, 0.2)  # how often the third fact is the thing, the colour, the place


def train(folder: Folder) -> None:
    """Train both towers on pictures and captions, into clip/clip.safetensors."""
    pictures, tokenizer = folder.paint("training", folder.pictures), folder.tokenizer()
    clip = folder.begin("clip", lambda: new_clip(tokenizer, folder.clip, folder.seed), untrained(folder))
    device = folder.here.device
    facts = torch.tensor([facts_of(folder.scene(i)) for i in range(len(pictures))])
    ids, which = caption_ids(tokenizer, pictures.captions)
    # The text tower looks only backwards, so what stands after a caption's end changes nothing before it.
    ids = ids[:, : int((ids != tokenizer.end).sum(dim=1).max()) + 1]
    small = shrunken(pictures, clip.config.vision_config.image_size)

    def loss_of(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = alike(facts, batch, generator)
        same = which[chosen]
        return contrastive_losses(clip, ids[same].to(device), small.batch(chosen, device), same.to(device))

    folder.train("clip", clip, SETTINGS, loss_of)
    retrieval = measure_retrieval(clip, tokenizer, folder.paint("unseen", folder.unseen))
    folder.finish("clip", clip, sizes=asdict(sizes_of(clip)), retrieval=retrieval, of=folder.unseen)


def load_clip(folder: Folder) -> CLIPModel:
    """The finished CLIP of a training folder."""
    return folder.load("clip", untrained(folder))


def untrained(folder: Folder) -> Callable[[dict], CLIPModel]:
    """From a CLIP's facts a network of its sizes."""
    return lambda facts: new_clip(folder.tokenizer(), CLIPSizes(**facts["sizes"]))


@torch.no_grad()
def text_states(clip: CLIPModel, tokenizer: Tokenizer, prompts: list[str]) -> Tensor:
    """What the UNet reads of each prompt: the text tower's last states (prompts, 77, d), on the CPU."""
    tower = text_tower(clip).to(clip.logit_scale.device)
    parts = (prompts[i : i + 256] for i in range(0, len(prompts), 256))
    return torch.cat([encode_text(tower, tokenizer, part).cpu() for part in parts])


def text_tower(clip: CLIPModel) -> TextEncoder:
    """The CLIP's text tower as a network of its own."""
    sizes = clip.config.text_config
    text = TextEncoder(TextConfig(**{field.name: getattr(sizes, field.name) for field in fields(TextConfig)}))
    text.text_model.load_state_dict(clip.text_model.state_dict())
    return text.eval()


def facts_of(scene: Scene) -> tuple[int, int, int]:
    """A scene's thing, colour and place, as numbers."""
    return OBJECTS.index(scene.kind), tuple(COLOURS).index(scene.colour), BACKGROUNDS.index(scene.background)


def new_clip(tokenizer: Tokenizer, sizes: CLIPSizes = CLIPSizes(), seed: int = 0) -> CLIPModel:
    """An untrained CLIPModel whose vocabulary is the tokenizer's."""
    tower = dict(hidden_size=sizes.width, intermediate_size=4 * sizes.width, projection_dim=sizes.width)
    tower |= dict(num_attention_heads=max(1, sizes.width // 64), hidden_act="quick_gelu")
    text = dict(num_hidden_layers=sizes.text_layers, vocab_size=tokenizer.end + 1, max_position_embeddings=LENGTH)
    text |= dict(bos_token_id=tokenizer.start, eos_token_id=tokenizer.end, pad_token_id=tokenizer.end)
    image = dict(num_hidden_layers=sizes.image_layers, image_size=sizes.image_size, patch_size=sizes.patch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = CLIPModel(CLIPConfig(text_config=tower | text, vision_config=tower | image, projection_dim=sizes.width))
        torch.nn.init.normal_(clip.text_model.embeddings.token_embedding.weight, std=WORD_STD)
    return clip


def sizes_of(clip: CLIPModel) -> CLIPSizes:
    """The sizes of a CLIP that `new_clip` made."""
    text, image = clip.config.text_config, clip.config.vision_config
    layers = text.num_hidden_layers, image.num_hidden_layers
    return CLIPSizes(text.hidden_size, *layers, image.image_size, image.patch_size)


def caption_ids(tokenizer: Tokenizer, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Distinct captions as tokens (distinct, 77), and for each caption which of them it is (captions,)."""
    distinct, which = distinct_texts(captions)
    return torch.stack([tokenizer.encode(caption).ids for caption in distinct]), which


def distinct_texts(texts: list[str]) -> tuple[list[str], Tensor]:
    """Each text once, and for each text which of those it is (texts,)."""
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return list(distinct), torch.tensor([distinct[text] for text in texts])


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
