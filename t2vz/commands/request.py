"""A request: the command line, completed by a run file and the checkpoint's own defaults."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import fields

from ..checkpoints import checkpoint_defaults
from ..errors import InputError
from ..pipelines.settings import Declarations
from .runfile import FILES, read_run, recorded

BELONGS = {"tokenizer": "weights", "controlnet": "with_"}  # where one is typed, the run file's other is not taken


class Request(argparse.Namespace):
    """A command line, completed and fixed: each flag as it was typed, else as in the run file, else as in arguments.py.

    settings: of the pipeline, in place of their flags; sides are None where nobody says them. own: the names of those
    that are the checkpoint's own defaults. run_file: the content of --from; {} without. typed: the names of the flags
    that were typed.
    """

    settings: Declarations
    own: tuple[str, ...]
    run_file: Mapping
    typed: frozenset[str]

    def __setattr__(self, name: str, value) -> None:
        """Raises AttributeError for what is there already."""
        if name in vars(self):
            raise AttributeError(f"a request is fixed; its {name} was {getattr(self, name)!r}")
        super().__setattr__(name, value)


def resolve(args: argparse.Namespace, settings: type[Declarations]) -> Request:
    """The request of a command line. settings: the pipeline's.

    Raises InputError for impossible settings, and for a run file that is none, or whose files are gone.
    """
    names = {one.name for one in fields(settings)} - set(settings.OF_THE_SOURCE)
    typed = {name: value for name, value in vars(args).items() if name in names or value not in (None, "auto")}
    from_ = getattr(args, "from_", None)
    run_file = read_run(from_, settings) if from_ else {}
    before = {name: value for name, value in recorded(run_file, settings).items() if BELONGS.get(name) not in typed}
    _check_files(from_, {name: value for name, value in before.items() if name not in typed})
    asked = vars(args) | before | typed
    if "prompt" not in asked:
        raise InputError(f"give a prompt{' after the video' * hasattr(args, 'video')}; --help has examples")
    given = {name: asked.pop(name) for name in names & asked.keys()}
    own = checkpoint_defaults(asked["weights"], edit=settings.TASK == "edit")
    checked = settings.resolve(given, own)
    if getattr(checked, "smooth_background", 0) == 0 and asked.get("masks"):
        if "masks" in typed:
            raise InputError("--masks are for background smoothing; add --smooth-background 0.6")
        asked["masks"] = None
    if "with_" in asked:
        asked["with_"] = asked["with_"] or [("edges", None)]
    asked["vae"] = None if asked["vae"] == "off" else asked["vae"]
    asked["lora"] = [one for one in asked["lora"] or [] if one[0] != "off"]
    by_checkpoint = tuple(name for name in own.get(settings.TASK, {}) if name not in given)
    return Request(**asked, settings=checked, own=by_checkpoint, run_file=run_file, typed=frozenset(typed))


def _check_files(run_file: str | None, asked: Mapping) -> None:
    """The files that come from the run file must still be where they were."""
    files = [(flag, asked[flag]) for flag in ("weights", "vae", "video") if flag in asked]
    for flag, path in [*files, *(("lora", path) for path, _ in asked.get("lora", ()))]:
        if not os.path.exists(path):
            place = "before the prompt" if flag == "video" else f"with --{flag}"
            raise InputError(f"--from {run_file}: its {FILES[flag]} {path} is gone; name where it is now {place}")
