"""What CLIP's byte-pair encoding has learned: its tokens, and the merges of letters that make them.

Three forms are in use: vocab.json with merges.txt, both in one tokenizer.json, and OpenAI's own list of merges
(bpe_simple_vocab_16e6.txt.gz), from which the numbers of all tokens follow.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"  # the mark of a token that ends a word
OPENAI_MERGES = 48_894  # of its list's 262,144, those that CLIP was trained with


@dataclass(frozen=True)
class Vocabulary:
    """tokens: {token: number}, 0 … n − 1. merges: pairs of tokens, first learned first. added: {token: number} of those
    that came later, for example by textual inversion, and are no merges."""

    tokens: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    added: Mapping[str, int]

    @property
    def size(self) -> int:
        """How many rows a text tower's embedding has for it."""
        return len(self.tokens) + len(self.added)


def read_vocabulary(source: Path) -> Vocabulary:
    """The vocabulary of a folder (vocab.json and merges.txt, or tokenizer.json), or of OpenAI's own .txt.gz.

    Raises InputError, one line, for files that cannot be read, are cut short, or do not belong together.
    """
    try:
        if source.is_file():
            vocabulary = _openai(gzip.decompress(source.read_bytes()).decode("utf-8"))
        elif (source / "vocab.json").is_file() and (source / "merges.txt").is_file():
            vocabulary = _two_files(source)
        else:
            vocabulary = _one_file(json.loads((source / "tokenizer.json").read_text(encoding="utf-8")))
        _check(vocabulary, source)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: its tokenizer cannot be read; copy it again") from error
    return vocabulary


def byte_letters() -> list[str]:
    """CLIP's letter for each of the 256 bytes, in the order of its vocabulary: bytes that can be printed stand for
    themselves, the others are the characters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def _two_files(folder: Path) -> Vocabulary:
    tokens = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    added = folder / "added_tokens.json"
    later = json.loads(added.read_text(encoding="utf-8")) if added.is_file() else {}
    return Vocabulary(tokens, _pairs(lines), {token: number for token, number in later.items() if token not in tokens})


def _one_file(content: dict) -> Vocabulary:
    tokens, merges = content["model"]["vocab"], content["model"]["merges"]
    pairs = _pairs(merges) if merges and isinstance(merges[0], str) else [(left, right) for left, right in merges]
    later = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    return Vocabulary(tokens, pairs, {token: number for token, number in later.items() if token not in tokens})


def _openai(text: str) -> Vocabulary:
    """The first line is a comment. Tokens: the letters, the letters that end a word, each merge's, start and end."""
    letters, merges = byte_letters(), _pairs(text.splitlines()[1 : OPENAI_MERGES + 1])
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters), *map("".join, merges), START, END]
    return Vocabulary({token: number for number, token in enumerate(tokens)}, merges, {})


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Lines "left right" as pairs, without the first line's version and empty ones. Raises ValueError for others."""
    words = (line.split(" ") for line in lines if line and not line.startswith("#version"))
    return [(left, right) for left, right in words]


def _check(vocabulary: Vocabulary, source: Path) -> None:
    """The numbers are 0 … n − 1, start and end are there, and every token but the letters is made by a merge."""
    tokens, made = vocabulary.tokens, {left + right for left, right in vocabulary.merges}
    used = {token for pair in vocabulary.merges for token in pair} | made
    numbers = sorted([*tokens.values(), *vocabulary.added.values()])
    if numbers != list(range(vocabulary.size)):
        raise InputError(f"{source}: its tokens are not numbered from 0 to {vocabulary.size - 1}; copy it again")
    if not {START, END} <= tokens.keys() | vocabulary.added.keys():
        raise InputError(f"{source}: its tokenizer has no {START} and {END}; give CLIP's kind of tokenizer")
    parts = {token for token in tokens if len(token.removesuffix(END_OF_WORD)) > 1} - {START, END}
    if parts - made or used - tokens.keys():
        some = f"{len(made & parts)} of the vocabulary's {len(parts)} tokens of several letters"
        some += f" and {len(used - tokens.keys())} that it does not know" if used - tokens.keys() else ""
        raise InputError(f"{source}: its merges make {some}; cut short, or another model's: copy the tokenizer again")
