"""CLIP as a measuring instrument: pictures and texts as unit vectors (Radford et al. 2021, arXiv 2103.00020).

Any CLIP checkpoint in safetensors that `transformers` reads, the embedded model's by default. What is computed from the
vectors (E16, the CLIP score, and frame consistency) is plain arithmetic: they may come from anywhere, of any length.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Consistency(NamedTuple):
    """Mean cosines between frames: each with the next, each with the first."""

    next: float
    first: float


def clip_score(images: Tensor, text: Tensor) -> float:
    """E16: the mean over frames of 100·max(cos(image, text), 0). images (m, d), text (d,).

    Range 0 to 100, higher is better: the frames show what the text says. Comparable only under the same CLIP. Source:
    Hessel et al. 2021, arXiv 2104.08718 (there with weight 2.5 in place of 100); Text2Video-Zero, §4.2.
    """
    _check(images, 1)
    if text.shape != images.shape[1:]:
        raise InputError(f"a text vector {tuple(text.shape)} for image vectors {tuple(images.shape)}; give (d,)")
    return float(100 * F.cosine_similarity(images.double(), text.double(), dim=-1).clamp_min(0).mean())


def frame_consistency(images: Tensor) -> Consistency:
    """How alike the frames are to CLIP: images (m, d), m ≥ 2, in the order of the frames.

    next: mean cosine of consecutive frames. first: of frames 2 … m with frame 1, which a slow drift lowers too. Range
    −1 to 1, higher is more alike; still pictures reach 1, so it is no measure of quality by itself. CLIP sees what is
    shown more than where. Source: Esser et al. 2023, arXiv 2302.03011 (consecutive frames).
    """
    _check(images, 2)
    images = images.double()
    return Consistency(*(float(F.cosine_similarity(images[1:], to, dim=-1).mean()) for to in (images[:-1], images[:1])))


def _tokenizer_folder(folder: Path) -> Path:
    """Where a CLIP folder's tokenizer is; the embedded model keeps it beside it."""
    for place in (folder, folder / "tokenizer", folder.parent / "tokenizer"):
        if holds_tokenizer(place):
            return place
    raise InputError(f"{folder}: no vocab.json and merges.txt in it, nor in a tokenizer/ beside it; put CLIP's there")


def _check(images: Tensor, least: int) -> None:
    if images.ndim != 2 or len(images) < least:
        raise InputError(f"image vectors have shape {tuple(images.shape)}; (m, d) with m of at least {least} is needed")
