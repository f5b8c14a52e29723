"""The workers of a study: processes of this machine, or ranks under torchrun; and how far they are, with the time left.

Workers know nothing of each other but the study's folder (claims.py). The command that started some waits for them,
counts finished runs, and passes on what one of them complained about.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from .. import __version__
from ..errors import FailedError, InputError
from ..files import write_json
from .runs import RunFolder
from .study import Study

MARK = "study.json"
MOST_WORKERS = 4  # unless more are asked for: each holds the model once
LOOK = 0.5  # seconds between two counts of what is finished
SAY = 30.0  # seconds between two lines where stderr is no terminal
GRACE = 10.0  # seconds for a worker to give back its claim after Ctrl-C


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


def need_libraries(names: Sequence[str]) -> None:
    """Raise InputError for a library of the extra `lab` that is not installed, before hours of work."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"a study needs {name}; pip install 't2vz[lab]'")


def usable_cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Meter:
    """How many runs are finished, by whomever: a bar with the time left; where no terminal is, a line now and then."""

    def __init__(self, store: RunFolder, keys: Sequence[str], quiet: bool):
        self.store, self.keys, self.quiet = store, keys, quiet
        self.began, self.at_first = time.monotonic(), store.count(keys)
        self.looked = self.said = self.began
        self.bar = tqdm(
            total=len(keys),
            initial=self.at_first,
            unit="video",
            leave=False,
            file=sys.stderr,
            disable=True if quiet else None,
        )

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *exception) -> None:
        self.bar.close()

    def __call__(self, done: int = 0, total: int = 0, stage: str = "") -> None:
        """Look again, if it is time. Also a pipeline's `progress`: shows the stage of the run under way."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return
        self.looked, finished = now, self.store.count(self.keys)
        if stage:
            self.bar.set_description(stage, refresh=False)
        self.bar.update(finished - self.bar.n)
        if self.bar.disable and not self.quiet and now - self.said >= SAY:
            self.said = now
            print(self.line(finished, now - self.began), file=sys.stderr, flush=True)

    def line(self, finished: int, seconds: float) -> str:
        """ "120 of 768 videos, about 14 min left"."""
        made = finished - self.at_first
        left = f", about {words_for(seconds / made * (len(self.keys) - finished))} left" if made > 0 else ""
        return f"{finished} of {len(self.keys)} videos{left}"


def words_for(seconds: float) -> str:
    """A time in words: "40 s", "14 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def supervise(command: list[str], count: int, meter: Meter) -> None:
    """Start `count` processes of a command and wait for them.

    On Ctrl-C they are stopped too, and give back what they had claimed. Raises what a worker said when it failed and
    left runs undone; one that was merely killed (out of memory) does not matter if the others finished the study.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = [open(Path(folder) / f"{i}.txt", "w+b") for i in range(count)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        workers = [subprocess.Popen(command, stderr=log, **quiet) for log in logs]
        try:
            while any(worker.poll() is None for worker in workers):
                meter()
                time.sleep(0.1)
        finally:
            _stop(workers)
            complaints = [_last_line(log) for log in logs]
    if meter.store.count(meter.keys) < len(meter.keys):
        _pass_on([worker.returncode for worker in workers], complaints)


def _stop(workers: list[subprocess.Popen]) -> None:
    """Ctrl-C to all that still run; a terminal has sent it to them already, so they get a moment first."""
    for wait, number in ((2.0, signal.SIGINT), (GRACE, signal.SIGKILL)):
        deadline = time.monotonic() + wait
        while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)
    for worker in workers:
        worker.wait()


def _last_line(log: BinaryIO) -> str:
    with log:
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("t2vz: ") if lines else ""


def _pass_on(codes: list[int], complaints: list[str]) -> None:
    """Raise what the first worker that failed said: wrong use before failure, a word before silence."""
    code, words = min(zip(codes, complaints), key=lambda worker: (worker[0] != 2, not worker[1], worker[0] == 0))
    if code == 2:
        raise InputError(words)
    if words:
        raise FailedError(words)
    why = f"was killed (signal {-code})" if code < 0 else "stopped"
    raise FailedError(
        f"a worker {why}, perhaps for want of memory; nothing that was finished is lost: the same "
        "command goes on, with fewer --workers if memory is short"
    )
