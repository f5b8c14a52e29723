"""`t2vz ablate`: a study, from its TOML file to its report. What is done stays done: the same command goes on."""

import argparse
import json
import os
import shlex
from contextlib import suppress
from datetime import date
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch

from .. import __version__
from ..checkpoints import (
    checkpoint_defaults,
    checkpoint_hash,
    edit_unet,
    embedded_controlnet,
    embedded_weights,
    find_tokenizer,
)
from ..errors import FailedError, InputError, library
from ..files import write_json
from ..lab.execute import Meter, executor_of, perform, usable_cores
from ..lab.make import Maker, keyed_trials
from ..lab.report import write_report
from ..lab.results import Results, collect, write_results
from ..lab.runs import RECORD, RunFolder, content_hash
from ..lab.sources import read_sources
from ..lab.study import Study, load_study
from ..lab.tasks import TASKS
from ..metrics import load_clip
from ..model import load_controlnet
from ..video.ffmpeg import find_ffmpeg
from .arguments import ablate
from .flags import Parser, words_of
from .inputs import choose_machine, load_model
from .output import note, say
from .runfile import versions

MARK = "study.json"  # in the folder of a study
MOST_WORKERS = 4  # unless more are asked for: each holds the model once
DECIDING = ("prompts", "seeds", "clip", "controlnet", "weights", "tokenizer", "vae", "lora", "dtype")  # flags


def run(args: argparse.Namespace) -> None:
    """Check everything, have the runs made, then write tables and report."""
    for package in ("matplotlib", "jinja2") if args.report else ():
        library(package, "a report needs")
    find_ffmpeg()
    job = StudyRequest(args)
    note(args, *(one for source in job.sources.values() if source for one in source.notes))
    open_executor, shares = executor_of(args.executor, job.out / "jobs")
    if args.dry_run:
        return _dry_run(job)
    store = open_folder(job.out, job.study)
    keys = list(dict.fromkeys(key for key, _ in job.trials))  # two variants may ask for the same video
    left, rank = len(keys) - store.count(keys), int(os.environ.get("RANK", 0))  # of torchrun's processes
    workers = _count_workers(args, left)
    work = partial(work_elsewhere, tuple(command_of(args, "device", "threads", "out")))
    if args.executor == "processes" and workers == 1:
        work, open_executor = job.work, None
    if left:
        many = f"{workers} worker{'s' * (workers > 1)} on {job.device}, {job.model['dtype']}"
        say(args, f"{job.study.title}: {left} of {len(keys)} videos to make, {many}")
    with Meter(store, keys, args.quiet or rank > 0) as job.progress:
        perform(job.progress, work, open_executor, workers, shares)
    if rank > 0:
        return
    results = collect(job.study, [(trial, store.read(key)) for key, trial in job.trials])
    made = _made(job, results)
    write_results(results, job.out, made)
    print(
        f"{job.out}: {len(job.trials)} videos of {len(job.study.variants)} variants; tables in results.csv, "
        "summary.csv and results.json"
    )
    if args.report:
        write_report(results, made, job.out / "report.html")
        print(f"{job.out / 'report.html'}: open it in a browser")


class StudyRequest:
    """A study as it was asked for, with all that decides its runs. The model is loaded when the first run is made.

    args: the command line's. progress: a pipeline's.
    """

    def __init__(self, args: argparse.Namespace):
        self.args, self.progress = args, None
        self.study = load_study(args.study).part(args.prompts, args.seeds)
        self.out = Path(args.out or f"ablate-{self.study.name}")
        self.edits = TASKS[self.study.task].edits
        self.controlnet = (args.controlnet or embedded_controlnet()) if self.study.task == "control" else None
        self.device, dtype = choose_machine(args.device, args.dtype)
        self.sources = read_sources(self.study)
        self.model = self._model(str(dtype).removeprefix("torch."))
        defaults = checkpoint_defaults(args.weights, self.edits)
        self.trials = keyed_trials(self.study, self.model, self.sources, defaults)

    def _model(self, dtype: str) -> dict:
        """What decides a run besides study and code: the files' contents and the type, not their names and places."""
        args = self.args
        weights, clip = args.weights or embedded_weights(), args.clip or embedded_weights() / "clip"
        unet = edit_unet(args.weights) if self.edits else None
        hashed = checkpoint_hash(*filter(None, (weights, unet)))  # first: it says so if there are no such weights
        tokenizer = find_tokenizer(weights, args.tokenizer)
        return {
            "weights": hashed,
            "tokenizer": content_hash(tokenizer) if tokenizer else None,
            "vae": checkpoint_hash(args.vae) if args.vae else None,
            "loras": [[checkpoint_hash(path), weight] for path, weight in args.lora or []],
            "controlnet": checkpoint_hash(Path(self.controlnet)) if self.controlnet else None,
            "clip": content_hash(clip) if Path(clip).exists() else str(clip),
            "dtype": dtype,
        }

    @cached_property
    def maker(self) -> Maker:
        """What makes one run, with the model loaded."""
        sd = load_model(self.args, edit=self.edits)
        controlnet = load_controlnet(self.controlnet, sd.dtype, sd.device, sd.unet) if self.controlnet else None
        return Maker(self.study, sd, load_clip(self.args.clip, sd.device), self.sources, controlnet, self.progress)

    def work(self, keys: list[str]) -> None:
        """Make those of these runs that nobody has made and nobody is making."""
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
def _requested(command: tuple[str, ...]) -> StudyRequest:
    parser = Parser()
    ablate(parser)
    return StudyRequest(parser.parse_args(command))


def work_elsewhere(command: tuple[str, ...], keys: list[str]) -> None:
    """What a worker does: `StudyRequest.work` of a command line; the model that it loads is kept for the next call."""
    _requested(command).work(keys)


def open_folder(out: Path, study: Study) -> RunFolder:
    """The study's folder, made if need be. Raises InputError for one that holds another study, or other things."""
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


def _dry_run(job: StudyRequest) -> None:
    """Say what would be done, and how much of it is done."""
    study, out = job.study, job.out
    done = sum((out / "runs" / key / RECORD).exists() for key, _ in job.trials)
    print(
        f"{study.title}: {len(job.trials)} videos = {len(study.variants)} variants × {len(study.prompts)} prompts × "
        f"{len(study.seeds)} seeds" + (f" × {len(study.videos)} videos" if len(study.videos) > 1 else "")
    )
    for variant in study.variants:
        print(f"  {variant.name}" + ("   (baseline)" if variant.name == study.baseline else ""))
    print(f"{done} are in {out} already, {len(job.trials) - done} would be made")


def _count_workers(args: argparse.Namespace, left: int) -> int:
    """--workers; or one per core if the model is small and there is no GPU to share. Under torchrun a rank is one."""
    if "RANK" in os.environ or not left:
        return 1
    small = args.weights is None and choose_machine(args.device, args.dtype)[0].type == "cpu"
    return min(left, args.workers or (min(usable_cores() // args.threads or 1, MOST_WORKERS) if small else 1))


def command_of(args: argparse.Namespace, *more: str) -> list[str]:
    """The arguments that ask for the same study: what was typed and decides a result, as it was typed. more: flags."""
    return [args.study, *words_of({name: getattr(args, name) for name in (*DECIDING, *more)})]


def _made(job: StudyRequest, results: Results) -> dict:
    """How the results came about, for results.json and the report; paths as they were typed."""
    return {
        "command": shlex.join(["t2vz", "ablate", *command_of(job.args)]),
        "weights": job.args.weights or "embedded",
        "clip": job.args.clip or "embedded",
        "model": job.model,
        "device": str(job.device),
        "date": date.today().isoformat(),
        "seconds": round(sum(record["seconds"] for _, record in results.runs), 1),
        "versions": versions(),
    }
