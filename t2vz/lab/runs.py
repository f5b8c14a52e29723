"""The runs of a study on the disk: each its own folder, written whole, found again by a hash of all that decides it.

    OUT/runs/0f3a…/run.json     settings, metrics, seconds, remarks
    OUT/runs/0f3a…/video.mp4    the video
    OUT/claims/                 who is at work (see claims.py); empty when a study is finished

The hash covers the settings, the model's files, the source video and the code that computes (hashes.py): what was made
before is found and not made again, and what would come out differently is not found. Several workers may call `work` on
one folder at the same time.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..errors import InputError
from ..files import atomic_folder, write_json
from .claims import PATIENCE, Claims

RECORD = "run.json"
LOOK_AGAIN = 0.2  # seconds, when all that is left is in others' hands


def run_key(parts: dict) -> str:
    """A name for a run: SHA-256 of all that decides it, plain JSON values; the order of a dict's entries is nothing."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:20]


class RunFolder:
    """The folder of a study's runs. patience: seconds without a heartbeat, see claims.py."""

    def __init__(self, folder: str | Path, patience: float = PATIENCE):
        self.folder = Path(folder)
        self.runs = self.folder / "runs"
        self.claims = Claims(self.folder / "claims", patience)
        self.runs.mkdir(exist_ok=True)

    def path(self, key: str) -> Path:
        """Where a finished run is, or will be."""
        return self.runs / key

    def finished(self, key: str) -> bool:
        """Whether the run is there, whole."""
        return (self.runs / key / RECORD).exists()

    def count(self, keys: Iterable[str]) -> int:
        """How many of the runs are finished."""
        there = set(os.listdir(self.runs))
        return sum(key in there for key in keys)

    def read(self, key: str) -> dict:
        """The record of a finished run. Raises InputError if it is damaged."""
        try:
            return json.loads((self.path(key) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path(key)}: its {RECORD} cannot be read; delete that folder and the run is made again"
            ) from error

    def tidy(self, keys: Iterable[str]) -> None:
        """Remove the claims of finished runs, and what killed workers left of them half-written; others' stay."""
        keys = set(keys)
        for key in keys:
            self.claims.clear(key)
        for left in [*self.runs.glob(".*"), *self.claims.folder.glob(".*")]:  # .KEY-0a1b2c3d, .KEY.0-0a1b2c3d
            if re.split("[-.]", left.name[1:])[0] in keys:  # another rank may be tidying too
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def work(
    store: RunFolder,
    runs: Sequence[tuple[str, object]],
    make: Callable[[object, Path], dict],
    go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Do every run that nobody has done and nobody is doing, until all are finished; returns how many were done here.

    runs: pairs (key, run) in the order wanted. make(run, folder) -> record: computes one run, may write files into the
    folder, and returns what run.json is to hold. go_on() is asked before every run.
    An exception of `make` (Ctrl-C too) loses the run under way and nothing else: it is released, and passed on.
    """
    done, left = 0, list(runs)
    while left and go_on():
        before = done
        for key, run in left:
            if not go_on():
                break
            done += _do(store, key, run, make)
        left = [(key, run) for key, run in left if not store.finished(key)]
        if left and done == before:
            time.sleep(LOOK_AGAIN)
    return done


def _do(store: RunFolder, key: str, run, make: Callable[[object, Path], dict]) -> bool:
    """One run, if it is to be had; the numbers are the rules of claims.py."""
    if store.finished(key):  # 1
        return False
    claim = store.claims.take(key)  # 2, 5
    if claim is None:
        return False
    with claim:  # 3
        if not store.finished(key):  # 6
            try:
                _make(store, claim, run, make)
            except _TakenOver:
                return False
    if store.finished(key):
        store.claims.clear(key)  # 7
    return True


def _make(store: RunFolder, claim, run, make: Callable[[object, Path], dict]) -> None:
    with atomic_folder(store.path(claim.key), replace_if=lambda folder: (folder / RECORD).exists()) as folder:
        began = time.perf_counter()
        record = make(run, folder)
        write_json(folder / RECORD, {**record, "seconds": round(time.perf_counter() - began, 2)})
        if not claim.held():
            raise _TakenOver


class _TakenOver(Exception):
    """Another worker took this one for dead."""
