"""Executors: every run is made once, what a worker complains about arrives, killed workers are replaced."""

import os
import signal
import subprocess
import time
from collections import Counter
from functools import partial

import pytest
from fake_worker import TESTS, begun, check_complete, expected, keyed, start, wait_for, work

from t2vz.errors import FailedError, InputError
from t2vz.lab import execute
from t2vz.lab.execute import Meter, executor_of, perform, processes
from t2vz.lab.runs import RunFolder


def raises(error, keys):
    """Work that fails."""
    raise error


def dies(place, keys):
    """Work that kills its process, until `place` says that it was done twice."""
    with open(place / "log", "a") as file:
        file.write(f"0 {os.getpid()}\n")
    if len(begun(place)) > 2:
        return work(place, 0, keys)
    os.kill(os.getpid(), signal.SIGKILL)


def perform_all(folder, count, work, open_=processes, workers=2, **options):
    with Meter(RunFolder(folder), list(keyed(count)), quiet=True) as meter:
        perform(meter, work, open_, workers, **options)


@pytest.fixture(params=["here", "processes", "dask", "submitit:cluster=local"])
def executor(request, tmp_path, monkeypatch):
    """(open_, shares) of every kind of executor that is installed."""
    if request.param == "here":
        return None, False
    if request.param != "processes":
        pytest.importorskip({"dask": "distributed"}.get(request.param, "submitit"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS.parent, TESTS))))  # submitit starts new processes
    return executor_of(request.param, tmp_path / "jobs")


def test_every_executor_makes_every_run_once(tmp_path, executor):
    perform_all(tmp_path, 7, partial(work, tmp_path, 0), executor[0], shares=executor[1])
    assert Counter(run for run, _ in begun(tmp_path)) == Counter(range(7))
    check_complete(tmp_path, 7)


@pytest.mark.parametrize("error", [InputError("give a prompt"), FailedError("the disk is full")])
def test_what_a_worker_complains_about_is_passed_on(tmp_path, executor, error):
    with pytest.raises(type(error)) as caught:
        perform_all(tmp_path, 3, partial(raises, error), executor[0], shares=executor[1])
    assert str(caught.value) == str(error)


def test_killed_workers_are_replaced_by_fewer_and_in_the_end_it_is_said(tmp_path):
    open_, sizes = processes, []

    def counted(workers):
        sizes.append(workers)
        return open_(workers)

    (tmp_path / "some").mkdir()
    perform_all(tmp_path / "some", 2, partial(dies, tmp_path / "some"), counted, workers=4)
    assert sizes[0] == 4 and sizes == sorted(sizes, reverse=True) and len(sizes) > 1
    with pytest.raises(FailedError, match="a worker was killed, perhaps for want of memory"):
        perform_all(tmp_path, 5, partial(kill_me, 0), workers=1)


def kill_me(_, keys):
    """Work that always kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_others_are_making_is_waited_for(tmp_path):
    other = start(tmp_path, 2, 0.5)
    wait_for(lambda: begun(tmp_path))
    perform_all(tmp_path, 2, partial(work, tmp_path, 0.5), None, workers=1)
    assert other.wait(60) == 0 and Counter(run for run, _ in begun(tmp_path)) == Counter(range(2))
    check_complete(tmp_path, 2)


@pytest.mark.parametrize("number, to_all", [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGKILL, False)])
def test_workers_end_with_the_command_that_started_them(tmp_path, number, to_all):
    command = start(tmp_path, 2, 60, workers=2, start_new_session=True, stderr=subprocess.PIPE)
    wait_for(lambda: len(begun(tmp_path)) == 2)
    (os.killpg if to_all else os.kill)(command.pid, number)  # to all: as a terminal does
    said = command.communicate(timeout=30)[1].decode()
    assert command.returncode != 0 and said.count("Traceback") == (number == signal.SIGINT)  # the command's own
    for _, process in begun(tmp_path):
        wait_for(lambda: not os.path.exists(f"/proc/{process}") or zombie(process))
    left = [name for name in os.listdir(tmp_path / "runs") if not name.endswith(".lock")]
    assert bool(left) is (number == signal.SIGKILL)
    perform_all(tmp_path, 2, partial(work, tmp_path, 0), None)
    check_complete(tmp_path, 2)


def zombie(process):
    """Whether a process has ended, and nobody has asked for its exit code."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("words", ["threads", "processes:3", ""])
def test_other_executors_do_not_exist(tmp_path, words):
    with pytest.raises(InputError, match="does not exist; choose one of: processes, dask, submitit"):
        executor_of(words, tmp_path)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(InputError, match=r"pip install 't2vz\[cluster\]'"):
        executor_of("submitit", tmp_path)


def test_without_a_terminal_a_line_is_said_now_and_then(tmp_path, capsys, monkeypatch):
    store = RunFolder(tmp_path)
    store.make("a", lambda folder: expected(0))  # on another day: not counted for the time that is left
    with Meter(store, ["a", "b", "c"], quiet=False) as meter:
        meter()
    assert not capsys.readouterr().err  # it took no time
    monkeypatch.setattr(execute, "LOOK", 0.0)
    monkeypatch.setattr(execute, "SAY", 0.0)
    with Meter(store, ["a", "b", "c"], quiet=False) as meter:
        assert "1 of 3 videos, about ? left\n" in capsys.readouterr().err
        store.make("b", lambda folder: expected(0))
        time.sleep(0.001)
        meter(3, 8, "all frames")
    assert "2 of 3 videos, about 00:0" in capsys.readouterr().err
