"""Where a checkpoint's tokenizer is: the folder with its vocab.json and merges.txt."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError

TOKENIZER_FILES = ("vocab.json", "merges.txt")
CLIP_NAME = "openai/clip-vit-large-patch14"  # the text tower of SD 1.x; its tokenizer on the Hugging Face hub
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


def _complete(folder: Path) -> Path:
    missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: holds no {' and no '.join(missing)}; a tokenizer folder needs "
                         f"{' and '.join(TOKENIZER_FILES)}, from where the checkpoint came from")
    return folder
