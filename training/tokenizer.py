"""A CLIP tokenizer for the picture world's words: vocab.json and merges.txt, as `transformers` and diffusers
read them.

CLIP's byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909; byte alphabet of GPT-2) with few merges:
each word of the list becomes one token. Any other word still has tokens, its pieces or its bytes.
77 positions, <|startoftext|> and <|endoftext|>, padded with the end: Stable Diffusion 1.5's anatomy.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from t2vz.checkpoints.save import TOKENIZER_CONFIG
from t2vz.files import write_bytes, write_json
from t2vz.text.vocabulary import END, START, byte_letters
from t2vz.world import vocabulary

LENGTH = 77
# Words that a prompt may well contain and no caption does: one token each.
COMMON = """
    and with of on in at by for from to is are the this that over under behind near its his her very
    small large little new old flying running walking sitting standing dancing riding surfing bear panda
    dog horse man woman person video photo painting style street park water sun moon sky day
""".split()


def merges_for(words: list[str]) -> list[tuple[str, str]]:
    """Merges that make each word one token: byte-pair encoding trained until nothing is left to be joined."""
    tokens = Tokenizer(BPE())
    tokens.train_from_iterator(words, BpeTrainer(vocab_size=2**20, end_of_word_suffix="</w>", show_progress=False))
    merges = json.loads(tokens.to_str())["model"]["merges"]
    return [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in merges]


def write_tokenizer(folder: str | Path, words: list[str] | None = None) -> Path:
    """Write vocab.json, merges.txt and tokenizer_config.json into `folder`; returns it.

    words: what should be one token each; by default the picture world's vocabulary and some common words.
    """
    folder = Path(folder)
    words = sorted({word for word in (words or [*vocabulary(), *COMMON]) if word.isalpha() and word.isascii()})
    merges = merges_for(words)
    alphabet = byte_letters()
    tokens = [*alphabet, *(character + "</w>" for character in alphabet)]
    tokens += [left + right for left, right in merges]
    tokens += [START, END]
    write_json(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    write_bytes(folder / "merges.txt", ("\n".join(lines) + "\n").encode())
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG | {"model_max_length": LENGTH})
    return folder
