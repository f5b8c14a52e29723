"""What a checkpoint carries beside its networks, where other programs pass over it. Stable Diffusion carries nothing.

words     the words that a small model knows, in groups that are named for people, so that a prompt outside its world
          can be answered with a note: {"things": ["ball", …], "colours": […], "others": ["a", "on", …]}
defaults  what it was made for, used where a setting is left out: for each pipeline the settings that differ from the
          paper's, {"generate": {"steps": 25, "guidance_scale": 4.0, "t_prime": 521, "t": 561}, "edit": {…}}. They are
          checked when they are used (pipelines/settings.py)
inverted  the video that it was tuned on, inverted (E17): pipelines/tune.py makes it, initial_noise "inverted" starts
          from it

Words and defaults are NAME.json in a folder, or "t2vz.NAME" in a single file's header; inverted.safetensors is in a
folder.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..text import words_of
from .read import HEADER, find_path, options_of, read_bytes, read_header, read_tensors

WORDS_FILE, DEFAULTS_FILE, INVERTED_FILE = "words.json", "defaults.json", "inverted.safetensors"
INVERTED = "inverted"  # the tensor's name in its file
OTHERS = "others"  # the group of words that a note does not recite
SHOWN = 6  # words of each group that a note names

Words = Mapping[str, list[str]]
Defaults = Mapping[str, Mapping[str, object]]  # pipeline -> setting -> value


def read_words(path: str | Path) -> Words | None:
    """The words of a checkpoint (folder or single file), or None if it names none. Raises InputError if not so."""
    return _read(path, "words", lambda g: isinstance(g, list) and {*map(type, g)} <= {str}, "{group: [words]}")


def read_defaults(path: str | Path) -> Defaults:
    """The defaults of a checkpoint (folder or single file); {} if it says none. Raises InputError if not so."""
    return _read(path, "defaults", lambda settings: isinstance(settings, dict), '{"generate": {"steps": 25}}') or {}


def _read(path: str | Path, name: str, fits: Callable[[Any], bool], like: str) -> Any:
    """The dictionary called `name`, each of whose values `fits`; None if there is none."""
    path = find_path(path)
    where, text = f"{path}, header {HEADER}{name}", None
    if not path.is_dir():
        text = read_header(path)[1].get(HEADER + name)
    elif (file := path / f"{name}.json").is_file():
        where, text = str(file), read_bytes(file)
    if text is None:
        return None
    found = options_of(text, where)
    if not all(map(fits, found.values())):
        raise InputError(f"{where}: its {name} are not {like}; copy the file again, or mend it")
    return found


def unknown_words(words: Words, prompt: str) -> list[str]:
    """The prompt's words that are in no group, each once, in the prompt's order."""
    known = {word for group in words.values() for word in group}
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in known]


def describe_words(words: Words) -> str:
    """A few words of each group: "things (ball, boat, …), colours (red, …)"."""
    groups = {name: group for name, group in words.items() if name != OTHERS and group}
    return ", ".join(
        f"{name} ({', '.join(group[:SHOWN])}{', …' * (len(group) > SHOWN)})" for name, group in groups.items()
    )


def read_inverted(path: str | Path) -> Tensor | None:
    """The latents (m, c, h, w) of a tuned checkpoint's folder, float32; None for any other checkpoint."""
    file = Path(path) / INVERTED_FILE
    if not file.is_file():
        return None
    entries, _ = read_header(file)
    if list(entries) != [INVERTED] or len(entries[INVERTED].shape) != 4:
        raise InputError(f"{file}: should hold one tensor, {INVERTED} (m, c, h, w); tune again")
    return dict(read_tensors(entries, torch.float32))[INVERTED]
