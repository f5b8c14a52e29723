"""A worker whose runs cost nothing: python fake_worker.py FOLDER COUNT SECONDS, run by tests as a process of its own.

It computes what `expected` says, and writes a line into FOLDER/log when a run begins.
"""

import os
import random
import sys
import time
from pathlib import Path

from t2vz.lab.runs import RunFolder, run_key, work


def keyed(count: int) -> list[tuple[str, int]]:
    """The runs of a pretended study."""
    return [(run_key({"number": number}), number) for number in range(count)]


def expected(number: int) -> dict:
    """What a run's record must say, whoever did it."""
    return {"number": number, "metrics": {"value": random.Random(number).random()}}


def make(run: int, folder: Path, log: Path, seconds: float) -> dict:
    """Begin (a line in the log), write a file half, wait, write it whole."""
    with open(log, "a") as file:
        file.write(f"{run}\n")
    (folder / "video.mp4").write_bytes(b"half")
    time.sleep(seconds)
    (folder / "video.mp4").write_bytes(b"whole" * 100)
    return expected(run)


if __name__ == "__main__":
    place, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    store = RunFolder(place, patience=5.0)
    done = work(store, keyed(count), lambda run, folder: make(run, folder, place / "log", seconds))
    print(f"{os.getpid()} did {done}")
