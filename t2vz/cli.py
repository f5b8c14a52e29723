"""The command `t2vz`: parsing, one-line errors, exit codes (0 done, 1 failed, 2 misuse); the work is in commands/."""

import argparse
import os
import sys
from importlib import import_module
from inspect import cleandoc

from . import __version__
from .commands.arguments import COMMANDS, NEEDS
from .commands.flags import Parser
from .errors import FailedError, InputError, library

EXAMPLES = """examples:
  t2vz generate "a red ball on a green meadow"                     the embedded model, in seconds
  t2vz generate "a horse galloping" --weights v1-5-pruned-emaonly.safetensors --device cuda
  t2vz generate --from video.json                                  the same video again
  t2vz example                                                     draws example.mp4, to try what follows on
  t2vz control example.mp4 "a blue ball on the beach"              the same movement, another picture
  t2vz edit example.mp4 "make it snow"                             the same video, changed as it says
  t2vz explain "a red ball on a green meadow" --open               how a video is made, step by step
  t2vz ablate paper --prompts 2                                    the paper's ablation, a first look
  t2vz COMMAND --help                                              all about one command
"""
SHARED = ("generate", "control", "edit")  # those that torchrun's processes share (pipelines/ranks.py)
# CPU threads that wait for each other should soon sleep, not spin; torch reads this when it is imported. Measured with
# the embedded model on two cores: with one of them busy, 10 steps took 4.1 s in place of 11.7 s; with both idle, 50
# steps took 8.5 s in place of 6.3 s.
SPIN = "3000"
NO_TRAINING = "training is run from a checkout of the source: python -m training --help"


def build_parser() -> Parser:
    """The parser of `t2vz` and all its commands."""
    parser = Parser(
        prog="t2vz",
        description="Text2Video-Zero (arXiv 2303.13439): videos from a frozen text-to-image model.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"t2vz {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, add_arguments in COMMANDS.items():
        about, _, examples = cleandoc(add_arguments.__doc__ or "").partition("examples:")
        summary = about.partition(".\n")[0]
        add_arguments(commands.add_parser(name, help=summary, description=about, epilog=f"examples:{examples}"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. No error leaves a traceback unless T2VZ_DEBUG is set."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters shows "?", and no traceback
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["train"]:
            raise InputError(NO_TRAINING)
        _run(build_parser().parse_args(_join_negative(argv)))
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
    for package in NEEDS.get(args.command, ()):
        library(package, f"t2vz {args.command} needs")
    run = import_module(f".commands.{args.command}", __package__).run
    if args.command not in SHARED or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return run(args)
    from .pipelines.ranks import shared

    with shared() as share:
        if share.rank > 0:
            args.quiet, args.save_control = True, None
        run(args)


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
