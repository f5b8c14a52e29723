"""Weight files to tensors: safetensors only, opened lazily, and never a pickle.

A safetensors file is 8 bytes (the header's length, little-endian), a JSON header that gives every tensor's
type, shape and place, and the tensors' bytes. `read_header` reads the first two, so that a file can be told
apart and checked for nothing; `read_tensors` then brings in the tensors, some at a time. A .ckpt,
.bin, .pt or .pth file is a pickle, a program that runs when it is opened, and is refused unopened.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

PICKLE_ENDINGS = (".ckpt", ".bin", ".pt", ".pth", ".pkl", ".pickle")
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
GIVE = "give a .safetensors file, or a folder with unet/ vae/ text_encoder/"
NAMED = 5  # names that an error lists before it only counts
HEADER = "t2vz."  # how the keys of a single file's header begin that t2vz writes: "t2vz.unet", "t2vz.words" …
LONGEST_HEADER = 100_000_000  # the format's own limit
BATCH_BYTES = 64 * 2**20  # mapped at a time; one larger tensor goes alone

CONVERT = (
    "take its .safetensors edition, or, if you trust it, convert it: read it with torch (weights_only=True), and write "
    "its state_dict with safetensors.torch.save_file"
)

PICKLE = f"is a pickle under another name, which could run code, so it is not opened: {CONVERT}"

# How other things that arrive under a .safetensors name begin.
STRANGERS = {
    b"PK\x03\x04": PICKLE,  # a zip, as torch.save writes
    b"\x80": PICKLE,
    b"version https://git-lfs": "is a Git LFS pointer, not the weights: fetch them with `git lfs pull`",
    b"<": "is a web page, not weights: the download went wrong (a login, perhaps); download it again",
    b"GGUF": "is a GGUF file; t2vz reads safetensors only: take its .safetensors edition",
}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: the file, its key there, type, shape, and its bytes after the header."""

    path: Path
    key: str
    dtype: str  # safetensors' word: F32, F16, BF16, I64 …
    shape: tuple[int, ...]
    start: int
    end: int
    changes: tuple[Callable[[Tensor], Tensor], ...] = ()  # LoRAs: what is done to the tensor when it is read


def read_header(path: str | Path) -> dict[str, Entry]:
    """Every key of one safetensors file, with its type, shape and place; no tensor is read.

    Raises InputError when the file is missing, empty, cut short, a pickle, or no safetensors file.
    """
    return read_header_and_metadata(path)[0]


def read_header_and_metadata(path: str | Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """`read_header`, and the words that the file's maker left in its header ({} if none). Raises as `read_header`."""
    path = find_path(path, "give a .safetensors file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the .safetensors file in it")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            length = int.from_bytes(start[:8], "little")
            if size <= 8 or start[8:9] != b"{" or length > LONGEST_HEADER:
                raise InputError(_stranger(path, size, start))
            if length > size - 8:
                raise InputError(_truncated(path, size, length + 8))
            file.seek(8)
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        entries = {key: _entry(path, key, **fields) for key, fields in header.items()}
        spoilt = [key for key, value in metadata.items() if not isinstance(value, str)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: its header is no safetensors header; download it again") from error
    if not entries:
        raise InputError(f"{path}: holds no tensors; download or save it again")
    if spoilt:
        raise InputError(
            f"{path}: its header says {spoilt[0]} = {metadata[spoilt[0]]!r} in __metadata__, where the safetensors "
            "format has text alone; save it again with that as text, or get another copy"
        )
    needed = 8 + length + max(entry.end for entry in entries.values())
    if needed > size:
        raise InputError(_truncated(path, size, needed))
    if needed < size:
        raise InputError(
            f"{path}: has {size - needed:,} bytes after its last tensor, which no safetensors file has: two files in "
            "one, or a download that was resumed wrongly; download it again"
        )
    with _opened(path):  # the format's own judgement, which is also heard when tensors are read
        return entries, metadata


def read_tensors(entries: Mapping[str, Entry], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) in `dtype` on the CPU, in the order in which they lie in the files.

    An entry's shape may be another of as many elements ([c, c] for a stored [c, c, 1, 1]). The file is mapped
    into memory and each tensor copied out of the map; the map's pages count as this process's memory until it
    is closed, so it is opened anew for every 64 MiB. Peak: the tensors the caller keeps, and about one batch.
    Raises InputError when a tensor is not floating point, holds a NaN or infinity, or does not fit in
    `dtype`.
    """
    for batch in _batches(entries):
        with _opened(batch[0][1].path) as file:
            for name, entry in batch:
                yield name, _convert(file.get_tensor(entry.key), entry, dtype)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """safetensors' own reader of a file. Raises InputError for what it refuses."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: is no valid safetensors file ({reason}); download it again") from error


def find_weights(folder: Path, stem: str) -> list[Path]:
    """The files that hold a part's weights: one `stem.safetensors`, or its shards as the index lists them.

    The plain edition comes before the `.fp16` one; other variants (`.non_ema`, …) hold other weights.
    Raises InputError when there is none, only a pickle, or an index that names files which are not there.
    """
    for name in (f"{stem}.safetensors", f"{stem}.fp16.safetensors"):
        if (folder / name).is_file():
            return [folder / name]
    for name in (
        f"{stem}.safetensors.index.json",
        f"{stem}.safetensors.index.fp16.json",
        f"{stem}.fp16.safetensors.index.json",
    ):
        if (folder / name).is_file():
            return _shards(folder / name)
    refuse_pickles(folder)
    raise InputError(f"{folder}: holds no {stem}.safetensors (nor its .fp16 edition, nor an index of shards)")


def find_path(path: str | Path, advice: str = GIVE) -> Path:
    """The file or folder that a path names: of a folder of the Hugging Face hub's cache (models--A--B) the folder with
    the files, and ~ is the home.

    advice: what to give instead. Raises InputError: a pickle by its name, which is not touched; nothing there, a web
    address, a model's name on the hub; several revisions in the cache, and none the current one.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() in PICKLE_ENDINGS:
        raise InputError(
            f"{path}: {path.suffix} files are pickles, which can run code when opened, so t2vz "
            f"never opens one: {CONVERT}"
        )
    try:
        path.stat()
    except (OSError, ValueError) as error:
        why = f"cannot be read ({getattr(error, 'strerror', error)})"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            why = "no such file"
        if os.path.islink(path):
            why = f"is a link to {path.readlink()}, which is not there"
        elif re.match(r"https?:/", str(path)):
            why = "is a web address, and t2vz downloads nothing; download it"
        elif re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(path)) and not path.parent.exists():
            if path.suffix != ".safetensors":
                why += f"; a model's name on the Hugging Face hub? t2vz downloads nothing: hf download {path}"
        raise InputError(f"{path}: {why}; {advice}") from error
    top = path.parent if path.name == "snapshots" else path
    if not (top / "snapshots").is_dir():
        return path
    revisions = sorted((top / "snapshots").iterdir())
    main = (top / "refs/main").read_text().strip() if (top / "refs/main").is_file() else None
    current = [folder for folder in revisions if folder.name == main] or revisions
    if len(current) == 1:
        return current[0]
    raise InputError(
        f"{path}: the hub's cache holds {len(revisions)} revisions of this model; give the folder of one, "
        f"{top / 'snapshots'}/REVISION"
    )


def read_attached(path: str | Path, name: str) -> tuple[str | None, Path]:
    """What a checkpoint carries beside its networks, as text, and where: NAME.json in its folder, or "t2vz.NAME" in a
    single file's header. None if it does not."""
    path = find_path(path)
    if not path.is_dir():
        return read_header_and_metadata(path)[1].get(HEADER + name), path
    file = path / f"{name}.json"
    return (file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None), file


def read_json(path: Path) -> dict:
    """The options in a config file. Raises InputError if it is no dictionary."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy the folder again") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON; copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a dictionary of options; copy it again")
    return content


def refuse_pickles(folder: Path) -> None:
    """Raise InputError if a folder holds a pickle: it is what was meant, where no other weights are."""
    for path in sorted(folder.glob("*")):
        find_path(path)


def some(names: list[str]) -> str:
    """The first few names, and how many more there are, for a message."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _entry(path: Path, key: str, dtype: str, shape: list[int], data_offsets: list[int]) -> Entry:
    start, end = data_offsets
    if not 0 <= start <= end or (dtype in FLOAT_BYTES and end - start != prod(shape) * FLOAT_BYTES[dtype]):
        raise TypeError(f"{key}: its place does not fit its shape")
    return Entry(path, key, dtype, tuple(shape), start, end)


def _batches(entries: Mapping[str, Entry]) -> Iterator[list[tuple[str, Entry]]]:
    """Entries in file order, in lists of one file and at most BATCH_BYTES (or one larger tensor)."""
    batch: list[tuple[str, Entry]] = []
    size = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].path, item[1].start)):
        length = entry.end - entry.start
        if batch and (entry.path != batch[0][1].path or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((name, entry))
        size += length
    if batch:
        yield batch


def _convert(mapped: Tensor, entry: Entry, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype`, changed and checked: what a NaN in the weights breaks is otherwise seen many steps later."""
    scalar = all(side == 1 for side in entry.shape)  # a LoRA's alpha may be a whole number
    if not scalar or mapped.is_complex():
        refuse_quantised(entry)
    # Changes are made in float32 at least, and rounded once, at the end.
    exact = torch.promote_types(dtype, torch.float32) if entry.changes else dtype
    tensor = mapped.to(dtype=exact, copy=True).reshape(entry.shape)
    for change in entry.changes:
        tensor = change(tensor)
    tensor = tensor.to(dtype)
    if not _finite(tensor):
        if _finite(mapped):
            raise InputError(
                f"{entry.path}: {entry.key} has values too large for {dtype}; load it in float32 or bfloat16"
            )
        raise InputError(
            f"{entry.path}: {entry.key} holds NaN or infinite values; the file is spoilt, get another copy"
        )
    return tensor


def refuse_quantised(entry: Entry) -> None:
    """Raise InputError for a tensor that is not floating point."""
    if entry.dtype not in FLOAT_BYTES:
        raise InputError(
            f"{entry.path}: {entry.key} is stored as {entry.dtype}; quantised weights are not supported, take the "
            "float16 or float32 edition"
        )


def _finite(tensor: Tensor) -> bool:
    # The smallest and the largest value are NaN if any is: one pass, and no mask as large as the tensor.
    return tensor.numel() == 0 or all(bool(torch.isfinite(value)) for value in torch.aminmax(tensor))


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{index}: is no index of shards (no "weight_map"); download it again') from error
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise InputError(f"{index}: names the shard {name}, which is not beside it; download that file")
    return [index.parent / name for name in names]


def _stranger(path: Path, size: int, start: bytes) -> str:
    if size == 0:
        return f"{path}: the file is empty; download it again"
    for magic, what in STRANGERS.items():
        if start.startswith(magic):
            return f"{path}: {what}"
    return f"{path}: is not a safetensors file (no header at its start); download it again, or give another"


def _truncated(path: Path, size: int, needed: int) -> str:
    return f"{path}: is cut short ({size:,} bytes, where its header needs {needed:,}); download it again"
