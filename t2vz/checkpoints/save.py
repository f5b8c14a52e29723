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
from .tokenizer import TOKENIZER_FILES, find_tokenizer

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
    "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "add_prefix_space": False, "errors": "replace",
    "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
}


def save_folder(path: str | Path, unet: nn.Module, vae: nn.Module, text_encoder: nn.Module,
                tokenizer: str | Path, schedule: NoiseSchedule | None = None,
                dtype: torch.dtype = torch.float16, overwrite: bool = False) -> None:
    """Write a checkpoint folder: model_index.json, unet/ vae/ text_encoder/ tokenizer/ scheduler/.

    tokenizer: a folder with vocab.json and merges.txt, which are copied. dtype: of the stored weights.
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
        _write_weights(folder / "text_encoder/model.safetensors", _text_state(text_encoder), dtype)
        _copy_tokenizer(tokenizer, folder / "tokenizer", text_encoder.config.max_position_embeddings)


def save_single_file(path: str | Path, unet: nn.Module, vae: nn.Module, text_encoder: nn.Module,
                     dtype: torch.dtype = torch.float16, overwrite: bool = False) -> None:
    """Write one .safetensors file in the original naming; no tokenizer, head counts or norm groups in it.

    Raises InputError if `path` exists, or if head counts or norm groups are not SD 1.x's, which every reader
    of such files assumes; FailedError if writing fails, and then leaves nothing behind.
    """
    _check_single_file_rules(unet, vae, text_encoder)
    unet_names = ldm.inverse(dict(ldm.unet_modules(unet.config.attention, unet.config.resnets)))
    vae_names = ldm.inverse(dict(ldm.vae_modules(len(vae.config.widths), vae.config.resnets)))
    tensors = {ldm.UNET + ldm.rename(key, unet_names): tensor for key, tensor in unet.state_dict().items()}
    for key, tensor in vae.state_dict().items():
        is_linear = ".attentions." in key and tensor.ndim == 2
        tensors[ldm.VAE + ldm.rename(key, vae_names)] = tensor[:, :, None, None] if is_linear else tensor
    tensors |= {ldm.TEXT + key: tensor for key, tensor in _text_state(text_encoder).items()}
    _refuse_existing(Path(path), overwrite)
    with atomic_path(path) as file:
        _write_weights(file, tensors, dtype)


def _text_state(text_encoder: nn.Module) -> dict[str, Tensor]:
    """By published names; position_ids is no weight."""
    state = text_encoder.state_dict().items()
    return {ldm.text_name(key): tensor for key, tensor in state if not key.endswith("position_ids")}


def _check_single_file_rules(unet: nn.Module, vae: nn.Module, text_encoder: nn.Module) -> None:
    heads = (*unet.config.heads, sizes.UNET_HEADS)
    groups = (unet.config.norm_groups, vae.config.norm_groups, sizes.NORM_GROUPS)
    text = text_encoder.config
    rule = max(1, text.hidden_size // sizes.TEXT_HEAD_WIDTH)
    scaling = vae.config.scaling_factor
    for what, seen, wanted in (("UNet heads", set(heads), {sizes.UNET_HEADS}),
                               ("norm groups", set(groups), {sizes.NORM_GROUPS}),
                               ("text heads", text.num_attention_heads, rule),
                               ("the VAE's scaling factor", scaling, type(vae.config)().scaling_factor)):
        if seen != wanted:
            raise InputError(f"a single file cannot say {what} {seen}: readers take {wanted}; save a folder")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name, or overwrite=True")


def _is_checkpoint(folder: Path) -> bool:
    """Only a checkpoint folder is ever replaced by another."""
    return (folder / "model_index.json").is_file()


def _write_weights(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    path.parent.mkdir(exist_ok=True)
    stored = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    save_file(stored, path, metadata={"format": "pt"})  # the metadata is what transformers asks for


def _write_json(path: Path, content: Mapping) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _copy_tokenizer(source: Path, target: Path, length: int) -> None:
    target.mkdir()
    optional = ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")
    for name in (*TOKENIZER_FILES, *optional):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not (target / "tokenizer_config.json").exists():
        _write_json(target / "tokenizer_config.json", TOKENIZER_CONFIG | {"model_max_length": length})

