"""Words to token numbers: CLIP's byte-pair encoding, with the checkpoint's own vocabulary.

A prompt becomes exactly 77 numbers: start, at most 75 of text, end, and end again as padding (OpenAI's own tokenizer
pads with 0; Stable Diffusion was trained with the end token, and results differ).

The work is done by the `tokenizers` library, set up as transformers' CLIPTokenizer sets it up: Unicode NFC, lower case,
the text in pieces (letters, single digits, other signs), and in each piece the merges in the order they were learned.
"""

from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from ..errors import InputError
from .vocabulary import END, END_OF_WORD, START, Vocabulary, read_vocabulary

PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Tokens:
    """One prompt's tokens: ids (length,), how many of them are text, and the words that did not fit."""

    ids: Tensor
    used: int
    cut: str


class Tokenizer:
    """CLIP's tokenizer. source: a folder with vocab.json and merges.txt, or what else `read_vocabulary` reads."""

    def __init__(self, source: str | Path, length: int = 77):
        vocabulary = read_vocabulary(Path(source))
        self._encoding = byte_pair_encoding(vocabulary)
        self.length = length
        self.start = self._encoding.token_to_id(START)
        self.end = self._encoding.token_to_id(END)
        self.size = vocabulary.size

    def text_ids(self, prompt: str) -> list[int]:
        """The numbers of the text alone, however long, without start and end.

        Raises InputError for text that is not Unicode, such as bytes of another encoding on the command line.
        """
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = prompt.encode("utf-8", "replace").decode("utf-8")
            raise InputError(f'the text "{shown}" is not valid UTF-8; type it in UTF-8') from error
        return self._encoding.encode(prompt, add_special_tokens=False).ids

    def encode(self, prompt: str) -> Tokens:
        """A prompt as the text tower reads it; what is over the limit is cut and named."""
        text = self.text_ids(prompt)
        room = self.length - 2
        kept, cut = text[:room], text[room:]
        ids = [self.start, *kept, self.end]
        ids += [self.end] * (self.length - len(ids))
        return Tokens(torch.tensor(ids, device="cpu"), len(kept), self._words(cut))

    def texts(self, prompt: str) -> list[str]:
        """The prompt's tokens as text, one for each of those that are read: position i + 1 among the 77 is texts[i]."""
        return [self._words([number]) for number in self.text_ids(prompt)[: self.length - 2]]

    def positions(self, prompt: str, words: list[str]) -> list[int]:
        """Where among the 77 the given words of a prompt stand (all their tokens, every occurrence).

        Raises InputError for a word that the prompt does not contain, or only in the part that was cut.
        """
        text = self.text_ids(prompt)[: self.length - 2]
        tokens = [str(self._encoding.id_to_token(number)) for number in text]
        begins_word = [i == 0 or tokens[i - 1].endswith(END_OF_WORD) for i in range(len(text))]
        found = []
        for word in words:
            ids = self.text_ids(word)
            starts = [i for i in range(len(text)) if ids and text[i : i + len(ids)] == ids and begins_word[i]]
            if not starts:
                read = f'the prompt "{prompt}", or only past its first {self.length - 2} tokens'
                raise InputError(f'the word "{word}" does not stand in {read}')
            found += [1 + start + i for start in starts for i in range(len(ids))]  # 1: the start token
        return sorted(set(found))

    def _words(self, ids: list[int]) -> str:
        """Token numbers as text again, special tokens too."""
        return self._encoding.decode(ids, skip_special_tokens=False).replace(END_OF_WORD, " ").strip()


def byte_pair_encoding(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    """The encoding of a text's numbers, without start and end."""
    encoding = tokenizers.Tokenizer(
        models.BPE(dict(vocabulary.tokens), list(vocabulary.merges), end_of_word_suffix=END_OF_WORD, unk_token=END)
    )
    encoding.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    encoding.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),  # each byte as its letter
        ]
    )
    encoding.decoder = decoders.ByteLevel()
    encoding.add_special_tokens([START, END])
    encoding.add_tokens(sorted(vocabulary.added, key=vocabulary.added.__getitem__))
    return encoding
