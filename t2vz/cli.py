"""The command `t2vz`: parsing, one-line errors, exit codes (0 done, 1 failed, 2 misuse); the work is in commands/."""

import argparse
import os
import sys
from importlib import import_module

from . import __version__
from .commands.flags import Parser
from .errors import FailedError, InputError

EXAMPLES = """examples:
  t2vz generate "a red ball on a green meadow"                     the embedded model, in seconds
  t2vz generate "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --device cuda
  t2vz generate --from video.json                                  the same video again
  t2vz example                                                     draws example.mp4, to try what follows on
  t2vz control example.mp4 "a blue ball on the beach"              the same movement, another picture
  t2vz edit example.mp4 "make it snow"                             the same video, changed as it says
  t2vz explain "a red ball on a green meadow" --open               how a video is made, step by step
  t2vz ablate paper --prompts 2 --seeds 1                          the paper's ablation, a first look
  t2vz COMMAND --help                                              all about one command
"""
COMMANDS = {  # each is a module of commands/
    "generate": "make a video from a prompt",
    "control": "make a video that follows another one's edges, poses or depth",
    "edit": "change a video by an instruction",
    "tune": "tune the model on one video, to make it again from another prompt (Tune-A-Video)",
    "example": "draw a small video to try control and edit on",
    "ablate": "compare settings over prompts and seeds, with statistics and a report",
    "explain": "a page that shows how a video is made, step by step",
    "app": "a page to play with, in the browser",
    "inspect": "tell what a checkpoint file is, its sizes, and what is missing",
    "score": "measure videos, compare sets of them: CLIP score, consistency, motion, background",
    "weights": "export a checkpoint: as a single file, as a folder, with LoRAs merged",
}
SHARED = ("generate", "control", "edit")  # those that torchrun's processes share (pipelines/ranks.py)
NO_TRAINING = "training is run from a checkout of the source: python -m training --help"


def _let_waiting_threads_sleep() -> None:
    """CPU threads that wait for each other should soon sleep, not spin; torch reads this when it is imported.

    Measured with the embedded model on two cores: with one of them busy, 10 steps took 4.1 s in place of 11.7 s; with
    both idle, 50 steps took 8.5 s in place of 6.3 s.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def build_parser(only: str | None = None) -> Parser:
    """The parser of `t2vz`. only: the command whose module is imported, and whose arguments it knows; None: all."""
    parser = Parser(
        prog="t2vz",
        description="Text2Video-Zero (arXiv 2303.13439): videos from a frozen text-to-image model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"t2vz {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, words in COMMANDS.items():
        module = import_module(f".commands.{name}", __package__) if only in (None, name) else None
        one = commands.add_parser(
            name,
            help=words,
            description=module and module.DESCRIPTION,
            epilog=module and module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if module:
            module.add_arguments(one)
            one.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. No error leaves a traceback unless T2VZ_DEBUG is set."""
    _let_waiting_threads_sleep()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters shows "?", and no traceback
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["train"]:
            raise InputError(NO_TRAINING)
        _run(build_parser(only=argv[0] if argv else "").parse_args(_join_negative(argv)))
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # who read our output has gone: t2vz … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's last flush says nothing
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("T2VZ_DEBUG"):
            raise
        print(f"t2vz: {' '.join(_message(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1


def _run(args: argparse.Namespace) -> None:
    """Run the command. Under torchrun several processes make one video; the first of them speaks and writes."""
    if args.command not in SHARED or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        args.run(args)
        return
    from .pipelines.ranks import shared

    with shared() as share:
        if share.rank > 0:
            args.quiet, args.save_control = True, None
        args.run(args)


def _join_negative(argv: list[str]) -> list[str]:
    """["--motion", "-12,0"] -> ["--motion=-12,0"]: argparse would take "-12,0" for an option."""
    joined = []
    for word in argv:
        if joined and joined[-1] == "--motion" and word[:1] == "-" and word[1:2].isdigit():
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _message(error: BaseException) -> str:
    """What to say of an error; of those nobody raised on purpose, running out of memory is the usual one."""
    text = str(error) or type(error).__name__
    if isinstance(error, (InputError, FailedError)):
        return text
    if isinstance(error, KeyboardInterrupt):
        return "stopped; nothing was left half-written"
    if "out of memory" in text.lower() or "can't allocate memory" in text.lower() or isinstance(error, MemoryError):
        return "out of memory; use --chunk 1, a smaller --height and --width, or --dtype bfloat16"
    return f"{type(error).__name__}: {text} (set T2VZ_DEBUG=1 to see where)"


if __name__ == "__main__":
    sys.exit(main())
