"""Files ↔ networks: safetensors reading, the two checkpoint layouts and their names, loading and saving."""

from .fill import build, fill
from .identify import Kind, identify, refuse
from .load import Checkpoint, Part, open_checkpoint
from .read import Entry, checkpoint_hash, find_weights, read_header, read_tensors
from .save import save_folder, save_single_file
from .tokenizer import CLIP_NAME, NO_CLIP, find_tokenizer

__all__ = [
    "CLIP_NAME", "NO_CLIP", "Checkpoint", "Entry", "Kind", "Part", "build", "checkpoint_hash", "fill",
    "find_tokenizer", "find_weights", "identify", "open_checkpoint", "read_header", "read_tensors", "refuse",
    "save_folder", "save_single_file",
]
