"""`t2vz ablate`: a study, from its TOML file to its report. What is done stays done: the same command goes on."""

import argparse

from ..errors import InputError
from .flags import add_model, adder, path
from .output import check_installed

DESCRIPTION = """Run a study: every variant on every prompt and seed, measured, compared with a baseline, laid out in
one HTML file. STUDY is a .toml file or a built-in study: paper, attention, noise, delta-t, lambda, tune-a-video. Each
video has its own folder and is found again: after Ctrl-C or a crash the same command goes on where it was, and a
finished study costs nothing. Several commands, also on other machines that see the same folder, may work on one
study."""
EXAMPLES = """examples:
  t2vz ablate paper --prompts 2                      a first look: 16 videos, two minutes
  t2vz ablate paper --workers 2                      the whole of it, two processes
  t2vz ablate mine.toml --dry-run                    what would be done
  t2vz ablate mine.toml --weights v1-5-pruned-emaonly.safetensors --clip openai/clip-vit-large-patch14 --device cuda
  t2vz ablate mine.toml --out /shared/mine --workers 8 --executor submitit:slurm_partition=gpu,gpus_per_node=1
  torchrun --nnodes 4 --nproc-per-node 8 -m t2vz.cli ablate mine.toml --out /shared/mine    a worker on every GPU
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of ablate's arguments."""
    adder(parser)("study", "STUDY", "a .toml file, or: paper, attention, noise, delta-t, lambda, tune-a-video", path)
    add = adder(parser, "the study")
    add("-o --out", "DIR", "where runs, tables and report go (ablate-NAME)", path)
    add("--prompts", "N", "only the study's first N prompts (all)", int)
    add("--seeds", "N", "only its first N seeds (all)", int)
    words = "a folder, or a hub id such as openai/clip-vit-large-patch14"
    add("--clip", "PATH", f"the CLIP that measures: {words} (the embedded one: it knows only the picture world)", path)
    add("--controlnet", "PATH", "for control studies: a folder or a .safetensors file (the embedded one)", path)
    add("--report", "", "write report.html (yes)", action=argparse.BooleanOptionalAction, default=True)
    add("--dry-run", "", "say what would be done, and do nothing")
    add("-q --quiet", "", "no progress, no notes")
    add = adder(parser, "workers")
    words = (
        "processes on this machine (one for each core, at most 4, with the embedded model on a CPU; else 1); under "
        "torchrun every rank is one"
    )
    add("-w --workers", "N", words, int)
    words = (
        "CPU threads of each worker; with 1 the results do not depend on the number of workers to the last digit (1)"
    )
    add("--threads", "N", words, int, default=1)
    words = (
        "where workers run: processes of this machine, dask (or dask:tcp://HOST:8786, a running scheduler), "
        "submitit (Slurm jobs; parameters after a colon: submitit:slurm_partition=gpu) (processes)"
    )
    add("--executor", "WHERE", words, default="processes")
    add_model(parser, repeats=False)


def run(args: argparse.Namespace) -> None:
    """Check what can be checked without the study, then leave it to studying.py, which imports torch."""
    for name in ("workers", "threads"):
        count = getattr(args, name)
        if count is not None and count < 1:
            raise InputError(f"--{name} {count}: 1 or more is needed")
    check_installed("a study", "lab", "filelock", "scipy", *(["matplotlib", "jinja2"] if args.report else []))
    from .studying import make_study

    make_study(args)
