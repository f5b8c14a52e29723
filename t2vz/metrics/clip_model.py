"""CLIP as a measuring instrument: pictures and texts as unit vectors (Radford et al. 2021, arXiv 2103.00020).

Any CLIP checkpoint in safetensors that `transformers` reads, the embedded model's by default. Here are the networks;
what is computed from their vectors (E16, frame consistency) is in similarity.py and needs none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, CLIPModel

from ..checkpoints import embedded_weights
from ..checkpoints.tokenizer import check_tokenizer_fits, fetch_tokenizer, holds_tokenizer
from ..conditions.hub import quiet
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
    local = Path(source).is_dir()
    try:
        with quiet():
            kind = AutoConfig.from_pretrained(source).model_type
            if kind != "clip":
                raise InputError(
                    f"{source} is a {kind} model; give a CLIP: a folder, or a hub id such as "
                    "openai/clip-vit-large-patch14"
                )
            model, found = CLIPModel.from_pretrained(source, use_safetensors=True, output_loading_info=True)
            processor = AutoImageProcessor.from_pretrained(source)
        sizes = model.config.text_config
        folder = _tokenizer_folder(Path(source)) if local else fetch_tokenizer(source)
        words = Tokenizer(folder, sizes.max_position_embeddings)
        check_tokenizer_fits(words.size, sizes, folder, source)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        what = "is not a complete CLIP" if local else "is no folder here, and could not be fetched as a hub id"
        raise InputError(
            f"{source} {what}; a CLIP folder holds config.json, preprocessor_config.json and model.safetensors"
        ) from error
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise InputError(
            f"{source}: the weights lack {sorted(found['missing_keys'])[0]} and perhaps more; give a "
            "complete CLIP, both towers"
        )
    return CLIP(model.float().to(device).eval().requires_grad_(False), processor, words, source)


@torch.no_grad()
def embed_images(clip: CLIP, frames: np.ndarray, batch: int = 16) -> Tensor:
    """Frames uint8 (m, H, W, 3) -> unit vectors (m, d), float32 on the CPU. batch: frames at a time, for the memory."""
    frames, parts = check_frames(frames), []
    for start in range(0, len(frames), batch):
        pixels = clip.processor(images=list(frames[start : start + batch]), return_tensors="pt").pixel_values
        seen = clip.model.vision_model(pixel_values=pixels.to(clip.model.device)).pooler_output
        parts.append(clip.model.visual_projection(seen).float().cpu())
    return _unit(torch.cat(parts))


@torch.no_grad()
def embed_texts(clip: CLIP, texts: list[str]) -> Tensor:
    """Texts -> unit vectors (n, d), float32 on the CPU. Only a text's first 75 tokens are read."""
    ids = torch.stack([clip.tokenizer.encode(text).ids for text in texts])
    read = clip.model.text_model(input_ids=ids.to(clip.model.device)).pooler_output
    return _unit(clip.model.text_projection(read).float().cpu())


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _tokenizer_folder(folder: Path) -> Path:
    """Where a CLIP folder's tokenizer is; the embedded model keeps it beside it."""
    for place in (folder, folder / "tokenizer", folder.parent / "tokenizer"):
        if holds_tokenizer(place):
            return place
    raise InputError(
        f"{folder}: vocab.json and merges.txt are neither in it nor in a tokenizer/ beside it; put CLIP's "
        "tokenizer there"
    )
