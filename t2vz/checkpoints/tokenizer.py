"""Where a checkpoint's tokenizer is: the folder with its vocab.json and merges.txt (or the newer tokenizer.json)."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import InputError

TOKENIZER_FILES = ("vocab.json", "merges.txt")
NEW_FILE = "tokenizer.json"  # both in one, which transformers 5 writes in their place
CLIP_NAME = "openai/clip-vit-large-patch14"  # the text tower of SD 1.x; its tokenizer on the Hugging Face hub
# What tells CLIP's vocabulary from others: its size, and the numbers of "a photo of a cat".
CLIP_SIZE = 49408
CLIP_WORDS = {
    "a</w>": 320,
    "photo</w>": 1125,
    "of</w>": 539,
    "cat</w>": 2368,
    "<|startoftext|>": 49406,
    "<|endoftext|>": 49407,
}
NO_CLIP = (
    f"a single file holds no tokenizer, and {CLIP_NAME}'s could not be fetched; give tokenizer=DIR with "
    "vocab.json and merges.txt, or put such a tokenizer/ folder beside the file"
)


def find_tokenizer(path: str | Path, tokenizer: str | Path | None = None) -> Path | None:
    """The folder with vocab.json and merges.txt: the one given, else tokenizer/ in or beside the checkpoint.

    None for a single file with no such folder beside it: then CLIP_NAME's, through transformers, is the right
    one (and NO_CLIP the message if it cannot be fetched). Raises InputError if a folder checkpoint has none,
    or one is incomplete.
    """
    path = Path(path)
    if tokenizer is not None:
        return _complete(Path(tokenizer))
    beside = (path if path.is_dir() else path.parent) / "tokenizer"
    if beside.is_dir() or path.is_dir():
        return _complete(beside)
    return None


def is_clips_tokenizer(folder: Path) -> bool:
    """Whether this is CLIP's own tokenizer, which every reader has: by its size and by some words' numbers."""
    vocabulary = _vocabulary(folder)
    return len(vocabulary) == CLIP_SIZE and all(vocabulary.get(word) == n for word, n in CLIP_WORDS.items())


def same_tokenizer(one: Path, other: Path) -> bool:
    """Whether both folders hold a tokenizer of the same vocabulary."""
    return holds_tokenizer(one) and holds_tokenizer(other) and _vocabulary(one) == _vocabulary(other)


def _vocabulary(folder: Path) -> dict[str, int]:
    """Token -> number, of vocab.json or of the newer tokenizer.json."""
    try:
        if (folder / TOKENIZER_FILES[0]).is_file():
            return dict(json.loads((folder / TOKENIZER_FILES[0]).read_text(encoding="utf-8")))
        return dict(json.loads((folder / NEW_FILE).read_text(encoding="utf-8"))["model"]["vocab"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: its tokenizer cannot be read; copy it again") from error


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's files, the older two or the newer one."""
    return (folder / NEW_FILE).is_file() or all((folder / name).is_file() for name in TOKENIZER_FILES)


def _complete(folder: Path) -> Path:
    if holds_tokenizer(folder):
        return folder
    missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    raise InputError(
        f"{folder}: holds no {' and no '.join(missing)}; a tokenizer folder needs "
        f"{' and '.join(TOKENIZER_FILES)}, from where the checkpoint came from"
    )
