"""Where the runs of a study are computed: in this process, in processes of this machine, or on many machines.

Runs are submitted to a `concurrent.futures.Executor`: processes of this machine, or for many `dask.distributed` or
`submitit` (Slurm). What is lost with a worker that was killed is submitted again; finished runs are on the disk.
"""

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..errors import FailedError, InputError, library
from .runs import RunFolder

LOOK = 0.5  # seconds between two counts of what is finished
SAY = 30.0  # seconds between two lines where stderr is no terminal
LIBRARIES = {"processes": "multiprocessing", "dask": "distributed", "submitit": "submitit"}  # by kind of executor

Open = Callable[[int], AbstractContextManager[Executor]]  # number of workers -> an executor, open within `with`


def perform(meter: "Meter", work: Callable, opener: Open | None, workers: int, shares: bool = False) -> None:
    """Submit every run that nobody has made, until all are finished; then remove what is left of killed processes.

    meter: of the runs. work(keys) makes those runs, as `RunFolder.make`, in this process if `opener` is None; executors
    must be able to pickle it. Each call gets one run; with `shares` there is one call for each worker, for executors
    with a high cost per call. An exception of `work` cancels what has not begun, and is passed on. A worker that is
    killed is replaced, with one worker less in case memory was short. Raises FailedError if even a single worker is
    killed before it finishes one run.
    """
    store, keys = meter.store, meter.keys
    try:
        while store.count(keys) < len(keys):
            left = [key for key in keys if store.free(key)]
            if not left:  # other processes are making the rest
                meter()
                time.sleep(LOOK)
                continue
            if opener is None:
                work(left)
                continue
            calls = [left[i::workers] for i in range(min(workers, len(left)))] if shares else [[key] for key in left]
            before = store.count(keys)
            try:
                with opener(workers) as executor:
                    _wait(_submit(executor, work, calls), meter)
            except BrokenExecutor as error:
                if workers == 1 and store.count(keys) == before:
                    raise FailedError(
                        "a worker was killed, perhaps for want of memory; nothing that was finished is lost: the same "
                        "command goes on"
                    ) from error
                workers = max(1, workers - 1)
    finally:
        store.tidy(keys)


def executor_of(words: str, folder: Path) -> tuple[Open, bool]:
    """The executor that words name, and whether it wants shares (`perform`). folder: for the files of Slurm's jobs.

    "processes", "dask" (a cluster of this machine), "dask:tcp://HOST:8786" (one that is running), "submitit", or
    "submitit:slurm_partition=gpu,gpus_per_node=1" (parameters of `submitit.AutoExecutor`; cluster=local needs no
    Slurm).
    Raises InputError for other words, and for a library that is not installed.
    """
    kind, _, options = words.partition(":")
    if kind not in LIBRARIES or (kind == "processes" and options):
        raise InputError(f'--executor "{words}" does not exist; choose one of: {", ".join(LIBRARIES)}')
    library(LIBRARIES[kind], f"--executor {kind} needs", "cluster")
    if kind == "submitit":
        return partial(_submitit, options, folder), True
    return (partial(_dask, options) if kind == "dask" else processes), False


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Processes of this machine. They end when this one does; Ctrl-C ends them without a word."""
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _dask(address: str, workers: int) -> Iterator[Executor]:
    """A dask cluster: the scheduler at an address, or, if that is empty, processes of this machine."""
    from distributed import Client, LocalCluster

    cluster = address or LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
    try:
        client = Client(cluster)
    except OSError as error:
        raise InputError(f"--executor dask: there is no dask scheduler at {address}") from error
    with client, client.get_executor(pure=False) as executor:
        yield executor


@contextmanager
def _submitit(options: str, folder: Path, workers: int) -> Iterator[Executor]:
    """Slurm jobs, as many as there are calls. What a job raised is raised here again."""
    import submitit

    given = dict(option.partition("=")[::2] for option in options.split(",") if option)
    given = {name: int(value) if value.isdecimal() else value for name, value in given.items()}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=given.pop("cluster", None))
        executor.update_parameters(name="t2vz", **given)
    except (RuntimeError, NameError, ValueError, TypeError) as error:  # no Slurm here; no such parameter
        raise InputError(f"--executor submitit: {' '.join(str(error).split())}") from error
    try:
        yield executor
    except submitit.core.utils.FailedJobError as error:  # its text holds the traceback of the job
        kind, words = re.findall(r"^(?:\w+\.)*(\w+): (.*)$", str(error), re.MULTILINE)[-1]
        raise (InputError if kind == InputError.__name__ else FailedError)(words) from error
    except submitit.core.utils.UncompletedJobError as error:
        raise BrokenExecutor(str(error)) from error


def _submit(executor: Executor, work: Callable, calls: list[list[str]]) -> list[Future]:
    """Submit all calls. Processes that start meanwhile inherit that Ctrl-C is ignored: this one tells them."""
    starts = isinstance(executor, ProcessPoolExecutor) and threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGINT, signal.SIG_IGN) if starts else None
    try:
        return [executor.submit(work, call) for call in calls]
    finally:
        if starts:
            signal.signal(signal.SIGINT, former)


def _wait(futures: list[Future], meter: "Meter") -> None:
    """Until all are done. The first exception, or Ctrl-C, cancels what has not begun."""
    try:
        while futures:
            for future in [future for future in futures if future.done()]:
                futures.remove(future)
                future.result()
            meter()
            time.sleep(0.05)
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _end_with_parent() -> None:
    """In a worker: end when the process that started it is gone, be it killed."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def usable_cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Meter(tqdm):
    """How many runs are finished, by whomever: a bar with the time left; where no terminal is, a line now and then."""

    def __init__(self, store: RunFolder, keys: Sequence[str], quiet: bool):
        self.store, self.keys, self.looked = store, keys, time.monotonic()
        options = {"unit": "video", "leave": False, "file": sys.stderr, "smoothing": 0}
        if not sys.stderr.isatty():
            line = "{n} of {total} videos, about {remaining} left\n"
            options |= {"bar_format": line, "mininterval": SAY, "delay": SAY, "miniters": 0}
        super().__init__(total=len(keys), initial=store.count(keys), disable=quiet, **options)

    def __call__(self, done: int = 0, total: int = 0, stage: str = "") -> None:
        """Look again, if it is time. Also a pipeline's `progress`: shows the stage of the run under way."""
        if time.monotonic() - self.looked >= LOOK:
            self.looked = time.monotonic()
            if stage:
                self.set_description(stage, refresh=False)
            self.update(self.store.count(self.keys) - self.n)
