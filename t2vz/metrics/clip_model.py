"""CLIP as a measuring instrument: pictures and texts as unit vectors (Radford et al. 2021, arXiv 2103.00020).

Any CLIP checkpoint in safetensors that `transformers` reads, the embedded model's by default. Here are the networks;
what is computed from their vectors (E16, frame consistency) is in similarity.py and needs none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel

from ..checkpoints import embedded_weights
from ..checkpoints.tokenizer import check_tokenizer_fits, fetch_tokenizer, holds_tokenizer
from ..conditions.hub import load_from_hub
from ..errors import InputError
from ..text import Tokenizer
from ..video.frames import check_frames


@dataclass
class CLIP:
    """Both towers, with what belongs before them. name: the folder or hub id they came from."""

    model: CLIPModel
    processor: object  # transformers' image processor: size, crop, mean and spread of the pixels
    tokenizer: Tokenizer
    name: str


def load_clip(path: str | Path | None = None, device: str | torch.device = "cpu") -> CLIP:
    """A CLIP in float32: a local folder, a name on the Hugging Face hub, or None for the embedded model's.

    The tokenizer (vocab.json, merges.txt) is taken from the folder, or from tokenizer/ in it or beside it. Raises
    InputError for what is not a complete CLIP in safetensors.
    """
    source = str(embedded_weights() / "clip" if path is None else path)
    model, processor = load_from_hub(CLIPModel, source, "CLIP", device)
    folder = _tokenizer_folder(Path(source)) if Path(source).is_dir() else fetch_tokenizer(source)
    sizes = model.config.text_config
    words = Tokenizer(folder, sizes.max_position_embeddings)
    check_tokenizer_fits(words.size, sizes, folder, source)
    return CLIP(model, processor, words, source)


@torch.no_grad()
def embed_images(clip: CLIP, frames: np.ndarray, batch: int = 16) -> Tensor:
    """Frames uint8 (m, H, W, 3) -> unit vectors (m, d), float32 on the CPU. batch: frames at a time, for the memory."""
    frames, parts = check_frames(frames), []
    for start in range(0, len(frames), batch):
        pixels = clip.processor(images=list(frames[start : start + batch]), return_tensors="pt").pixel_values
        seen = clip.model.vision_model(pixel_values=pixels.to(clip.model.device)).pooler_output
        parts.append(clip.model.visual_projection(seen).float().cpu())
    return F.normalize(torch.cat(parts), dim=-1)


@torch.no_grad()
def embed_texts(clip: CLIP, texts: list[str]) -> Tensor:
    """Texts -> unit vectors (n, d), float32 on the CPU. Only a text's first 75 tokens are read."""
    ids = torch.stack([clip.tokenizer.encode(text).ids for text in texts])
    read = clip.model.text_model(input_ids=ids.to(clip.model.device)).pooler_output
    return F.normalize(clip.model.text_projection(read).float().cpu(), dim=-1)


def _tokenizer_folder(folder: Path) -> Path:
    """Where a CLIP folder's tokenizer is; the embedded model keeps it beside it."""
    for place in (folder, folder / "tokenizer", folder.parent / "tokenizer"):
        if holds_tokenizer(place):
            return place
    raise InputError(
        f"{folder}: vocab.json and merges.txt are neither in it nor in a tokenizer/ beside it; put CLIP's "
        "tokenizer there"
    )
