"""Files ↔ networks: what a path holds, safetensors, the two layouts and their names, sizes, LoRAs, saving."""

from .build import build, stored_dtype
from .defaults import Defaults, read_defaults
from .inspection import inspect
from .inverted import read_inverted
from .kinds import Kind, identify, refuse
from .load import Checkpoint, checkpoint_hash, files_read, open_checkpoint, open_controlnet, open_vae
from .lora import merge_lora
from .model_files import assemble, checkpoint_defaults, edit_unet, embedded_controlnet, embedded_edit, embedded_weights
from .networks import PARTS, Part
from .read import Entry, find_weights, read_header, read_tensors
from .save import save_controlnet, save_folder, save_single_file, save_tokenizer, save_unet
from .tokenizer import find_tokenizer, is_clips_tokenizer, open_tokenizer, same_tokenizer
from .words import Words, describe_words, read_words, unknown_words

__all__ = [
    "PARTS",
    "Checkpoint",
    "Defaults",
    "Entry",
    "Kind",
    "Part",
    "Words",
    "assemble",
    "build",
    "checkpoint_defaults",
    "checkpoint_hash",
    "describe_words",
    "edit_unet",
    "embedded_controlnet",
    "embedded_edit",
    "embedded_weights",
    "files_read",
    "find_tokenizer",
    "find_weights",
    "identify",
    "inspect",
    "is_clips_tokenizer",
    "merge_lora",
    "open_checkpoint",
    "open_controlnet",
    "open_tokenizer",
    "open_vae",
    "read_defaults",
    "read_header",
    "read_inverted",
    "read_tensors",
    "read_words",
    "refuse",
    "same_tokenizer",
    "save_controlnet",
    "save_folder",
    "save_single_file",
    "save_tokenizer",
    "save_unet",
    "stored_dtype",
    "unknown_words",
]
