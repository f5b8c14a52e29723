"""Files appear whole or not at all: write under a temporary name in the same folder, then rename.

A rename within one folder is atomic: whoever looks sees the old file or the new one, never half of one. The
folder must be the same because a rename between two disks is a copy. Used by everything in t2vz that writes:
videos, run files, checkpoints, reports. The context managers here also turn what the operating system says
(disk full, not allowed) into one line.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import FailedError, InputError

LONGEST_NAME = 255  # bytes, on all common file systems


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its ending; rename it to `path` when the block ends well.

    Missing parent folders are created. If the block raises anything (Ctrl-C included) the temporary file and
    the folders created for it are removed, and an older file at `path` stays as it was.

        with atomic_path("out/run.json") as temporary:
            temporary.write_text("{}")

    Raises: InputError when `path` is a folder or a device; FailedError when the system refuses the write.
    Every OSError of the block is taken for a failed write of `path`, so only writing belongs in it.
    """
    target = check_replaceable_file(path)
    with _undo_on_failure(path, target) as temporary:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)


@contextlib.contextmanager
def atomic_folder(path: str | Path, replace_if: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; when the block ends well it appears as `path`, whole, at once.

    `replace_if(folder) -> bool` decides whether a folder that exists already may be replaced; an empty one
    always may. The old folder is moved aside, and deleted only when the new one is in place.

    Raises: InputError when `path` is a file, the current folder, or a folder that may not be replaced;
    FailedError as in `atomic_path`.
    """
    target = check_replaceable_folder(path, replace_if)
    with _undo_on_failure(path, target) as temporary:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        check_replaceable_folder(path, replace_if)  # again: minutes may have passed
        _swap_folders(temporary, target)


def check_replaceable_file(path: str | Path) -> Path:
    """The absolute path; through a symbolic link, what it points to, so that the link survives the rename.

    Raises InputError unless a file may appear there; touches nothing.
    """
    target = _resolve(path)
    if os.path.exists(target) and not os.path.isfile(target):  # no error for a long name, unlike Path.exists
        kind = "a folder" if target.is_dir() else "not a regular file"
        raise InputError(f"{path} is {kind}, and a file is to be written there; choose another name")
    return target


def check_replaceable_folder(path: str | Path, replace_if: Callable[[Path], bool]) -> Path:
    """The same for a folder: see `atomic_folder`."""
    target = _resolve(path)
    if not os.path.exists(target):
        return target
    if not target.is_dir():
        raise InputError(f"{path} is a file, and a folder is to be written there; choose another name")
    if target == Path.cwd():
        raise InputError(f"{path} is the current folder, which is never replaced; name a folder inside it")
    if any(target.iterdir()) and not replace_if(target):
        raise InputError(f"the folder {path} holds other files, so it is not replaced; choose another name")
    return target


def check_name(path: str | Path) -> None:
    """Raise InputError for a name that no file can have: empty, longer than file systems take, with a null byte."""
    if not os.fspath(path):
        raise InputError("the output path is empty; give a file name")
    if "\0" in os.fspath(path):
        raise InputError(f"{os.fspath(path)!r}: no file name can hold a null byte; give another")
    size = max(len(os.fsencode(part)) for part in Path(path).parts or [""])
    if size > LONGEST_NAME:
        raise InputError(f"{str(path)[:60]}…: a name of {size} bytes is too long; give one of at most {LONGEST_NAME}")


def files_hash(files: Sequence[tuple[str, Path]]) -> str:
    """SHA-256 of files: of one its contents', as sha256sum prints it; of several their names' and their contents'."""
    digest = hashlib.sha256()
    for name, file in files:
        if len(files) > 1:
            digest.update(f"{name}\n".encode())
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` (bytes) to `path`, whole or not at all. Raises as `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented UTF-8 JSON to `path`, whole or not at all.

    NaN and infinity are refused (ValueError): JSON has no such numbers, and other readers would stumble over
    them. Raises otherwise as `atomic_path`.
    """
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # a path's bytes that are no UTF-8: "\\udce9"


def write_csv(path: str | Path, rows: Sequence[Mapping]) -> None:
    """Write rows that all have the same columns as a table, with a line of their names; None is an empty field."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_bytes(path, text.getvalue().encode("utf-8"))


@contextlib.contextmanager
def _undo_on_failure(path: str | Path, target: Path) -> Iterator[Path]:
    """Make the parent folders, yield an unused name beside `target`; after any exception remove both."""
    created = []  # folders, outermost first
    # A hidden name, cut short so that a long file name does not grow beyond what the file system takes.
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(4)}{target.suffix[:20]}")
    try:
        for folder in reversed([p for p in target.parents if not os.path.exists(p)]):
            folder.mkdir(exist_ok=True)
            created.append(folder)
        yield temporary
    except BaseException as error:
        _remove(temporary)
        for folder in reversed(created):
            with contextlib.suppress(OSError):
                folder.rmdir()  # refuses a folder that meanwhile holds something else: then it stays
        if isinstance(error, OSError) or _is_disk_full(error):
            raise FailedError(_one_line(path, error)) from error
        raise


def _swap_folders(new: Path, target: Path) -> None:
    """Put the folder `new` in place of `target`: two renames, the first undone if the second fails."""
    if not target.exists():
        os.rename(new, target)
        return
    old = new.with_name(new.name + "-old")
    try:
        os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    finally:
        if target.exists():
            _remove(old)


def _flush(file: Path) -> None:
    """Ask the system to put the file on the disk now: some file systems report a full disk only then."""
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _resolve(path: str | Path) -> Path:
    check_name(path)
    return Path(path).resolve()


def _is_disk_full(error: BaseException) -> bool:
    # Libraries in other languages (safetensors, ffmpeg) raise errors of their own, with the system's text.
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    return getattr(error, "errno", None) in full or "No space left on device" in str(error)


def _one_line(path: str | Path, error: BaseException) -> str:
    """What the system said about writing `path`, in one line that says what to do."""
    if _is_disk_full(error):
        return f"the disk is full, {path} was not written; free some space or write to another disk"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"not allowed to write {path}; choose a folder you may write to"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return f"cannot write {path}: a part of that path is a file, not a folder; choose another name"
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    return f"could not write {path}: {reason}; choose another name or folder"
