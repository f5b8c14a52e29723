"""A CLIP tokenizer for the picture world's words: vocab.json and merges.txt, as `transformers` and diffusers
read them.

CLIP's byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909; byte alphabet of GPT-2) with few merges:
each word of the list becomes one token. Any other word still has tokens, its pieces or its bytes.
77 positions, <|startoftext|> and <|endoftext|>, padded with the end: Stable Diffusion 1.5's anatomy.
"""

from pathlib import Path

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
    """Merges that make each word one token. Words of a–z only.

    A word is split by the merges made so far, and new merges join its pieces from the left: "balls" after
    "ball" needs (ball, s</w>) alone if "ball" is still open at its end. New merges come last, so BPE uses
    them last, and what was one token stays one.
    """
    merges: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = split(word, merges)
        while len(pieces) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            pieces = split(word, merges)
    return list(merges)


def split(word: str, merges: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word: join the neighbours whose merge is the earliest, until no merge
    applies."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [pair for pair in zip(pieces, pieces[1:]) if pair in merges]
        if not pairs:
            return pieces
        left, right = min(pairs, key=merges.__getitem__)
        joined = []
        for piece in pieces:
            if piece == right and joined and joined[-1] == left:
                joined[-1] = left + right
            else:
                joined.append(piece)
        pieces = joined


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
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": LENGTH,
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            "pad_token": END,
            "do_lower_case": True,
            "add_prefix_space": False,
            "errors": "replace",
        },
    )
    return folder
