"""Files ↔ networks: what a path holds, safetensors, the two layouts and their names, sizes, LoRAs, saving."""

# ruff: noqa: F401  (what other rooms and scripts use of this one)
from .attached import Defaults, Words, describe_words, read_defaults, read_inverted, read_words, unknown_words
from .inspection import inspect
from .kinds import identify, refuse
from .load import checkpoint_hash, open_checkpoint, open_controlnet, open_vae, stored_dtype
from .model_files import assemble, checkpoint_defaults, edit_unet, embedded_controlnet, embedded_edit, embedded_weights
from .networks import build
from .read import read_header
from .save import save_folder, save_part, save_single_file, save_tokenizer
from .tokenizer import find_tokenizer, is_clips_tokenizer, open_tokenizer, same_tokenizer
