"""Workers whose runs cost nothing: python fake_worker.py FOLDER COUNT SECONDS [WORKERS], run by tests as processes.

`start` starts one. A run computes what `expected` says, and writes a line into FOLDER/log when it begins.
"""

import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from t2vz.lab.execute import Meter, perform, processes
from t2vz.lab.runs import RunFolder, run_key

TESTS = Path(__file__).parent
COUNT = 1000  # more than any test needs


def keyed(count: int) -> dict[str, int]:
    """The runs of a pretended study, by their keys."""
    return {run_key({"number": number}): number for number in range(count)}


def expected(number: int) -> dict:
    """What a run's record must say, whoever did it."""
    return {"number": number, "metrics": {"value": random.Random(number).random()}}


def make(number: int, seconds: float, folder: Path) -> dict:
    """Begin (a line in the log), write a file half, wait, write it whole."""
    with open(folder.parents[1] / "log", "a") as file:
        file.write(f"{number} {os.getpid()}\n")
    (folder / "video.mp4").write_bytes(b"half")
    time.sleep(seconds)
    (folder / "video.mp4").write_bytes(b"whole" * 100)
    return expected(number)


def work(place: Path, seconds: float, keys: list[str]) -> None:
    """Make those of these runs that are to be had."""
    numbers = keyed(COUNT)
    for key in keys:
        RunFolder(place).make(key, partial(make, numbers[key], seconds))


def start(folder: Path, count: int, seconds: float, workers: int = 1, **options) -> subprocess.Popen:
    """A command of its own that makes runs, itself or with `workers` processes."""
    command = [sys.executable, str(TESTS / "fake_worker.py"), *map(str, (folder, count, seconds, workers))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, **options)


def begun(folder: Path) -> list[list[int]]:
    """[run, process] of every run that was begun."""
    log = folder / "log"
    return [list(map(int, line.split())) for line in log.read_text().splitlines()] if log.exists() else []


def wait_for(condition, seconds: float = 60) -> None:
    """Until condition() is true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def check_complete(folder: Path, count: int) -> None:
    """Every run is there, whole, with the record an undisturbed worker writes, and nothing is left over."""
    store = RunFolder(folder)
    for key, number in keyed(count).items():
        record = store.read(key)
        assert record.pop("seconds") >= 0 and record == {**expected(number), "folder": store.path(key)}
        assert (store.path(key) / "video.mp4").read_bytes() == b"whole" * 100
    assert sorted(os.listdir(store.runs)) == sorted(keyed(count))


if __name__ == "__main__":
    place, count, seconds, workers = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    with Meter(RunFolder(place), list(keyed(count)), quiet=True) as meter:
        perform(meter, partial(work, place, seconds), None if workers == 1 else processes, workers)
