"""The two ways in which t2vz says no: wrong use, and failure.

The command line turns them into one line on stderr and an exit code: 2 for wrong use, 1 for failure. A library user
catches them like any ValueError or RuntimeError.
"""

from importlib import import_module
from types import ModuleType


class InputError(ValueError):
    """The caller asked for something that cannot be done: the message says what was seen, the rule, and what to do."""


class FailedError(RuntimeError):
    """The request was right, but something failed on the way: a full disk, no ffmpeg, a NaN in the latents."""


def library(name: str, what: str, extra: str = "lab") -> ModuleType:
    """The module `name` of a library that not everybody has. what: needs it, as "plots need"; extra: brings it.

    Raises InputError that says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(f"{what} {package}, which is not installed; run: pip install 't2vz[{extra}]'") from error
