"""Runs on the disk: found again by their hash, done once by however many workers, none lost to a kill."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fake_worker import expected, keyed

from t2vz.lab.claims import Claims
from t2vz.lab.runs import RECORD, RunFolder, run_key, work

TESTS = Path(__file__).parents[1]


def start(folder: Path, count: int, seconds: float) -> subprocess.Popen:
    """A worker in a process of its own."""
    command = [sys.executable, str(TESTS / "fake_worker.py"), str(folder), str(count), str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(TESTS.parent)}, stdout=subprocess.DEVNULL)


def check_complete(folder: Path, count: int) -> None:
    """Every run is there, whole, with the record an undisturbed worker writes, and nothing is left over."""
    store = RunFolder(folder)
    for key, number in keyed(count):
        record = store.read(key)
        assert record.pop("seconds") >= 0 and record == expected(number)
        assert (store.path(key) / "video.mp4").read_bytes() == b"whole" * 100
    store.tidy([key for key, _ in keyed(count)])
    assert sorted(os.listdir(store.runs)) == sorted(key for key, _ in keyed(count))
    assert os.listdir(store.claims.folder) == []


def test_a_hash_covers_every_value_and_no_order():
    parts = {"settings": {"frames": 8, "motion": [12.0, 12.0], "prompt": "Ärger"}, "weights": "ab"}
    key = run_key(parts)
    assert key == run_key({"weights": "ab", "settings": dict(reversed(parts["settings"].items()))})
    assert key == "25c34d4d93b24a7acc75"  # sha256sum of the JSON; with another, studies start again
    for change in ({"frames": 9}, {"motion": None}, {"motion": [12.0, 12.5]}, {"prompt": "Arger"}, {"seed": 0}):
        assert run_key({**parts, "settings": {**parts["settings"], **change}}) != key


def test_runs_are_done_once_and_found_again(tmp_path):
    store, began = RunFolder(tmp_path), []

    def make(run, folder):
        began.append(run)
        return expected(run)

    assert work(store, keyed(5), make) == 5 and began == [0, 1, 2, 3, 4]
    assert work(store, keyed(7), make) == 2 and began[5:] == [5, 6]
    assert store.count(key for key, _ in keyed(9)) == 7 and os.listdir(store.claims.folder) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_loses_the_run_under_way_and_nothing_else(tmp_path, error):
    def make(run, folder):
        (folder / "half").write_text("…")
        if run == 2:
            raise error
        return expected(run)

    store = RunFolder(tmp_path)
    with pytest.raises(error):
        work(store, keyed(5), make)
    assert sorted(os.listdir(store.runs)) == sorted(key for key, _ in keyed(2))
    # The claim was given back: this process lives on, and another worker need not wait for its heartbeat.
    assert work(RunFolder(tmp_path), keyed(5), lambda run, folder: expected(run)) == 3


def test_two_workers_share_the_work_and_repeat_none(tmp_path):
    count = 60
    workers = [start(tmp_path, count, 0.01) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    begun = Counter(map(int, (tmp_path / "log").read_text().split()))
    assert begun == dict.fromkeys(range(count), 1)
    check_complete(tmp_path, count)


def killed_at_random(folder: Path, count: int, seconds: float, kills: int) -> None:
    """Two workers; one of them is killed and started again, `kills` times; then they may finish."""
    rng = random.Random(kills)
    workers = [start(folder, count, seconds) for _ in range(2)]
    for _ in range(kills):
        time.sleep(rng.uniform(0.1, 0.5))
        victim = rng.randrange(2)
        workers[victim].kill()
        workers[victim].wait()
        workers[victim] = start(folder, count, seconds)
    assert [worker.wait(300) for worker in workers] == [0, 0]
    begun = Counter(map(int, (folder / "log").read_text().split()))
    assert set(begun) == set(range(count)) and sum(begun.values()) <= count + kills
    check_complete(folder, count)


def test_killed_workers_are_replaced_and_lose_at_most_one_run_each(tmp_path):
    killed_at_random(tmp_path, 40, 0.03, kills=4)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    killed_at_random(tmp_path, 300, 0.05, kills=20)


def claim_of_another_machine(claims: Claims, key: str, number: int = 0) -> Path:
    path = claims.path(key, number)
    path.write_text(json.dumps({"machine": "elsewhere", "process": 1, "token": "00"}))
    return path


def test_a_claim_of_another_machine_dies_when_its_heartbeat_stops(tmp_path):
    claims = Claims(tmp_path, patience=0.4)
    path = claim_of_another_machine(claims, "run")
    for beat in range(4):  # alive for longer than the patience, whatever that machine's clock says
        os.utime(path, (beat, beat))
        assert claims.take("run") is None
        time.sleep(0.2)
    time.sleep(0.4)
    assert claims.take("run").number == 1


def test_a_dead_process_of_this_machine_is_replaced_at_once(tmp_path):
    worker = start(tmp_path, 1, 60)
    while not (tmp_path / "log").exists():
        time.sleep(0.02)
    key = keyed(1)[0][0]
    store = RunFolder(tmp_path, patience=1000)
    assert store.claims.take(key) is None
    worker.kill()
    worker.wait()
    assert store.claims.take(key).number == 1


def test_who_judges_late_cannot_push_the_new_owner_aside(tmp_path):
    quick, late = Claims(tmp_path, patience=0), Claims(tmp_path, patience=0)
    path = claim_of_another_machine(quick, "run")
    for claims in (quick, late):
        assert claims.take("run") is None  # the first look only notes the heartbeat
    time.sleep(0.01)
    assert quick._dead(path) and late._dead(path)  # both have judged the owner dead …
    owner = quick.take("run")
    assert owner.number == 1 and owner.held()
    late.newest = lambda key: 0  # … and the late one has not yet seen the new claim
    assert late.take("run") is None and owner.held()


def test_a_worker_taken_for_dead_drops_what_it_made(tmp_path):
    store, key = RunFolder(tmp_path), keyed(1)[0][0]

    def make(run, folder):
        if not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            claim_of_another_machine(store.claims, key, 1)  # while it slept, another took over …
            done = store.path(key)
            done.mkdir()
            (done / RECORD).write_text(json.dumps({"by": "the other"}))  # … and finished
        return expected(run)

    assert work(store, keyed(1), make) == 0
    assert store.read(key) == {"by": "the other"}


def test_an_unfinished_folder_of_a_killed_worker_does_not_count(tmp_path):
    store = RunFolder(tmp_path)
    key = keyed(1)[0][0]
    (store.runs / f".{key}-0a1b").mkdir()
    (store.runs / ".ffff-0a1b").mkdir()  # of another study's part, perhaps under way
    assert not store.finished(key) and store.count([key]) == 0
    assert work(store, keyed(1), lambda run, folder: expected(run)) == 1
    store.tidy([key])
    assert sorted(os.listdir(store.runs)) == [".ffff-0a1b", key]


def test_two_may_tidy_at_once(tmp_path, monkeypatch):
    store, [(key, _)] = RunFolder(tmp_path), keyed(1)
    (store.runs / f".{key}-0a1b").mkdir()
    real = shutil.rmtree

    def after_the_other(folder, **options):
        real(folder)
        real(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", after_the_other)
    store.tidy([key])
    assert os.listdir(store.runs) == []
