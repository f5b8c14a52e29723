"""The words a model knows: a list that a small model carries, so that prompts outside its world can be answered with a
note. Stable Diffusion carries none: it has seen all of the web.

words.json in a checkpoint folder, or "t2vz.words" in a single file's header, is a dictionary of lists. The groups are
named for people: {"things": ["ball", …], "colours": […], "places": […], "others": ["a", "on", …]}.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..text import words_of
from .read import HEADER, read_attached

WORDS_FILE = "words.json"
WORDS_HEADER = HEADER + "words"
OTHERS = "others"  # the group that a note does not recite
SHOWN = 6  # words of each group that a note names

Words = Mapping[str, list[str]]


def read_words(path: str | Path) -> Words | None:
    """The words of a checkpoint (folder or single file), or None if it names none."""
    text, where = read_attached(path, "words")
    if text is None:
        return None
    try:
        words = json.loads(text)
        if not all(isinstance(word, str) for group in words.values() for word in group):
            raise TypeError("not words")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: its list of words is not {{group: [words]}}; copy the file again") from error
    return words


def unknown_words(words: Words, prompt: str) -> list[str]:
    """The prompt's words that are in no group, each once, in the prompt's order."""
    known = {word for group in words.values() for word in group}
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in known]


def describe_words(words: Words) -> str:
    """A few words of each group: "things (ball, boat, …), colours (red, …)"."""
    groups = {name: group for name, group in words.items() if name != OTHERS and group}
    return ", ".join(
        f"{name} ({', '.join(group[:SHOWN])}{', …' if len(group) > SHOWN else ''})" for name, group in groups.items()
    )
