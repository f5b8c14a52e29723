"""Processes that share a study: what one complains about is passed on, Ctrl-C reaches all, the time left is told."""

import sys

import pytest

from t2vz.errors import FailedError, InputError
from t2vz.lab import workers
from t2vz.lab.runs import RECORD, RunFolder
from t2vz.lab.workers import Meter, supervise, words_for

KEYS = ["a", "b", "c"]


@pytest.fixture
def meter(tmp_path):
    """Of three runs, none finished."""
    with Meter(RunFolder(tmp_path), KEYS, quiet=True) as meter:
        yield meter


def script(tmp_path, body):
    """The command line of a Python script that finishes runs by hand: `finish("a")`."""
    helper = (
        f"import os, sys, time, signal\nfrom pathlib import Path\nruns = Path({str(tmp_path / 'runs')!r})\n"
        f"def finish(key):\n    (runs / key).mkdir()\n    (runs / key / {RECORD!r}).write_text('{{}}')\n"
    )
    return [sys.executable, "-c", helper + body]


@pytest.mark.parametrize(
    "body, error, words",
    [
        (
            "print('note: slow', file=sys.stderr)\nprint('t2vz: give a prompt', file=sys.stderr)\nsys.exit(2)",
            InputError,
            "give a prompt",
        ),
        ("print('t2vz: the disk is full', file=sys.stderr)\nsys.exit(1)", FailedError, "the disk is full"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            FailedError,
            "a worker was killed (signal 9), perhaps for want of memory",
        ),
        ("finish('a')", FailedError, "a worker stopped"),
    ],
)
def test_what_a_worker_complains_about_is_passed_on(tmp_path, meter, body, error, words):
    with pytest.raises(error) as caught:
        supervise(script(tmp_path, body), 1, meter)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_killed_worker_does_not_matter_if_the_others_finish(tmp_path, meter):
    body = (
        "try:\n    (runs / '.first').mkdir()\nexcept FileExistsError:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "for key in 'abc':\n    finish(key)\n"
    )
    supervise(script(tmp_path, body), 2, meter)
    assert meter.store.count(KEYS) == 3


def test_ctrl_c_reaches_every_worker_and_they_can_clean_up(tmp_path, meter):
    body = (
        "try:\n    (runs / str(os.getpid())).mkdir()\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    (runs / f'{os.getpid()}-cleaned').mkdir()\n"
    )

    def interrupt():
        if len(list((tmp_path / "runs").iterdir())) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(script(tmp_path, body), 2, interrupt)
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 4 and sum(name.endswith("-cleaned") for name in names) == 2


def test_the_time_left_is_that_of_the_runs_left(tmp_path):
    store, keys = RunFolder(tmp_path), [f"run{i}" for i in range(30)]
    for key in keys[:10]:  # made on another day
        store.path(key).mkdir()
    meter = Meter(store, keys, quiet=True)
    assert meter.line(15, 100.0) == "15 of 30 videos, about 5 min left"  # 5 took 100 s, 15 are left
    assert meter.line(10, 5.0) == "10 of 30 videos"


@pytest.mark.parametrize(
    "seconds, words", [(4.4, "4 s"), (89, "89 s"), (120, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_times_in_words(seconds, words):
    assert words_for(seconds) == words


def test_without_a_terminal_a_line_is_said_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workers, "LOOK", 0.0)
    monkeypatch.setattr(workers, "SAY", 0.0)
    store = RunFolder(tmp_path)
    with Meter(store, KEYS, quiet=False) as meter:
        store.path("a").mkdir()
        meter(3, 8, "all frames")
    assert "1 of 3 videos, about" in capsys.readouterr().err
