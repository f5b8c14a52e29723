"""The two ways in which t2vz says no: wrong use, and failure.

The command line turns them into one line on stderr and an exit code: 2 for wrong use, 1 for failure. A library user
catches them like any ValueError or RuntimeError.
"""


class InputError(ValueError):
    """The caller asked for something that cannot be done: the message says what was seen, the rule, and what to do."""


class FailedError(RuntimeError):
    """The request was right, but something failed on the way: a full disk, no ffmpeg, a NaN in the latents."""
