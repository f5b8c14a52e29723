"""Files ↔ networks: what a path holds, safetensors, the two layouts and their names, sizes, LoRAs, saving."""

from .attached import Defaults, Words, describe_words, read_defaults, read_inverted, read_words, unknown_words
from .inspection import inspect
from .kinds import identify, refuse
from .load import (
    assemble,
    checkpoint_defaults,
    checkpoint_hash,
    edit_unet,
    embedded_controlnet,
    embedded_edit,
    embedded_weights,
    open_checkpoint,
    open_controlnet,
    open_vae,
    stored_dtype,
)
from .networks import build
from .read import read_header
from .save import save_folder, save_part, save_single_file, save_tokenizer
from .tokenizer import find_tokenizer, is_clips_tokenizer, open_tokenizer, same_tokenizer
