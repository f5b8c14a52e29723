"""Runs on the disk: found again by what decides them, made once by however many processes, none lost to a kill."""

import os
import random
import shutil
import time
from collections import Counter

import pytest
from fake_worker import begun, check_complete, expected, keyed, start, wait_for

from t2vz.errors import InputError
from t2vz.lab.runs import ROOT, RunFolder, code_hash, content_hash, run_key


def test_a_key_covers_every_value_and_no_order():
    parts = {"settings": {"frames": 8, "motion": [12.0, 12.0], "prompt": "Ärger"}, "weights": "ab"}
    key = run_key(parts)
    assert key == run_key({"weights": "ab", "settings": dict(reversed(parts["settings"].items()))})
    assert key == "25c34d4d93b24a7acc75"  # sha256sum of the JSON; with another, studies start again
    for change in ({"frames": 9}, {"motion": None}, {"motion": [12.0, 12.5]}, {"prompt": "Arger"}, {"seed": 0}):
        assert run_key({**parts, "settings": {**parts["settings"], **change}}) != key


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of some of the package's code, and the hash of it."""
    root = tmp_path_factory.mktemp("copy") / "t2vz"
    for name in ("motion", "lab", "unet"):
        shutil.copytree(ROOT / name, root / name)
    return root, code_hash(root)


@pytest.mark.parametrize(
    "name, line, same",
    [
        ("motion/warping.py", "MORE = 1", False),
        ("unet/new.py", "", False),
        ("lab/measure.py", "MORE = 1", False),
        ("motion/warping.py", "# a remark", True),
        ("motion/warping.py", "", True),
        ("commands/generate.py", "MORE = 1", True),
        ("lab/report.py", "MORE = 1", True),
        ("world/objects.py", "MORE = 1", True),  # what it paints for a study counts, pixel by pixel
        ("cli.py", "MORE = 1", True),
    ],
)
def test_changes_of_what_computes_show_and_others_do_not(package, name, line, same):
    root, before = package
    file = root / name
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{text}\n{line}\n", encoding="utf-8")
    assert (code_hash(root) == before) is same
    file.write_text(text, encoding="utf-8") if text else file.unlink()


def test_the_hash_of_files_is_of_names_and_contents(tmp_path):
    folder = tmp_path / "frames"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"1")
    (folder / "deep/b.png").write_bytes(b"2")
    first = content_hash(folder)
    (folder / ".hidden").write_bytes(b"3")
    assert content_hash(folder) == first
    (folder / "a.png").rename(folder / "c.png")
    assert content_hash(folder) != first
    assert content_hash(folder / "c.png") == (
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    )  # SHA-256 of "1"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_is_made_once_and_an_interruption_leaves_nothing_of_it(tmp_path, error):
    def fails(folder):
        (folder / "half").write_text("…")
        raise error

    store = RunFolder(tmp_path)
    with pytest.raises(error):
        store.make("one", fails)
    assert store.free("one") and store.count(["one", "two"]) == 0
    assert store.make("one", lambda folder: expected(1)) and not store.make("one", fails)
    assert store.finished("one") and not store.free("one") and store.count(["one", "two"]) == 1
    store.tidy(["one"])
    assert os.listdir(store.runs) == ["one"]


def test_what_another_is_making_is_left_to_it(tmp_path):
    store, other = RunFolder(tmp_path), RunFolder(tmp_path)

    def make(folder):
        assert not other.free("one") and not other.make("one", lambda folder: {"by": "the other"})
        other.tidy(["one"])  # takes nothing away from a process at work
        return {"by": "the first"}

    assert store.make("one", make) and store.read("one")["by"] == "the first"


def test_a_damaged_record_is_named(tmp_path):
    store = RunFolder(tmp_path)
    store.make("one", lambda folder: {})
    (store.path("one") / "run.json").write_text("{")
    with pytest.raises(InputError, match="one: its run.json cannot be read; delete that folder"):
        store.read("one")


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path):
    (key,) = keyed(1)
    worker = start(tmp_path, 1, 60)
    wait_for(lambda: begun(tmp_path))
    store = RunFolder(tmp_path)
    assert not store.free(key)
    worker.kill()
    worker.wait()
    assert store.free(key) and store.make(key, lambda folder: expected(0))
    (store.runs / ".ffff-0a1b").mkdir()  # of another part of the study, perhaps at work
    store.tidy([key])
    assert sorted(os.listdir(store.runs)) == [".ffff-0a1b", key]


@pytest.mark.parametrize(
    "count, seconds, kills, workers",
    [(60, 0.03, 4, 1), *(pytest.param(300, 0.05, 20, workers, marks=pytest.mark.slow) for workers in (1, 2))],
)
def test_killed_commands_lose_at_most_the_run_under_way(tmp_path, count, seconds, kills, workers):
    """Two commands; one of them is killed and started again, now and then; then they may finish."""
    rng = random.Random(kills)
    commands = [start(tmp_path, count, seconds, workers) for _ in range(2)]
    for _ in range(kills):
        time.sleep(rng.uniform(0.1, 0.5))
        victim = rng.randrange(2)
        commands[victim].kill()
        commands[victim].wait()
        commands[victim] = start(tmp_path, count, seconds, workers)
    assert [command.wait(300) for command in commands] == [0, 0]
    times = Counter(run for run, _ in begun(tmp_path))
    assert set(times) == set(range(count)) and sum(times.values()) <= count + kills * workers
    check_complete(tmp_path, count)
