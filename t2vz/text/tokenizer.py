"""Words to token numbers: CLIP's byte-pair encoding, read from the checkpoint's own vocab.json and merges.txt.

A prompt becomes exactly 77 numbers: start, at most 75 of text, end, and end again as padding (OpenAI's own tokenizer
pads with 0; Stable Diffusion was trained with the end token, and results differ).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from ..errors import InputError


@dataclass(frozen=True)
class Tokens:
    """One prompt's tokens: ids (length,), how many of them are text, and the words that did not fit."""

    ids: Tensor
    used: int
    cut: str


class Tokenizer:
    """CLIP's tokenizer: a folder with vocab.json and merges.txt, or a name on the Hugging Face hub."""

    def __init__(self, source: str | Path, length: int = 77):
        self._clip = CLIPTokenizer.from_pretrained(str(source))
        self.length = length
        self.start = self._clip.bos_token_id
        self.end = self._clip.eos_token_id
        self.size = len(self._clip)

    def text_ids(self, prompt: str) -> list[int]:
        """The numbers of the text alone, however long, without start and end."""
        return self._clip(prompt, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def encode(self, prompt: str) -> Tokens:
        """A prompt as the text tower reads it; what is over the limit is cut and named."""
        text = self.text_ids(prompt)
        room = self.length - 2
        kept, cut = text[:room], text[room:]
        ids = [self.start, *kept, self.end]
        ids += [self.end] * (self.length - len(ids))
        return Tokens(torch.tensor(ids, device="cpu"), len(kept), self._clip.decode(cut).strip() if cut else "")

    def texts(self, prompt: str) -> list[str]:
        """The prompt's tokens as text, one for each of those that are read: position i + 1 among the 77 is texts[i]."""
        return [self._clip.decode([number]).strip() for number in self.text_ids(prompt)[: self.length - 2]]

    def positions(self, prompt: str, words: list[str]) -> list[int]:
        """Where among the 77 the given words of a prompt stand (all their tokens, every occurrence).

        Raises InputError for a word that the prompt does not contain, or only in the part that was cut.
        """
        text = self.text_ids(prompt)[: self.length - 2]
        tokens = self._clip.convert_ids_to_tokens(text)
        begins_word = [i == 0 or tokens[i - 1].endswith("</w>") for i in range(len(text))]  # CLIP marks where words end
        found = []
        for word in words:
            ids = self.text_ids(word)
            starts = [i for i in range(len(text)) if ids and text[i : i + len(ids)] == ids and begins_word[i]]
            if not starts:
                raise InputError(
                    f'the word "{word}" does not stand in the prompt "{prompt}" (or only past its first '
                    f"{self.length - 2} tokens)"
                )
            found += [1 + start + i for start in starts for i in range(len(ids))]  # 1: the start token
        return sorted(set(found))
