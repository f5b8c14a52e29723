"""`t2vz ablate`: a study, from its TOML file to its report. What is done stays done: the same command goes on."""

import argparse
import os
import shlex
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from pathlib import Path

from .flags import add_model
from .machine import choose_machine
from .output import say

DESCRIPTION = """Run a study: every variant on every prompt and seed, measured, compared with a baseline, laid out in
one HTML file. STUDY is a .toml file or a built-in study: paper, attention, noise, delta-t, lambda. Each video has its
own folder and is found again: after Ctrl-C or a crash the same command goes on where it was, and a finished study costs
nothing. Several commands, also on other machines that see the same folder, may work on one study."""
MARK = "study.json"  # in the folder of a study
MOST_WORKERS = 4  # unless more are asked for: each holds the model once
EXAMPLES = """examples:
  t2vz ablate paper --prompts 2 --seeds 1            a first look: 16 videos, a few minutes
  t2vz ablate paper --workers 2                      the whole of it, two processes
  t2vz ablate mine.toml --dry-run                    what would be done
  t2vz ablate mine.toml --weights v1-5-pruned-emaonly.safetensors --clip openai/clip-vit-large-patch14 --device cuda
  t2vz ablate mine.toml --out /shared/mine --workers 8 --executor submitit:slurm_partition=gpu,gpus_per_node=1
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
    add(
        "--executor",
        default="processes",
        metavar="WHERE",
        help="where workers run: processes of this machine, dask (or dask:tcp://HOST:8786, a running scheduler), "
        "submitit (Slurm jobs; parameters after a colon: submitit:slurm_partition=gpu) (processes)",
    )
    add_model(parser, repeats=False)


def run(args: argparse.Namespace) -> None:
    """Check everything, have the runs made, then write tables and report."""
    from ..lab.execute import executor_of
    from ..lab.results import collect, write_results

    _check(args)
    command = _command(args)  # before a model is loaded, which settles what "auto" is
    job = Job(args)
    out = job.out
    open_executor, shares = executor_of(args.executor, out / "jobs")
    if args.dry_run:
        return _dry_run(job)
    store = open_folder(out, job.study)
    _perform(args, job, store, open_executor, shares)
    if _rank() > 0:
        return
    results = collect(job.study, [(trial, store.read(key)) for key, trial in job.trials])
    made = _made(args, job, results, command)
    write_results(results, out, made)
    print(
        f"{out}: {len(job.trials)} videos of {len(job.study.variants)} variants; tables in results.csv, summary.csv "
        "and results.json"
    )
    if args.report:
        from ..lab.report import write_report

        write_report(results, made, store, [key for key, _ in job.trials], out / "report.html")
        print(f"{out / 'report.html'}: open it in a browser")


def _check(args: argparse.Namespace) -> None:
    """What can be wrong before anything is loaded, and before hours of work."""
    from importlib.util import find_spec

    from ..errors import InputError
    from ..video.ffmpeg import find_ffmpeg

    for name in ("workers", "threads"):
        count = getattr(args, name)
        if count is not None and count < 1:
            raise InputError(f"--{name} {count}: 1 or more is needed")
    for name in ["filelock", "scipy", *(["matplotlib", "jinja2"] if args.report else [])]:
        if find_spec(name) is None:
            raise InputError(f"a study needs {name}; pip install 't2vz[lab]'")
    find_ffmpeg()


class Job:
    """A study with all that decides its runs. The model is loaded when the first run is made.

    args: the command line's. progress: a pipeline's.
    """

    def __init__(self, args: argparse.Namespace):
        from ..checkpoints import edit_unet, embedded_weights, read_defaults
        from ..lab.make import keyed_trials
        from ..lab.sources import read_sources
        from ..lab.study import load_study

        self.args, self.progress = args, None
        self.study = load_study(args.study).part(args.prompts, args.seeds)
        self.out = Path(args.out or f"ablate-{self.study.name}")
        self.sources = read_sources(self.study)
        self.model = _model(args, self.study)
        unet = edit_unet(args.weights) if self.study.task == "edit" else None
        defaults = read_defaults(unet.parent if unet else args.weights or embedded_weights())
        self.trials = keyed_trials(self.study, self.model, self.sources, defaults)

    @cached_property
    def maker(self):
        """What makes one run, with the model loaded."""
        from ..checkpoints import embedded_controlnet
        from ..lab.make import Maker
        from ..metrics import load_clip
        from ..model import load_controlnet
        from .machine import load_model

        sd = load_model(self.args, **({"edit": True} if self.study.task == "edit" else {}))
        controlnet = None
        if self.study.task == "control":
            path = self.args.controlnet or embedded_controlnet()
            controlnet = load_controlnet(path, sd.dtype, sd.device, sd.unet)
        clip = load_clip(self.args.clip, sd.device)
        return Maker(self.study, sd, clip, self.sources, controlnet, self.progress)

    def work(self, keys: list[str]) -> None:
        """Make those of these runs that nobody has made and nobody is making."""
        import torch

        from ..errors import FailedError
        from ..lab.runs import RunFolder

        store, trials, threads = RunFolder(self.out), dict(self.trials), torch.get_num_threads()
        torch.set_num_threads(self.args.threads)
        try:
            for key in keys:
                if key not in trials:
                    raise FailedError(
                        "a worker would make other videos than the command that started it: its t2vz, weights, "
                        "source videos or number type differ; give all machines the same, and a --dtype"
                    )
                if not store.finished(key):  # no model is loaded for nothing
                    store.make(key, lambda folder, key=key: self.maker(trials[key], folder))
        finally:
            torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _job_of(command: tuple[str, ...]) -> Job:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return Job(parser.parse_args(command))


def work_elsewhere(command: tuple[str, ...], keys: list[str]) -> None:
    """What a worker does: `Job.work` of a command line. The job, and its model, is kept for the next call."""
    _job_of(command).work(keys)


def open_folder(out: Path, study):
    """The study's folder, made if need be. Raises InputError for one that holds another study, or other things."""
    import json

    from .. import __version__
    from ..errors import InputError
    from ..files import write_json
    from ..lab.runs import RunFolder

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, and a study needs a folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        name = None
        with suppress(OSError, ValueError, AttributeError):
            name = json.loads((out / MARK).read_text(encoding="utf-8")).get("study")
        if name != study.name:
            holds = "other files" if name is None else f'the study "{name}"'
            raise InputError(f"the folder {out} holds {holds}; choose another --out")
    write_json(out / MARK, {"study": study.name, "title": study.title, "t2vz": __version__})
    return RunFolder(out)


def _model(args: argparse.Namespace, study) -> dict:
    """What decides a result besides study and code: the files' contents and the type, not their names and places."""
    from ..checkpoints import checkpoint_hash, edit_unet, embedded_controlnet, embedded_weights, find_tokenizer
    from ..lab.hashes import content_hash

    args.vae = None if args.vae == "off" else args.vae
    args.lora = [lora for lora in args.lora or [] if lora[0] != "off"]
    _choose_device(args)
    _, dtype = choose_machine(args.device, args.dtype)
    unet = edit_unet(args.weights) if study.task == "edit" else None
    controlnet = (args.controlnet or embedded_controlnet()) if study.task == "control" else None
    clip = args.clip or embedded_weights() / "clip"
    weights = args.weights or embedded_weights()
    hashed = checkpoint_hash(*filter(None, (weights, unet)))  # first: it says so if there are no such weights
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


def _dry_run(job: Job) -> None:
    """Say what would be done, and how much of it is done."""
    from ..lab.runs import RECORD

    study, out = job.study, job.out
    done = sum((out / "runs" / key / RECORD).exists() for key, _ in job.trials)
    print(
        f"{study.title}: {len(job.trials)} videos = {len(study.variants)} variants × {len(study.prompts)} prompts × "
        f"{len(study.seeds)} seeds" + (f" × {len(study.videos)} videos" if len(study.videos) > 1 else "")
    )
    for variant in study.variants:
        print(f"  {variant.name}" + ("   (baseline)" if variant.name == study.baseline else ""))
    print(f"{done} are in {out} already, {len(job.trials) - done} would be made")


def _perform(args: argparse.Namespace, job: Job, store, open_executor, shares: bool) -> None:
    """All runs that are not finished, by this process or by workers."""
    from ..lab.execute import Meter, here, perform

    keys = list(dict.fromkeys(key for key, _ in job.trials))
    left = len(keys) - store.count(keys)
    workers = _count_workers(args, left)
    if left:
        many = f"{workers} worker{'s' * (workers > 1)} on {_where(args)}"
        say(args, f"{job.study.title}: {left} of {len(keys)} videos to make, {many}")
    work = partial(work_elsewhere, _worker_command(args))
    with Meter(store, keys, args.quiet or _rank() > 0) as job.progress:
        if args.executor == "processes" and workers == 1:
            work, open_executor = job.work, here
        perform(store, keys, work, open_executor, workers, job.progress, shares)


def _rank() -> int:
    """Which of torchrun's processes this is; 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def _worker_command(args: argparse.Namespace) -> tuple[str, ...]:
    """The command line of one worker: this one's, for the same study, folder, model and machine."""
    names = ("prompts", "seeds", "clip", "controlnet", "threads", "weights", "tokenizer", "vae", "device", "dtype")
    flags = [f"--{name}={getattr(args, name)}" for name in names if getattr(args, name) is not None]
    flags += [f"--lora={path}:{weight}" for path, weight in args.lora]
    out = ["--out", str(Path(args.out).absolute())] if args.out else []
    return (args.study, *flags, *out, "--quiet")


def _count_workers(args: argparse.Namespace, left: int) -> int:
    """--workers; or one per core if the model is small and there is no GPU to share. Under torchrun a rank is one."""
    from ..lab.execute import usable_cores

    if "RANK" in os.environ or not left:
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


def _made(args: argparse.Namespace, job: Job, results, command: str) -> dict:
    """How the results came about, for results.json and the report; paths as they were typed."""
    import platform
    from datetime import date

    import torch
    import transformers

    from .. import __version__

    return {
        "command": command,
        "weights": args.weights or "embedded",
        "clip": args.clip or "embedded",
        "model": job.model,
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
