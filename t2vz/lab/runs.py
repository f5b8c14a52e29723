"""The runs of a study on the disk: each is a folder that appears whole, named by the hash of what decides it.

    OUT/runs/0f3a…/run.json     settings, metrics, seconds, notes
    OUT/runs/0f3a…/video.mp4    the video
    OUT/runs/.0f3a….lock        locked while a process makes this run

A run that was made before is found and not made again. What decides it is its settings, the files it reads, and the
code that computes it: when one of them changes, an old result is not today's, and the run is made again.

Several processes may share a folder: whoever makes a run holds a lock of the operating system on it, and the system
takes the lock back when the process ends, however it ends. So a killed process delays nobody. On a network file system
without locks two processes may make the same run; both write the same content, and each folder appears whole.
"""

import ast
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InputError
from ..files import atomic_folder, files_hash, write_json

RECORD = "run.json"
ROOT = Path(__file__).resolve().parents[1]  # the folder of the package t2vz
NOT_COMPUTING = ("commands", "lab", "world", "cli.py", "__init__.py")  # these never change a video or its measures
COMPUTING = ("lab/change.py", "lab/make.py", "lab/measure.py", "lab/tasks.py")  # except these


class RunFolder:
    """The runs in the folder of a study, each known by its key (`run_key`)."""

    def __init__(self, folder: str | Path):
        self.runs = Path(folder) / "runs"
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
        """The record of a finished run, with its `folder`. Raises InputError if it is damaged."""
        try:
            return json.loads((self.path(key) / RECORD).read_text(encoding="utf-8")) | {"folder": self.path(key)}
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path(key)}: its {RECORD} cannot be read; delete that folder and the run is made again"
            ) from error

    def make(self, key: str, make: Callable[[Path], dict]) -> bool:
        """Make a run, unless it is there or another process is making it. Returns whether it was made here.

        make(folder) computes the run, writes its files into the folder, and returns what run.json is to hold. If it
        raises anything (Ctrl-C too), nothing of this run stays, and the exception is passed on.
        """
        with self._locked(key) as free:
            if not free or self.finished(key):
                return False
            with atomic_folder(self.path(key), replace_if=lambda folder: (folder / RECORD).exists()) as folder:
                began = time.perf_counter()
                record = make(folder)
                write_json(folder / RECORD, {**record, "seconds": round(time.perf_counter() - began, 2)})
        return True

    def free(self, key: str) -> bool:
        """Whether nobody has made the run and nobody is making it."""
        if self.finished(key):
            return False
        with self._locked(key) as free:
            return free

    def tidy(self, keys: Iterable[str]) -> None:
        """Remove what killed processes left of these runs half-written, and the lock files of finished ones."""
        for key in keys:
            with self._locked(key) as free:
                if free:
                    for left in self.runs.glob(f".{key}-*"):
                        shutil.rmtree(left, ignore_errors=True)
                    if self.finished(key):  # who locks a deleted file looks once more, and finds the run
                        self._lock_file(key).unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[bool]:
        """Hold the run's lock, if it is to be had at once; yields whether it is held."""
        lock = FileLock(self._lock_file(key), timeout=0)
        with suppress(Timeout):
            lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _lock_file(self, key: str) -> Path:
        return self.runs / f".{key}.lock"


def run_key(parts: dict) -> str:
    """The name of a run: SHA-256 of all that decides it, plain JSON values. Dicts have no order."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:20]


def code_hash(root: Path = ROOT) -> str:
    """SHA-256 over the code of t2vz that makes and measures videos. Comments and layout do not count, docstrings do."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root)
        if name.parts[0] not in NOT_COMPUTING or name.as_posix() in COMPUTING:
            digest.update(f"{name.as_posix()}\n{ast.dump(ast.parse(file.read_bytes()))}\n".encode())
    return digest.hexdigest()


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder: the names and contents of all files in it, hidden ones aside."""
    path = Path(path)
    files = [(file.relative_to(path), file) for file in sorted(path.rglob("*")) if file.is_file()]
    shown = [(name.as_posix(), file) for name, file in files if not any(part.startswith(".") for part in name.parts)]
    return files_hash(shown if path.is_dir() else [("", path)])
