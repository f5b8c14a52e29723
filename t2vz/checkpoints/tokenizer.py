"""Where a checkpoint's tokenizer is: in it, beside it, in an installed package, or on the Hugging Face hub.

A tokenizer is a folder with vocab.json and merges.txt (or the newer tokenizer.json). A single file holds none, and its
model's is nearly always CLIP's own, the same 49,408 tokens for every Stable Diffusion 1.x.
"""

import ssl
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..errors import InputError
from ..text import TextConfig, Tokenizer
from ..text.vocabulary import END, START, read_vocabulary
from .read import find_path

TOKENIZER_FILES = ("vocab.json", "merges.txt")
ADDED_FILE = "added_tokens.json"  # beside them, where tokens were added later
NEW_FILE = "tokenizer.json"  # all in one, which transformers 5 writes in their place
CLIP_NAME = "openai/clip-vit-large-patch14"  # the text tower of SD 1.x; its tokenizer on the Hugging Face hub
# What tells CLIP's vocabulary from others: its size, and the numbers of "a photo of a cat".
CLIP_SIZE = 49408
CLIP_WORDS = {"a</w>": 320, "photo</w>": 1125, "of</w>": 539, "cat</w>": 2368, START: 49406, END: 49407}
# CLIP's vocabulary as OpenAI published it, and the packages that carry it: `pip install 't2vz[clip]'` brings the first.
OPENAI_FILE = "bpe_simple_vocab_16e6.txt.gz"
CARRIERS = ("clip", "open_clip")
SECONDS = 10  # to wait for the hub


def open_tokenizer(path: str | Path, sizes: TextConfig, tokenizer: str | Path | None = None) -> Tokenizer:
    """The tokenizer for a checkpoint's text tower: the folder given, else what `find_tokenizer` finds, else CLIP's own.

    Raises InputError, one line: there is none, it cannot be read, or it has not exactly the tower's tokens.
    """
    found = find_tokenizer(path, tokenizer) or clip_vocabulary()
    try:
        found = found or fetch_tokenizer(CLIP_NAME)
    except InputError as error:
        raise InputError(
            f"{path}: a single file holds no tokenizer, and CLIP's is neither on this machine nor to be fetched; "
            "give the folder with its vocab.json and merges.txt (--tokenizer DIR, tokenizer=DIR), put it beside "
            "the file as tokenizer/, or install it: pip install 't2vz[clip]'"
        ) from error
    words = Tokenizer(found, sizes.max_position_embeddings)
    check_tokenizer_fits(words.size, sizes, found, path)
    return words


def find_tokenizer(path: str | Path, tokenizer: str | Path | None = None) -> Path | None:
    """The folder with vocab.json and merges.txt: the one given, else tokenizer/ in or beside the checkpoint.

    None for a single file with no such folder beside it: then CLIP's own is the right one. Raises InputError if a
    folder checkpoint has none, or one is incomplete.
    """
    path, both = Path(path), " and ".join(TOKENIZER_FILES)
    folder = (path if path.is_dir() else path.parent) / "tokenizer"
    if tokenizer is not None:
        folder = find_path(tokenizer, f"give the folder with {both}")
    elif not folder.is_dir() and not path.is_dir():
        return None
    if holds_tokenizer(folder):
        return folder
    missing = " and no ".join(name for name in TOKENIZER_FILES if not (folder / name).is_file())
    raise InputError(f"{folder}: holds no {missing}; a tokenizer needs {both}: copy it again, from where its model is")


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's files, the older two or the newer one."""
    return (folder / NEW_FILE).is_file() or all((folder / name).is_file() for name in TOKENIZER_FILES)


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a tokenizer's folder that are read, if there is one."""
    files = (folder / name for name in (*TOKENIZER_FILES, ADDED_FILE, NEW_FILE))
    return [file for file in files if file.is_file()]


def check_tokenizer_fits(size: int, sizes: TextConfig, tokenizer: Path, path: str | Path) -> None:
    """Raise InputError unless a tokenizer has as many tokens as the text tower knows; its last are start and end."""
    if size != sizes.vocab_size:
        raise InputError(
            f"{tokenizer}: a tokenizer of {size} tokens does not fit {path}, whose text tower knows "
            f"{sizes.vocab_size}; give the tokenizer that belongs to it (--tokenizer DIR)"
        )


def is_clips_tokenizer(folder: Path) -> bool:
    """Whether this is CLIP's own tokenizer, which every reader has: by its size and by some words' numbers."""
    vocabulary = read_vocabulary(folder)
    return vocabulary.size == CLIP_SIZE and CLIP_WORDS.items() <= vocabulary.tokens.items()


def same_tokenizer(one: Path, other: Path) -> bool:
    """Whether both folders hold a tokenizer of the same vocabulary and merges."""
    return holds_tokenizer(one) and holds_tokenizer(other) and read_vocabulary(one) == read_vocabulary(other)


def clip_vocabulary() -> Path | None:
    """CLIP's vocabulary in an installed package, whose code is not run; None if no package carries it."""
    for package in CARRIERS:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (Path(folder) / OPENAI_FILE).is_file():
                return Path(folder) / OPENAI_FILE
    return None


def fetch_tokenizer(name: str) -> Path:
    """The folder of a hub model's tokenizer in the hub's cache, fetched if it is not there yet.

    Raises InputError, at once, if it is neither there nor to be had: HF_HUB_OFFLINE, no network, a proxy that refuses.
    """
    from huggingface_hub import constants, hf_hub_download

    for cached in (True, False):
        if not cached and (constants.HF_HUB_OFFLINE or not _answers(f"{constants.ENDPOINT}/{name}")):
            break
        for files in (TOKENIZER_FILES, (NEW_FILE,)):
            try:
                return [Path(hf_hub_download(name, file, local_files_only=cached)) for file in files][0].parent
            except Exception:  # the hub's client raises many kinds; all mean that these files are not to be had
                continue
    raise InputError(f"{name}: its tokenizer is not on this machine and could not be fetched")


def _answers(url: str) -> bool:
    """Whether anybody answers there: one request, where the hub's client would try for minutes."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the client may know certificates of its own
    except (OSError, HTTPException, ValueError):
        return False
    return True
