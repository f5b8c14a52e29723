"""Networks written as a checkpoint: the folder layout, which diffusers loads unchanged, or one single file.

Whole or not at all: everything is written under a temporary name in the same folder, and renamed at the end.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_folder, atomic_path, write_json
from ..schedulers import NoiseSchedule
from ..text.vocabulary import read_vocabulary
from . import layouts
from .attached import DEFAULTS_FILE, INVERTED, INVERTED_FILE, WORDS_FILE, Defaults, Words
from .config import describes, header_words, sizes_from_shapes, to_json
from .networks import row_of
from .read import HEADER, read_json
from .tokenizer import ADDED_FILE, NEW_FILE, TOKENIZER_FILES, check_tokenizer_fits, find_tokenizer, same_tokenizer

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
# transformers does not know from vocab.json and merges.txt how long a prompt may be, nor what fills it up.
TOKENIZER_CONFIG = {
    "tokenizer_class": "CLIPTokenizer",
    "do_lower_case": True,
    "add_prefix_space": False,
    "errors": "replace",
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
}


def save_folder(
    path: str | Path,
    unet: nn.Module,
    vae: nn.Module,
    text_encoder: nn.Module,
    tokenizer: str | Path,
    schedule: NoiseSchedule | None = None,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
    words: Words | None = None,
    defaults: Defaults | None = None,
    inverted: Tensor | None = None,
) -> None:
    """Write a checkpoint folder: model_index.json, unet/ vae/ text_encoder/ tokenizer/ scheduler/.

    tokenizer: a folder with vocab.json and merges.txt, which are copied. dtype: of the stored weights. words: what the
    model knows; defaults: what it was made for; inverted: the video it was tuned on, kept in float32 (attached.py).
    overwrite: replace a checkpoint that is there; anything else that is there is never replaced.
    Raises InputError if `path` exists or the tokenizer is another model's; FailedError, leaving nothing behind, if
    writing fails (disk full …).
    """
    path = Path(path)
    tokenizer = find_tokenizer(path, tokenizer)
    check_tokenizer_fits(read_vocabulary(tokenizer).size, text_encoder.config, tokenizer, path)
    _refuse_existing(path, overwrite)
    with atomic_folder(path, replace_if=lambda folder: (folder / "model_index.json").is_file()) as folder:
        write_json(folder / "model_index.json", MODEL_INDEX)
        write_json(folder / "scheduler/scheduler_config.json", to_json(schedule or NoiseSchedule.stable_diffusion()))
        for network in (unet, vae, text_encoder):
            _write_network(folder / row_of(network).folder, network, dtype)
        for file, said in ((WORDS_FILE, words), (DEFAULTS_FILE, defaults)):
            if said:
                write_json(folder / file, said)
        if inverted is not None:
            _write_weights(folder / INVERTED_FILE, {INVERTED: inverted}, torch.float32)
        _copy_tokenizer(tokenizer, folder / "tokenizer", text_encoder.config.max_position_embeddings)


def save_part(
    path: str | Path, network: nn.Module, dtype: torch.dtype = torch.float16, overwrite: bool = False
) -> None:
    """Write a network's own folder, config.json and weights: a UNet's is the unet/ of a checkpoint, a ControlNet's is
    read by diffusers' ControlNetModel. overwrite: replace a folder of such a network that is there. Raises as
    `save_folder`."""

    def is_such(folder: Path) -> bool:
        try:
            return describes(read_json(folder / "config.json"), type(network.config))
        except InputError:
            return False

    _refuse_existing(Path(path), overwrite)
    with atomic_folder(path, replace_if=is_such) as folder:
        _write_network(folder, network, dtype)


def save_single_file(
    path: str | Path,
    unet: nn.Module,
    vae: nn.Module,
    text_encoder: nn.Module,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
    schedule: NoiseSchedule | None = None,
    words: Words | None = None,
    defaults: Defaults | None = None,
) -> None:
    """Write one .safetensors file in the original naming; no tokenizer is in it.

    What such a file's names and shapes cannot say (head counts, norm groups, the scaling factor, the schedule) and what
    differs from SD 1.x's is written into its header, which only t2vz reads. words, defaults: as in `save_folder`.
    Raises InputError if `path` exists; FailedError if writing fails, and then leaves nothing behind.
    """
    path, usual = Path(path), NoiseSchedule.stable_diffusion()
    if unet.config.temporal_attention:
        raise InputError(f"{path}: a tuned model is kept as a folder; no single file holds temporal attention")
    attached = {"words": words, "defaults": defaults}
    header = {HEADER + name: json.dumps(said, ensure_ascii=False) for name, said in attached.items() if said}
    header |= header_words("scheduler", schedule or usual, usual)
    tensors = {}
    for network in (unet, vae, text_encoder):
        row, state = row_of(network), network.state_dict()
        shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
        header |= header_words(row.name, network.config, sizes_from_shapes(row.config, shapes, str(path)))
        table = layouts.inverse(dict(row.modules(network.config))) if row.modules else None
        for key, tensor in state.items():
            if row.name == "vae" and ".attentions." in key and tensor.ndim == 2:
                tensor = tensor[:, :, None, None]
            tensors[row.prefix + (layouts.rename(key, table) if table else key)] = tensor
    _refuse_existing(path, overwrite)
    with atomic_path(path) as file:
        _write_weights(file, tensors, dtype, header)


def save_tokenizer(source: Path, target: Path, length: int, overwrite: bool = False) -> None:
    """Copy a tokenizer's folder; length: of the prompts it makes. The same tokenizer at `target` is left alone.

    Raises InputError if another one is there and overwrite is False, or if it is no tokenizer's folder.
    """
    if target.exists() and same_tokenizer(source, target):
        return
    _refuse_existing(target, overwrite)
    with atomic_folder(target, replace_if=lambda folder: same_tokenizer(folder, folder)) as folder:
        _copy_tokenizer(source, folder, length)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name, or overwrite=True")


def _write_network(folder: Path, network: nn.Module, dtype: torch.dtype) -> None:
    write_json(folder / "config.json", to_json(network.config))
    _write_weights(folder / f"{row_of(network).stem}.safetensors", network.state_dict(), dtype)


def _write_weights(
    path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, header: Mapping[str, str] | None = None
) -> None:
    stored = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    save_file(stored, path, metadata={"format": "pt", **(header or {})})  # "format" is what transformers asks for


def _copy_tokenizer(source: Path, target: Path, length: int) -> None:
    target.mkdir(exist_ok=True)
    for name in (*TOKENIZER_FILES, ADDED_FILE, NEW_FILE, "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not (target / "tokenizer_config.json").exists():
        write_json(target / "tokenizer_config.json", TOKENIZER_CONFIG | {"model_max_length": length})
