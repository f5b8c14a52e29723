"""Whole or not at all: what `t2vz.files` leaves on the disk after success, failure and Ctrl-C."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from films import tree
from tiny import refused

from t2vz import files
from t2vz.errors import FailedError, InputError
from t2vz.video import check_output


def only_frames(folder):
    return all(p.suffix == ".png" for p in folder.iterdir())


def test_success_replaces_and_leaves_one_file(tmp_path):
    target = tmp_path / "a" / "b" / "file.mp4"
    for text in ("first", "second"):
        with files.atomic_path(target) as temporary:
            assert temporary.parent == target.parent and temporary.suffix == ".mp4" and temporary != target
            temporary.write_text(text)
            assert not target.exists() or target.read_text() == "first"
    assert tree(tmp_path) == {"a": None, "a/b": None, "a/b/file.mp4": b"second"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, MemoryError])
def test_any_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "old.bin").write_bytes(b"old")
    before = tree(tmp_path)
    for target in (tmp_path / "old.bin", tmp_path / "new" / "deep" / "x.bin"):
        with pytest.raises(error), files.atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise error
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "not allowed"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("two\nlines"), "two lines"),
    ],
)
def test_system_errors_become_one_line(tmp_path, error, words):
    with pytest.raises(FailedError, match=words) as caught, files.atomic_path(tmp_path / "x.bin") as file:
        file.write_bytes(b"half")
        raise error
    assert "\n" not in str(caught.value) and "x.bin" in str(caught.value)
    assert tree(tmp_path) == {}


def test_devices_folders_and_files_in_the_way(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("keep")
    refused(lambda: files.write_bytes(tmp_path / "folder", b""), "is a folder")
    with pytest.raises(InputError, match="not a regular file"):
        files.write_bytes(os.devnull, b"")  # a rename would replace the device itself
    refused(lambda: files.write_bytes(tmp_path / "file" / "x.bin", b""), "not a folder", error=FailedError)
    refused(lambda: files.write_bytes("", b""), "empty")
    assert tree(tmp_path) == {"folder": None, "file": b"keep"}


def test_a_link_survives(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "x.json")
    files.write_json(tmp_path / "link.json", {"a": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real" / "x.json").read_text()) == {"a": 1}


def test_long_names_fit(tmp_path):
    files.write_bytes(tmp_path / ("n" * 250 + ".bin"), b"x")
    files.write_bytes(tmp_path / ("a." + "x" * 250), b"x")
    assert len(tree(tmp_path)) == 2
    refused(lambda: files.write_bytes("a\0b", b"x"), "null byte")
    for call in (lambda path: files.write_bytes(path, b"x"), check_output):
        refused(lambda: call(tmp_path / ("é" * 150)), "300 bytes is too long")


def test_json_round_trip_and_no_nan(tmp_path):
    obj = {"prompt": "ein Bär tanzt ☃", "motion": [12.0, 1e-12], "seed": 2**60, "none": None}
    files.write_json(tmp_path / "run.json", obj)
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == obj
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "run.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == obj


def test_folder_appears_at_once_and_replaces_its_own_kind(tmp_path):
    target = tmp_path / "frames"
    for names in (("a.png", "b.png"), ("c.png",)):
        with files.atomic_folder(target, only_frames) as temporary:
            for name in names:
                (temporary / name).write_bytes(b"x")
                assert not (target / name).exists()
    assert tree(tmp_path) == {"frames": None, "frames/c.png": b"x"}


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "thesis.tex").write_text("keep")
    before = tree(tmp_path)
    target = tmp_path / "photos"
    with pytest.raises(InputError, match="other files"), files.atomic_folder(target, only_frames):
        raise AssertionError("the block must not run")
    assert tree(tmp_path) == before


def test_a_file_that_arrives_meanwhile_is_kept(tmp_path):
    target = tmp_path / "d"
    with pytest.raises(InputError, match="other files"), files.atomic_folder(target, only_frames) as new:
        (new / "a.png").write_bytes(b"x")
        target.mkdir()
        (target / "thesis.tex").write_text("keep")
    assert tree(tmp_path) == {"d": None, "d/thesis.tex": b"keep"}


def test_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="current folder"), files.atomic_folder(".", only_frames):
        pass


@pytest.mark.parametrize("call", [1, 2])
def test_interrupted_swap_restores_the_old_folder(tmp_path, monkeypatch, call):
    target = tmp_path / "frames"
    with files.atomic_folder(target, only_frames) as temporary:
        (temporary / "old.png").write_bytes(b"old")
    before, calls, rename = tree(tmp_path), [], os.rename

    def interrupted(source, destination):
        calls.append(source)
        if len(calls) == call:
            raise KeyboardInterrupt
        rename(source, destination)

    monkeypatch.setattr(files.os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(target, only_frames) as temporary:
        (temporary / "new.png").write_bytes(b"new")
    assert tree(tmp_path) == before


def test_umask_is_respected(tmp_path):
    """A temporary file made by `tempfile` would be private (0600), and the finished video with it."""
    code = "import os, sys; from t2vz.files import write_bytes;os.umask(0o022); write_bytes(sys.argv[1], b'')"
    root = Path(files.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.bin")], check=True, cwd=root)
    assert (tmp_path / "x.bin").stat().st_mode & 0o777 == 0o644
