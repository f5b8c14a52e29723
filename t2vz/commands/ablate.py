"""`t2vz ablate`: a study, from its TOML file to its report. What is done stays done: the same command goes on."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from .machine import add_model_arguments, choose_machine
from .output import say

HELP = "compare settings over prompts and seeds, with statistics and a report"
DESCRIPTION = """Run a study: every variant on every prompt and seed, measured, compared with a baseline, laid out in
one HTML file. STUDY is a .toml file or a built-in study: paper, attention, noise, delta-t, lambda. Each video has its
own folder and is found again: after Ctrl-C or a crash the same command goes on where it was, and a finished study costs
nothing. Several workers, also on other machines that see the same folder, may work on one study."""
EXAMPLES = """examples:
  t2vz ablate paper --prompts 2 --seeds 1            a first look: 16 videos, a few minutes
  t2vz ablate paper --workers 2                      the whole of it, two processes
  t2vz ablate mine.toml --dry-run                    what would be done
  t2vz ablate mine.toml --weights v1-5-pruned-emaonly.safetensors --clip openai/clip-vit-large-patch14 --device cuda
  torchrun --nnodes 4 --nproc-per-node 8 -m t2vz.cli ablate mine.toml --out /shared/mine    a worker on every GPU
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of ablate's arguments."""
    parser.add_argument("study", metavar="STUDY", help="a .toml file, or: paper, attention, noise, delta-t, lambda")
    add = parser.add_argument_group("the study").add_argument
    add("-o", "--out", metavar="DIR", help="where runs, tables and report go (ablate-NAME)")
    add("--prompts", type=int, metavar="N", help="only the study's first N prompts (all)")
    add("--seeds", type=int, metavar="N", help="only its first N seeds (all)")
    add(
        "--clip",
        metavar="PATH",
        help="the CLIP that measures: a folder, or a hub id such as "
        "openai/clip-vit-large-patch14 (the embedded one: it knows only the picture world)",
    )
    add("--controlnet", metavar="PATH", help="for control studies: a folder or a .safetensors file (the embedded one)")
    add("--report", action=argparse.BooleanOptionalAction, default=True, help="write report.html (yes)")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("-q", "--quiet", action="store_true", help="no progress, no notes")
    add = parser.add_argument_group("workers").add_argument
    add(
        "-w",
        "--workers",
        type=int,
        metavar="N",
        help="processes on this machine (one for each core, at most 4, with "
        "the embedded model on a CPU; else 1); under torchrun every rank is one",
    )
    add(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="CPU threads of each worker; with 1 the results do not "
        "depend on the number of workers to the last digit (1)",
    )
    add("--worker", action="store_true", help=argparse.SUPPRESS)  # how the command starts its workers
    add_model_arguments(parser, repeats=False)


def run(args: argparse.Namespace) -> None:
    """Check everything, let the workers work, then write tables and report."""
    from ..lab.make import keyed_runs
    from ..lab.results import collect, write_results
    from ..lab.sources import read_sources
    from ..lab.study import load_study
    from ..lab.workers import open_folder

    study = load_study(args.study).part(args.prompts, args.seeds)
    _check(args)
    command = _command(args)  # before a model is loaded, which settles what "auto" is
    sources = read_sources(study, _draw)
    runs = keyed_runs(study, _model(args, study), sources)
    out = Path(args.out or f"ablate-{study.name}")
    if args.dry_run:
        return _dry_run(study, runs, out)
    store = open_folder(out, study)
    rank = int(os.environ.get("RANK", 0))
    _work(args, study, store, runs, sources)
    if args.worker or rank > 0:
        return
    results = collect(study, [(run, store.read(key)) for key, run in runs])
    made = _made(args, study, results, command)
    write_results(results, out, made)
    print(
        f"{out}: {len(runs)} videos of {len(study.variants)} variants; tables in results.csv, summary.csv and "
        "results.json"
    )
    if args.report:
        from ..lab.report import write_report

        write_report(results, made, store, [key for key, _ in runs], out / "report.html")
        print(f"{out / 'report.html'}: open it in a browser")


def _check(args: argparse.Namespace) -> None:
    """What can be wrong before anything is loaded."""
    from ..errors import InputError
    from ..lab.workers import need_libraries
    from ..video.ffmpeg import find_ffmpeg

    for name in ("workers", "threads"):
        count = getattr(args, name)
        if count is not None and count < 1:
            raise InputError(f"--{name} {count}: 1 or more is needed")
    need_libraries(["scipy", "matplotlib", "jinja2"] if args.report else ["scipy"])
    find_ffmpeg()


def _draw(words: str, side: int, frames: int):
    """A scene of the picture world that moves, for "example: …" among a study's videos."""
    from ..world import paint_clip, scene_from_words

    return paint_clip(scene_from_words(words or "a red ball on a green meadow", seed=0), side, frames)[0]


def _model(args: argparse.Namespace, study) -> dict:
    """What decides a result besides study and code: the files' contents and the type, not their names and places."""
    from ..checkpoints import checkpoint_hash, find_tokenizer
    from ..lab.hashes import content_hash
    from ..model import edit_unet, embedded_controlnet, embedded_weights, weights_hash

    args.vae = None if args.vae == "off" else args.vae
    args.lora = [lora for lora in args.lora or [] if lora[0] != "off"]
    _choose_device(args)
    _, dtype = choose_machine(args.device, args.dtype)
    unet = edit_unet(args.weights) if study.task == "edit" else None
    controlnet = (args.controlnet or embedded_controlnet()) if study.task == "control" else None
    clip = args.clip or embedded_weights() / "clip"
    weights = args.weights or embedded_weights()
    hashed = weights_hash(weights, unet)  # first: it says so if there are no such weights
    tokenizer = find_tokenizer(weights, args.tokenizer)
    return {
        "weights": hashed,
        "tokenizer": content_hash(tokenizer) if tokenizer else None,
        "vae": checkpoint_hash(args.vae) if args.vae else None,
        "loras": [[checkpoint_hash(path), weight] for path, weight in args.lora],
        "controlnet": checkpoint_hash(Path(controlnet)) if controlnet else None,
        "clip": content_hash(clip) if Path(clip).exists() else str(clip),
        "dtype": str(dtype).removeprefix("torch."),
    }


def _choose_device(args: argparse.Namespace) -> None:
    """Under torchrun every rank takes a GPU of its own."""
    import torch

    if "LOCAL_RANK" in os.environ and args.device in ("auto", "cuda") and torch.cuda.is_available():
        args.device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"


def _dry_run(study, runs: list, out: Path) -> None:
    """Say what would be done, and how much of it is done."""
    from ..lab.runs import RECORD

    records = [out / "runs" / key / RECORD for key, _ in runs]
    done = sum(record.exists() for record in records)
    print(
        f"{study.title}: {len(runs)} videos = {len(study.variants)} variants × {len(study.prompts)} prompts × "
        f"{len(study.seeds)} seeds" + (f" × {len(study.videos)} videos" if len(study.videos) > 1 else "")
    )
    for variant in study.variants:
        print(f"  {variant.name}" + ("   (baseline)" if variant.name == study.baseline else ""))
    print(f"{done} are in {out} already, {len(runs) - done} would be made")


def _work(args: argparse.Namespace, study, store, runs: list, sources: dict) -> None:
    """All runs, by this process or by several that it starts."""
    from ..lab.workers import Meter, supervise

    keys = [key for key, _ in runs]
    left = len(runs) - store.count(keys)
    if left:
        workers = _count_workers(args, left)
        say(
            args,
            f"{study.title}: {left} of {len(runs)} videos to make, "
            f"{workers} worker{'s' * (workers > 1)} on {_where(args)}",
        )
        with Meter(store, keys, args.quiet or os.environ.get("RANK", "0") != "0") as meter:
            if workers == 1:
                _work_here(args, study, store, runs, sources, meter)
            else:
                supervise(_worker_command(args), workers, meter)
    if not args.worker and store.count(keys) == len(keys):
        store.tidy(keys)


def _worker_command(args: argparse.Namespace) -> list[str]:
    """The command line of one worker: this one's, for the same study, folder, model and machine."""
    names = (
        "out",
        "prompts",
        "seeds",
        "clip",
        "controlnet",
        "threads",
        "weights",
        "tokenizer",
        "vae",
        "device",
        "dtype",
    )
    flags = [f"--{name}={getattr(args, name)}" for name in names if getattr(args, name) is not None]
    flags += [f"--lora={path}:{weight}" for path, weight in args.lora]
    return [sys.executable, "-m", "t2vz.cli", "ablate", args.study, *flags, "--worker", "--quiet"]


def _work_here(args: argparse.Namespace, study, store, runs: list, sources: dict, meter) -> None:
    """This process is a worker. One that a command started stops, after the run under way, if that command is gone."""
    import torch

    from ..lab.make import Maker
    from ..lab.runs import work
    from ..metrics import load_clip
    from ..model import embedded_controlnet, load_controlnet
    from .machine import load_model

    parent, threads = os.getppid(), torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        sd = load_model(args, **({"edit": True} if study.task == "edit" else {}))
        controlnet = None
        if study.task == "control":
            path = args.controlnet or embedded_controlnet()
            controlnet = load_controlnet(path, sd.dtype, sd.device, sd.unet)
        maker = Maker(study, sd, load_clip(args.clip, sd.device), sources, controlnet, meter)
        work(store, runs, maker, lambda: not args.worker or os.getppid() == parent)
    finally:
        torch.set_num_threads(threads)


def _count_workers(args: argparse.Namespace, left: int) -> int:
    """--workers; or one per core if the model is small and there is no GPU to share. Under torchrun a rank is one."""
    from ..lab.workers import MOST_WORKERS, usable_cores

    if args.worker or "RANK" in os.environ:
        return 1
    small = args.weights is None and choose_machine(args.device, args.dtype)[0].type == "cpu"
    return min(left, args.workers or (min(usable_cores() // args.threads or 1, MOST_WORKERS) if small else 1))


def _where(args: argparse.Namespace) -> str:
    device, dtype = choose_machine(args.device, args.dtype)
    return f"{device}, {str(dtype).removeprefix('torch.')}"


def _command(args: argparse.Namespace) -> str:
    """The command line that does the same study: all that was typed and decides a result, as it was typed."""
    words = ["t2vz", "ablate", args.study]
    for name in ("prompts", "seeds", "clip", "controlnet", "weights", "tokenizer", "vae", "dtype"):
        value = getattr(args, name)
        if value is not None and (name, value) != ("dtype", "auto"):
            words += [f"--{name}", str(value)]
    for path, weight in args.lora or []:
        words += ["--lora", f"{path}:{weight}"]
    return shlex.join(words)


def _made(args: argparse.Namespace, study, results, command: str) -> dict:
    """How the results came about, for results.json and the report; paths as they were typed."""
    import platform
    from datetime import date

    import torch
    import transformers

    from .. import __version__

    model = _model(args, study)
    return {
        "command": command,
        "weights": args.weights or "embedded",
        "clip": args.clip or "embedded",
        "model": model,
        "device": str(choose_machine(args.device, args.dtype)[0]),
        "date": date.today().isoformat(),
        "seconds": round(sum(record["seconds"] for _, record in results.runs), 1),
        "versions": {
            "t2vz": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }
