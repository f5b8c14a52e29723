"""A request: the command line, completed by a run file and the checkpoint's own defaults. Made once, then fixed."""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from ..checkpoints import checkpoint_defaults
from ..errors import InputError
from ..pipelines.settings import Declarations
from .flags import OF_THE_SOURCE
from .runfile import FILES, read_run, recorded

BELONGS = {"tokenizer": "weights", "controlnet": "with_"}  # where one is typed, the run file's other is not taken


@dataclass(frozen=True)
class Request:
    """What generate, control, edit and tune were asked for: each flag as it was typed, else as the run file has it.

    settings: of the pipeline; sides are None where nobody says them. own: those that are the checkpoint's own defaults.
    run_file: the content of --from; {} without. typed: the names of the flags that were typed.
    """

    settings: Declarations
    own: tuple[str, ...]
    run_file: Mapping
    typed: frozenset[str]
    from_: str | None = None
    weights: str | None = None  # None: the embedded model
    tokenizer: str | None = None
    vae: str | None = None
    lora: tuple[tuple[str, float], ...] = ()  # (path, weight)
    device: str = "auto"
    dtype: str = "auto"
    out: str | None = None
    sheet: bool = False
    latents: bool = False
    overwrite: bool = False
    quiet: bool = False
    progress: Callable | None = None  # in place of a bar; this and the next: of t2vz app
    load: Callable | None = None  # in place of StableDiffusion.load
    masks: str | None = None
    motion_from: str | None = None  # this and the next: of generate
    dense: bool | None = None
    video: str | None = None  # this and what follows: of control and edit
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    resolution: int | None = None
    with_: tuple[tuple[str, str | None], ...] = (("edges", None),)  # (kind, video); this and what follows: of control
    controlnet: tuple[str | None, ...] = ()
    edge_thresholds: tuple[float, float] | None = None
    depth_model: str | None = None
    pose_model: str | None = None
    save_control: str | None = None


def resolve(args: argparse.Namespace, settings: type[Declarations]) -> Request:
    """The request of a command line. settings: the pipeline's.

    Raises InputError for impossible settings, and for a run file that is none, or whose files are gone.
    """
    names = {one.name for one in fields(settings)} - set(OF_THE_SOURCE if hasattr(args, "video") else ())
    flags = {one.name for one in fields(Request)}
    typed = {name: value for name, value in vars(args).items() if name in names or value not in (None, "auto")}
    from_ = getattr(args, "from_", None)
    run_file = read_run(from_, settings) if from_ else {}
    before = {name: value for name, value in recorded(run_file).items() if BELONGS.get(name) not in typed}
    _check_files(from_, {name: value for name, value in before.items() if name not in typed})
    asked = before | typed
    if "prompt" not in asked:
        raise InputError(f"give a prompt{' after the video' * hasattr(args, 'video')}; --help has examples")
    given = {name: value for name, value in asked.items() if name in names}
    own = checkpoint_defaults(asked.get("weights"), edit=settings.TASK == "edit")
    checked = settings.resolve(given, own)
    if getattr(checked, "smooth_background", 0) == 0:
        if "masks" in typed:
            raise InputError("--masks are for background smoothing; add --smooth-background 0.6")
        asked.pop("masks", None)
    asked = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items() if name in flags}
    asked["vae"] = None if asked.get("vae") == "off" else asked.get("vae")
    asked["lora"] = tuple(one for one in asked.get("lora", ()) if one[0] != "off")
    by_checkpoint = tuple(name for name in own.get(settings.TASK, {}) if name not in given)
    return Request(checked, by_checkpoint, run_file, frozenset(typed), **asked)


def _check_files(run_file: str | None, asked: Mapping) -> None:
    """The files that come from the run file must still be where they were."""
    files = [(flag, asked[flag]) for flag in ("weights", "vae", "video") if flag in asked]
    for flag, path in [*files, *(("lora", path) for path, _ in asked.get("lora", ()))]:
        if not os.path.exists(path):
            place = "before the prompt" if flag == "video" else f"with --{flag}"
            raise InputError(f"--from {run_file}: its {FILES[flag]} {path} is gone; name where it is now {place}")
