"""Weight files to tensors: safetensors only, read tensor by tensor, and never a pickle.

A safetensors file is 8 bytes (the header's length, little-endian), a JSON header that gives every tensor's
type, shape and place, and the tensors' bytes. `read_header` reads the first two, so that a file can be told
apart and checked for nothing; `read_tensors` then brings in the tensors, one after the other. A .ckpt,
.bin, .pt or .pth file is a pickle, a program that runs when it is opened, and is refused unopened.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

PICKLE_ENDINGS = (".ckpt", ".bin", ".pt", ".pth", ".pkl", ".pickle")
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# A LoRA's alpha, a single number, may be whole.
TYPES = FLOATS | {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}
GIVE = "give a .safetensors file, or a folder with unet/ vae/ text_encoder/"
NAMED = 5  # names that an error lists before it only counts
HEADER = "t2vz."  # how the keys of a single file's header begin that t2vz writes: "t2vz.unet", "t2vz.words" …
LONGEST_HEADER = 100_000_000  # the format's own limit

CONVERT = "take its .safetensors edition, or, if you trust it, convert it: torch.load(weights_only=True), save_file"
PICKLE = f"is a pickle under another name, which could run code, so it is not opened: {CONVERT}"
# How other things that arrive under a .safetensors name begin.
STRANGERS = {
    b"PK\x03\x04": PICKLE,  # a zip, as torch.save writes
    b"\x80": PICKLE,
    b"version https://git-lfs": "is a Git LFS pointer, not the weights: fetch them with `git lfs pull`",
    b"<": "is a web page, not weights: the download went wrong (a login, perhaps); download it again",
    b"GGUF": "is a GGUF file; t2vz reads safetensors only: take its .safetensors edition",
    b"": "is not a safetensors file (no header at its start); download it again, or give another",
}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: the file, its key there, type, shape, the place of its first byte and of its end."""

    path: Path
    key: str
    dtype: str  # safetensors' word: F32, F16, BF16, I64 …
    shape: tuple[int, ...]
    start: int
    end: int
    changes: tuple[Callable[[Tensor], Tensor], ...] = ()  # LoRAs: what is done to the tensor when it is read


def read_header(path: str | Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Every key of one safetensors file, with its type, shape and place, and the words that the file's maker left in
    its header ({} if none). No tensor is read.

    Raises InputError when the file is missing, empty, cut short, a pickle, or no safetensors file.
    """
    path = find_path(path, "give a .safetensors file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the .safetensors file in it")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(64)
            first = 8 + int.from_bytes(begin[:8], "little")  # the place of the first tensor
            if size <= 8 or begin[8:9] != b"{" or first - 8 > LONGEST_HEADER:
                what = next(what for magic, what in STRANGERS.items() if begin.startswith(magic))
                raise InputError(f"{path}: {what if size else 'the file is empty; download it again'}")
            file.seek(8)
            header = json.loads(file.read(first - 8)) if first <= size else {}
        metadata = header.pop("__metadata__", None) or {}
        entries = {key: _entry(path, key, first, **fields) for key, fields in header.items()}
        spoilt = [f"{key} = {value!r}" for key, value in metadata.items() if not isinstance(value, str)]
        needed = max((entry.end for entry in entries.values()), default=first)
        if needed > size:
            raise InputError(f"{path}: is cut short ({size:,} of its {needed:,} bytes); download it again")
        if not entries:
            raise InputError(f"{path}: holds no tensors; download or save it again")
        if spoilt:
            raise InputError(f"{path}: its header says {spoilt[0]} in __metadata__; save it again with that as text")
        if needed < size:
            what = "bytes after its last tensor: two files in one, or a download that was resumed wrongly"
            raise InputError(f"{path}: has {size - needed:,} {what}; download it again")
        with safe_open(path, framework="pt"):  # the format's own judgement
            return entries, metadata
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is no valid safetensors file ({reason}); download it again") from error
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: its header is no safetensors header; download it again") from error


def _entry(path: Path, key: str, first: int, dtype: str, shape: list[int], data_offsets: list[int]) -> Entry:
    start, end = data_offsets
    if not 0 <= start <= end or (dtype in TYPES and end - start != prod(shape) * TYPES[dtype].itemsize):
        raise TypeError(f"{key}: its place does not fit its shape")
    return Entry(path, key, dtype, tuple(shape), first + start, first + end)


def read_tensors(entries: Mapping[str, Entry], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) in `dtype` on the CPU, in the order in which they lie in the files.

    An entry's shape may be another of as many elements ([c, c] for a stored [c, c, 1, 1]). Peak memory: the tensors
    the caller keeps, and the largest one as it is stored. Raises InputError when a tensor is not floating point, holds
    a NaN or infinity, or does not fit in `dtype`.
    """
    in_order = sorted(entries.items(), key=lambda item: (item[1].path, item[1].start))
    for path, group in groupby(in_order, key=lambda item: item[1].path):
        with path.open("rb") as file:
            for name, entry in group:
                yield name, _convert(_read(file, entry), entry, dtype)


def _read(file: BinaryIO, entry: Entry) -> Tensor:
    """A tensor as it is stored."""
    if entry.dtype not in TYPES or prod(entry.shape) != 1:
        refuse_quantised(entry)
    raw = torch.empty(entry.end - entry.start, dtype=torch.uint8, device="cpu")
    file.seek(entry.start)
    if file.readinto(raw.numpy()) < len(raw):
        raise InputError(f"{entry.path}: has become shorter since its header was read; load it again")
    return raw.view(TYPES[entry.dtype]).reshape(entry.shape)


def _convert(stored: Tensor, entry: Entry, dtype: torch.dtype) -> Tensor:
    """The tensor in `dtype`, changed and checked: what a NaN breaks is otherwise seen many steps later."""
    # Changes are made in float32 at least, and rounded once, at the end.
    tensor = stored.to(torch.promote_types(dtype, torch.float32) if entry.changes else dtype)
    for change in entry.changes:
        tensor = change(tensor)
    tensor = tensor.to(dtype)
    if _finite(tensor):
        return tensor
    why = f"has values too large for {dtype}; load it in float32 or bfloat16"
    if not _finite(stored):
        why = "holds NaN or infinite values; the file is spoilt, get another copy"
    raise InputError(f"{entry.path}: {entry.key} {why}")


def refuse_quantised(entry: Entry) -> None:
    """Raise InputError for a tensor that is not floating point."""
    if entry.dtype not in FLOATS:
        what = f"{entry.key} is stored as {entry.dtype}; quantised weights are not supported"
        raise InputError(f"{entry.path}: {what}, take the float16 or float32 edition")


def _finite(tensor: Tensor) -> bool:
    # The smallest and the largest value are NaN if any is: one pass, and no mask as large as the tensor.
    return tensor.numel() == 0 or all(bool(torch.isfinite(value)) for value in torch.aminmax(tensor))


def find_weights(folder: Path, stem: str) -> list[Path]:
    """The files that hold a part's weights: one `stem.safetensors`, or its shards as the index lists them.

    The plain edition comes before the `.fp16` one; other variants (`.non_ema`, …) hold other weights.
    Raises InputError when there is none, only a pickle, or an index that names files which are not there.
    """
    index = "safetensors.index"
    for ending in ("safetensors", "fp16.safetensors", f"{index}.json", f"{index}.fp16.json", f"fp16.{index}.json"):
        file = folder / f"{stem}.{ending}"
        if file.is_file():
            return _shards(file) if file.suffix == ".json" else [file]
    refuse_pickles(folder)
    raise InputError(f"{folder}: holds no {stem}.safetensors (nor its .fp16 edition, nor an index of shards)")


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InputError(f'{index}: is no index of shards (no "weight_map"); download it again')
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise InputError(f"{index}: names the shard {name}, which is not beside it; download that file")
    return [index.parent / name for name in names]


def find_path(path: str | Path, advice: str = GIVE) -> Path:
    """The file or folder that a path names: of a folder of the Hugging Face hub's cache (models--A--B) the folder with
    the files, and ~ is the home.

    advice: what to give instead. Raises InputError: a pickle by its name, which is not touched; nothing there, a web
    address, a model's name on the hub; several revisions in the cache, and none the current one.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() in PICKLE_ENDINGS:
        raise InputError(f"{path}: {path.suffix} files are pickles, which can run code when opened: {CONVERT}")
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_why_missing(path, error)}; {advice}") from error
    top = path.parent if path.name == "snapshots" else path
    if not (top / "snapshots").is_dir():
        return path
    revisions = sorted((top / "snapshots").iterdir())
    main = (top / "refs/main").read_text().strip() if (top / "refs/main").is_file() else None
    current = [folder for folder in revisions if folder.name == main] or revisions
    if len(current) == 1:
        return current[0]
    what = f"the hub's cache holds {len(revisions)} revisions of this model"
    raise InputError(f"{path}: {what}; give the folder of one, {top / 'snapshots'}/REVISION")


def _why_missing(path: Path, error: Exception) -> str:
    """Why there is nothing at a path, as far as it shows."""
    if os.path.islink(path):
        return f"is a link to {path.readlink()}, which is not there"
    if re.match(r"https?:/", str(path)):
        return "is a web address, and t2vz downloads nothing; download it"
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"cannot be read ({getattr(error, 'strerror', error)})"
    is_name = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(path)) and not path.parent.exists()
    if is_name and path.suffix != ".safetensors":
        return f"no such file; a model's name on the Hugging Face hub? t2vz downloads nothing: hf download {path}"
    return "no such file"


def read_json(path: Path) -> dict[str, Any]:
    """The options in a config file. Raises InputError if it is no dictionary, or cannot be read."""
    return options_of(read_bytes(path), path)


def options_of(text: str | bytes, where: Path | str) -> dict[str, Any]:
    """The dictionary that a text writes as JSON. where: the text's place. Raises InputError if it is no dictionary."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON; copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{where}: is not a dictionary of options; copy it again")
    return content


def read_bytes(path: Path) -> bytes:
    """What a small file holds. Raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check its permissions, or copy it again"
        ) from error


def refuse_pickles(folder: Path) -> None:
    """Raise InputError if a folder holds a pickle: it is what was meant, where no other weights are."""
    for path in sorted(folder.glob("*")):
        find_path(path)


def some(names: list[str]) -> str:
    """The first few names, and how many more there are, for a message."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
