"""The video that a model was tuned on, inverted (E17): latents in inverted.safetensors, in the checkpoint's folder.

pipelines/tune.py makes them, initial_noise "inverted" starts from them. Other programs pass over the file.
"""

from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from .read import read_header, read_tensors

INVERTED_FILE = "inverted.safetensors"
NAME = "inverted"


def read_inverted(path: str | Path) -> Tensor | None:
    """The latents (m, c, h, w) of a tuned checkpoint's folder, float32; None for any other checkpoint."""
    file = Path(path) / INVERTED_FILE
    if not file.is_file():
        return None
    entries = read_header(file)
    if list(entries) != [NAME] or len(entries[NAME].shape) != 4:
        raise InputError(f"{file}: should hold one tensor, {NAME} (m, c, h, w); tune again")
    (_, latents), *_ = read_tensors(entries, torch.float32)
    return latents
