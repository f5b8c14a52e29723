"""Checkpoints of either layout as three parts: unet, vae, text.

`open_checkpoint` reads headers and config files only: it tells the model, finds the sizes, and gives every
tensor its folder-layout name. `fill.build` and `fill.fill` then make networks of the parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..schedulers import NoiseSchedule
from ..text.config import TextConfig
from ..unet.config import UNetConfig
from ..vae.config import VAEConfig
from . import config, ldm, sizes
from .identify import Kind, identify, refuse
from .read import Entry, find_weights, read_header, read_header_and_metadata, refuse_pickle_name, some
from .unsaid import hear_unsaid

PARTS = ("unet", "vae", "text")


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint: its sizes, and where each tensor lies, by its folder-layout name."""

    name: str  # "unet", "vae", "text" or "ControlNet"
    path: Path  # the file or folder, for messages
    config: UNetConfig | VAEConfig | TextConfig
    entries: dict[str, Entry]


@dataclass(frozen=True)
class Checkpoint:
    """What a path holds. A part that was not asked for and is not there is None.

    kind: "sd1" or "instruct-pix2pix". layout: "single-file" or "folder". schedule: what the UNet learned.
    """

    path: Path
    kind: str
    layout: str
    schedule: NoiseSchedule
    unet: Part | None
    vae: Part | None
    text: Part | None


def stored_dtype(checkpoint: Checkpoint) -> str:
    """torch's name of the float type that loses nothing of the checkpoint: the one it is stored in, or a wider one."""
    stored = {
        entry.dtype
        for part in (checkpoint.unet, checkpoint.vae, checkpoint.text)
        if part is not None
        for entry in part.entries.values()
    }
    if "F64" in stored:
        return "float64"
    return {("F16",): "float16", ("BF16",): "bfloat16"}.get(tuple(stored), "float32")


def open_checkpoint(path: str | Path, needs: tuple[str, ...] = PARTS) -> Checkpoint:
    """Open a single file or a folder; no tensor is read.

    needs: the parts without which it is of no use ("unet", "vae", "text").
    Raises InputError: no such file, a pickle, cut short, another model (it says which), a part missing.
    """
    path = Path(path)
    checkpoint = load_folder(path) if path.is_dir() else load_single_file(path)
    missing = [name for name in needs if getattr(checkpoint, name) is None]
    if missing:
        raise InputError(f"{path}: holds no {', no '.join(missing)}; give a checkpoint that has them")
    return checkpoint


def load_folder(path: Path) -> Checkpoint:
    """A folder with unet/ vae/ text_encoder/ scheduler/, each with a config. Raises as `open_checkpoint`."""
    if not (path / "unet").is_dir():
        raise InputError(f"{path}: holds no unet/ folder; {_folder_advice(path)}")
    unet_entries, kind = _folder_unet(path / "unet")
    vae = text = None
    if (path / "vae").is_dir():
        vae = _folder_vae(path / "vae")
    if (path / "text_encoder").is_dir():
        entries = text_entries(folder_entries(path / "text_encoder", "model"))
        sizes_found = config.text_from_json(*read_json(path / "text_encoder/config.json"))
        text = Part("text", path / "text_encoder", sizes_found, entries)
    schedule = NoiseSchedule.stable_diffusion()
    if (path / "scheduler/scheduler_config.json").is_file():
        schedule = config.schedule_from_json(*read_json(path / "scheduler/scheduler_config.json"))
    unet_sizes = config.unet_from_json(*read_json(path / "unet/config.json"))
    unet = Part("unet", path / "unet", unet_sizes, unet_entries)
    return Checkpoint(path, kind.kind, "folder", schedule, unet, vae, text)


def load_single_file(path: Path) -> Checkpoint:
    """A single file in the original naming, which tells no schedule, head counts …: SD 1.x's, unless its header says
    otherwise (unsaid.py). Raises as `open_checkpoint`.

    InstructPix2Pix files hold their UNet twice; the moving average (EMA), which its authors run, is taken.
    """
    entries, said = read_header_and_metadata(path)
    shapes = shapes_of(entries)
    kind = identify(shapes)
    if kind.advice is not None or kind.layout != "single-file":
        refuse(kind, path, shapes)
    groups: dict[str, dict[str, Entry]] = {ldm.UNET: {}, ldm.VAE: {}, ldm.TEXT: {}}
    unknown = []
    for key, entry in entries.items():
        prefix = next((prefix for prefix in groups if key.startswith(prefix)), None)
        if ldm.is_extra(key):
            continue
        if prefix is None:
            unknown.append(key)
            continue
        if prefix == ldm.UNET and kind.kind == "instruct-pix2pix":
            entry = entries.get(ldm.ema_key(key), entry)
        groups[prefix][key.removeprefix(prefix)] = entry
    if unknown:
        raise InputError(f"{path}: holds tensors that are no part of Stable Diffusion 1.x: {some(unknown)}")
    unet, vae, text = groups.values()
    return Checkpoint(
        path,
        kind.kind,
        "single-file",
        schedule=hear_unsaid("scheduler", NoiseSchedule.stable_diffusion(), said, str(path)),
        unet=_single_unet(path, unet, said),
        vae=_single_vae(path, vae, said) if vae else None,
        text=_single_text(path, text, said) if text else None,
    )


def open_vae(path: str | Path) -> Part:
    """A VAE alone: diffusers' folder of one, or a .safetensors file in either naming (of a whole single file, its VAE).

    A lone file without a config.json beside it is taken to have SD 1.x's norm groups and scaling factor.
    Raises InputError: as `open_checkpoint`, or if there is no VAE.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return _folder_vae(path)
    if path.is_dir():
        raise InputError(
            f"{path}: holds no config.json, so it is no VAE's folder; give the folder itself (…/vae), or "
            "a .safetensors file"
        )
    entries, said = read_header_and_metadata(path)
    kind = identify(shapes_of(entries))
    if kind.advice is None and kind.layout == "single-file":
        vae = load_single_file(path).vae
        if vae is None:
            raise InputError(f"{path}: holds no vae; give a file that has one")
        return vae
    if kind.kind != "vae":
        raise InputError(f"{path}: this is {kind.words}, not a VAE; give a VAE's folder or .safetensors file")
    if kind.layout == "folder":
        return _lone_vae(path, {ldm.vae_name(key): squeeze_attention(entry) for key, entry in entries.items()})
    entries = {key if key.startswith(ldm.VAE) else ldm.VAE + key: entry for key, entry in entries.items()}
    entries = {key.removeprefix(ldm.VAE): entry for key, entry in entries.items() if not ldm.is_extra(key)}
    return _single_vae(path, entries, said)


def _folder_unet(folder: Path) -> tuple[dict[str, Entry], Kind]:
    entries = folder_entries(folder, "diffusion_pytorch_model")
    kind = identify(shapes_of(entries))
    if kind.advice is not None or kind.layout != "folder":
        refuse(kind, folder, shapes_of(entries))
    return entries, kind


def _folder_vae(folder: Path) -> Part:
    entries = folder_entries(folder, "diffusion_pytorch_model")
    entries = {ldm.vae_name(key): squeeze_attention(entry) for key, entry in entries.items()}
    return Part("vae", folder, config.vae_from_json(*read_json(folder / "config.json")), entries)


def _lone_vae(path: Path, entries: dict[str, Entry]) -> Part:
    """A VAE's file with the folder layout's names: its config.json, if it lies there, or what its shapes tell."""
    if path.with_name("config.json").is_file():
        return Part("vae", path, config.vae_from_json(*read_json(path.with_name("config.json"))), entries)
    return Part("vae", path, sizes.vae_from_shapes(shapes_of(entries), str(path), "folder"), entries)


def folder_entries(folder: Path, stem: str) -> dict[str, Entry]:
    """All tensors of one part's file or shards."""
    entries: dict[str, Entry] = {}
    for file in find_weights(folder, stem):
        for key, entry in read_header(file).items():
            if key in entries:
                raise InputError(
                    f"{folder}: {key} is in two shards, {entries[key].path.name} and "
                    f"{file.name}; download the folder again"
                )
            entries[key] = entry
    return entries


def _folder_advice(path: Path) -> str:
    """What someone who gave this folder probably wanted."""
    if (path / "config.json").is_file():
        return f"it seems to be one part of a checkpoint: give the folder above it, {path.resolve().parent}"
    files = sorted(path.glob("*.safetensors"))
    if files:
        return f"to load the single file in it, give {files[0]}"
    for file in sorted(path.glob("*")):
        refuse_pickle_name(file)
    return "give a folder with unet/ vae/ text_encoder/ tokenizer/, or a .safetensors file"


def _single_unet(path: Path, entries: dict[str, Entry], said: Mapping[str, str]) -> Part:
    unet = hear_unsaid("unet", sizes.unet_from_shapes(shapes_of(entries), str(path)), said, str(path))
    modules = dict(ldm.unet_modules(unet.has_attention, unet.layers_per_block))
    return Part("unet", path, unet, renamed(path, ldm.UNET, entries, modules))


def _single_vae(path: Path, entries: dict[str, Entry], said: Mapping[str, str]) -> Part:
    vae = hear_unsaid("vae", sizes.vae_from_shapes(shapes_of(entries), str(path)), said, str(path))
    by_name = renamed(path, ldm.VAE, entries, dict(ldm.vae_modules(len(vae.block_out_channels), vae.layers_per_block)))
    return Part("vae", path, vae, {name: squeeze_attention(entry) for name, entry in by_name.items()})


def _single_text(path: Path, entries: dict[str, Entry], said: Mapping[str, str]) -> Part:
    entries = text_entries(entries)
    text = hear_unsaid("text", sizes.text_from_shapes(shapes_of(entries), str(path)), said, str(path))
    return Part("text", path, text, entries)


def renamed(path: Path, prefix: str, entries: dict[str, Entry], modules: dict[str, str]) -> dict[str, Entry]:
    """By folder names; prefix: what was cut off the keys, for the message. Raises InputError for a key of no module."""
    names = {key: ldm.rename(key, modules) for key in entries}
    unknown = [prefix + key for key, name in names.items() if name is None]
    if unknown:
        raise InputError(f"{path}: holds tensors that are no part of Stable Diffusion 1.x: {some(unknown)}")
    return {names[key]: entry for key, entry in entries.items()}


def text_entries(entries: dict[str, Entry]) -> dict[str, Entry]:
    """By published names, without position_ids (0, 1, 2 …, spoilt in some files) and CLIP's unused parts."""
    unused = ("embeddings.position_ids", "text_projection.weight", "logit_scale")
    return {ldm.text_name(key): entry for key, entry in entries.items() if not key.endswith(unused)}


def squeeze_attention(entry: Entry) -> Entry:
    """The VAE's attention as linear layers: single files store [c, c, 1, 1]. Convolutions are left alone."""
    is_attention = ".attn_1." in entry.key or ".attentions." in entry.key
    return replace(entry, shape=entry.shape[:2]) if is_attention and entry.shape[2:] == (1, 1) else entry


def read_json(path: Path) -> tuple[dict, str]:
    """A config file's content, and its path for messages."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy the folder again") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON; copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a dictionary of options; copy it again")
    return content, str(path)


def shapes_of(entries: dict[str, Entry]) -> dict[str, tuple[int, ...]]:
    """{key: shape}, by which files are told apart."""
    return {key: entry.shape for key, entry in entries.items()}
