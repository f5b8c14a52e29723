"""Networks written as a checkpoint: the folder layout, which diffusers loads unchanged, or one single file.

Whole or not at all: everything is written under a temporary name in the same folder, and renamed at the end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_folder, atomic_path
from ..schedulers import NoiseSchedule
from . import config, ldm, sizes
from .defaults import DEFAULTS_FILE, DEFAULTS_HEADER, Defaults
from .tokenizer import NEW_FILE, TOKENIZER_FILES, find_tokenizer, same_tokenizer
from .unsaid import say_unsaid
from .words import WORDS_FILE, WORDS_HEADER, Words

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
) -> None:
    """Write a checkpoint folder: model_index.json, unet/ vae/ text_encoder/ tokenizer/ scheduler/.

    tokenizer: a folder with vocab.json and merges.txt, which are copied. dtype: of the stored weights. words: what the
    model knows, for words.json (words.py). defaults: what it was made for, for defaults.json (defaults.py).
    overwrite: replace a checkpoint that is there; anything else that is there is never replaced.
    Raises InputError if `path` exists; FailedError, leaving nothing behind, if writing fails (disk full …).
    """
    path = Path(path)
    tokenizer = find_tokenizer(path, tokenizer)
    schedule = schedule or NoiseSchedule.stable_diffusion()
    _refuse_existing(path, overwrite)
    with atomic_folder(path, replace_if=_is_checkpoint) as folder:
        _write_json(folder / "model_index.json", MODEL_INDEX)
        _write_json(folder / "scheduler/scheduler_config.json", config.schedule_to_json(schedule))
        _write_json(folder / "unet/config.json", config.unet_to_json(unet.config))
        _write_json(folder / "vae/config.json", config.vae_to_json(vae.config))
        _write_json(folder / "text_encoder/config.json", config.text_to_json(text_encoder.config))
        _write_weights(folder / "unet/diffusion_pytorch_model.safetensors", unet.state_dict(), dtype)
        _write_weights(folder / "vae/diffusion_pytorch_model.safetensors", vae.state_dict(), dtype)
        _write_weights(folder / "text_encoder/model.safetensors", text_encoder.state_dict(), dtype)
        if words:
            _write_json(folder / WORDS_FILE, words)
        if defaults:
            _write_json(folder / DEFAULTS_FILE, defaults)
        _copy_tokenizer(tokenizer, folder / "tokenizer", text_encoder.config.max_position_embeddings)


def save_tokenizer(source: Path, target: Path, length: int, overwrite: bool = False) -> None:
    """Copy a tokenizer's folder; length: of the prompts it makes. The same tokenizer at `target` is left alone.

    Raises InputError if another one is there and overwrite is False, or if it is no tokenizer's folder.
    """
    if target.exists() and same_tokenizer(source, target):
        return
    _refuse_existing(target, overwrite)
    with atomic_folder(target, replace_if=lambda folder: same_tokenizer(folder, folder)) as folder:
        _copy_tokenizer(source, folder, length)


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
    differs from SD 1.x's is written into its header (unsaid.py), which only t2vz reads. words, defaults: as in
    `save_folder`.
    Raises InputError if `path` exists; FailedError if writing fails, and then leaves nothing behind.
    """
    path = Path(path)
    unet_names = ldm.inverse(dict(ldm.unet_modules(unet.config.has_attention, unet.config.layers_per_block)))
    vae_names = ldm.inverse(dict(ldm.vae_modules(len(vae.config.block_out_channels), vae.config.layers_per_block)))
    unet_state = {ldm.rename(key, unet_names): tensor for key, tensor in unet.state_dict().items()}
    vae_state = {}
    for key, tensor in vae.state_dict().items():
        is_linear = ".attentions." in key and tensor.ndim == 2
        vae_state[ldm.rename(key, vae_names)] = tensor[:, :, None, None] if is_linear else tensor
    text_state = text_encoder.state_dict()
    usual = NoiseSchedule.stable_diffusion()
    header = {
        **say_unsaid("unet", unet.config, sizes.unet_from_shapes(_shapes(unet_state), str(path))),
        **say_unsaid("vae", vae.config, sizes.vae_from_shapes(_shapes(vae_state), str(path))),
        **say_unsaid("text", text_encoder.config, sizes.text_from_shapes(_shapes(text_state), str(path))),
        **say_unsaid("scheduler", schedule or usual, usual),
        **({WORDS_HEADER: json.dumps(words, ensure_ascii=False)} if words else {}),
        **({DEFAULTS_HEADER: json.dumps(defaults, ensure_ascii=False)} if defaults else {}),
    }
    prefixed = {ldm.UNET: unet_state, ldm.VAE: vae_state, ldm.TEXT: text_state}
    tensors = {prefix + key: tensor for prefix, state in prefixed.items() for key, tensor in state.items()}
    _refuse_existing(path, overwrite)
    with atomic_path(path) as file:
        _write_weights(file, tensors, dtype, header)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def save_controlnet(
    path: str | Path, controlnet: nn.Module, dtype: torch.dtype = torch.float16, overwrite: bool = False
) -> None:
    """Write a ControlNet's folder, config.json and weights, as diffusers' ControlNetModel reads it.

    overwrite: replace a ControlNet's folder that is there. Raises as `save_folder`.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    with atomic_folder(path, replace_if=_is_controlnet) as folder:
        _write_json(folder / "config.json", config.controlnet_to_json(controlnet.config))
        _write_weights(folder / "diffusion_pytorch_model.safetensors", controlnet.state_dict(), dtype)


def save_unet(path: str | Path, unet: nn.Module, dtype: torch.dtype = torch.float16, overwrite: bool = False) -> None:
    """Write a UNet alone, config.json and weights, as the unet/ of a checkpoint folder. Raises as `save_folder`."""
    path = Path(path)
    _refuse_existing(path, overwrite)
    with atomic_folder(path, replace_if=_is_unet) as folder:
        _write_json(folder / "config.json", config.unet_to_json(unet.config))
        _write_weights(folder / "diffusion_pytorch_model.safetensors", unet.state_dict(), dtype)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name, or overwrite=True")


def _is_checkpoint(folder: Path) -> bool:
    """Only a checkpoint folder is ever replaced by another."""
    return (folder / "model_index.json").is_file()


def _is_unet(folder: Path) -> bool:
    """Only a UNet's folder is ever replaced by another."""
    return _class_name(folder) == "UNet2DConditionModel"


def _is_controlnet(folder: Path) -> bool:
    """Only a ControlNet's folder is ever replaced by another."""
    return _class_name(folder) == "ControlNetModel"


def _class_name(folder: Path) -> str | None:
    """Which network a folder's config.json says it holds."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("_class_name") if isinstance(content, dict) else None


def _write_weights(
    path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, header: Mapping[str, str] | None = None
) -> None:
    path.parent.mkdir(exist_ok=True)
    stored = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    save_file(stored, path, metadata={"format": "pt", **(header or {})})  # "format" is what transformers asks for


def _write_json(path: Path, content: Mapping) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _copy_tokenizer(source: Path, target: Path, length: int) -> None:
    target.mkdir(exist_ok=True)
    optional = (NEW_FILE, "tokenizer_config.json", "special_tokens_map.json")
    for name in (*TOKENIZER_FILES, *optional):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not (target / "tokenizer_config.json").exists():
        _write_json(target / "tokenizer_config.json", TOKENIZER_CONFIG | {"model_max_length": length})
