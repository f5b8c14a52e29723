"""`t2vz ablate` as a user meets it: a study on a tiny model, its tables and report; found again; shared by workers."""

import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_tokenizer

from t2vz.cli import build_parser, main
from t2vz.commands import ablate
from t2vz.errors import FailedError
from t2vz.lab.tasks import Task

STUDY = """
title = "A tiny study"
prompts = ["a red ball on a green meadow"]
seeds = [0, 1]
[settings]
frames = 2
steps = 4
height = 64
width = 64
[grid]
attention = ["own", "first"]
"""


FLAGS = "--workers 1 --quiet --device cpu".split()


@pytest.fixture(scope="module")
def weights(models):
    """A tiny checkpoint folder on disk."""
    return models / "tiny"


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    """The folder of a study that one process has finished."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(STUDY)
    assert main(["ablate", f"{folder}/tiny.toml", f"--weights={weights}", f"--out={folder}/out", *FLAGS]) == 0
    return folder


@pytest.fixture
def study(weights, tmp_path):
    """What the command line begins with, in an empty folder with tiny.toml."""
    (tmp_path / "tiny.toml").write_text(STUDY)
    return ["ablate", "--device", "cpu", "--weights", weights]


@pytest.fixture
def run(call, study):
    """Run the command line in an empty folder with tiny.toml: exit code, stdout, stderr."""
    return lambda *words: call(*study, *words)


def test_a_study_leaves_tables_a_report_and_every_video(finished):
    out = finished / "out"
    assert sorted(os.listdir(out)) == "report.html results.csv results.json runs study.json summary.csv".split()
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] + row["seed"] for row in rows] == ["own0", "own1", "first0", "first1"]
    assert all(-1 <= float(row["consistency_first"]) <= 1 and float(row["warp_error"]) >= 0 for row in rows)
    assert len(os.listdir(out / "runs")) == 4
    for folder in (out / "runs").iterdir():
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert record["settings"]["frames"] == 2 and (folder / "video.mp4").stat().st_size > 500
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["made"]["model"]["dtype"] == "float32" and len(found["made"]["model"]["weights"]) == 64
    assert "A tiny study" in (out / "report.html").read_text(encoding="utf-8")


def test_a_finished_study_costs_nothing(finished, weights, monkeypatch, capsys):
    monkeypatch.setattr("t2vz.model.StableDiffusion.load", lambda *args, **options: pytest.fail("loaded"))
    before = (finished / "out/results.csv").read_bytes()
    command = ["ablate", str(finished / "tiny.toml"), "--weights", str(weights), "--out", str(finished / "out")]
    assert main([*command, "--quiet", "--device", "cpu"]) == 0
    assert (finished / "out/results.csv").read_bytes() == before
    assert main([*command, "--dry-run", "--device", "cpu"]) == 0
    assert "4 are in" in capsys.readouterr().out


def test_two_workers_write_the_same_bytes_as_one(finished, run, tmp_path):
    code, out, _ = run("tiny.toml", "--workers", "2", "--no-report", "--quiet")
    assert code == 0 and "4 videos of 2 variants" in out
    folder = tmp_path / "ablate-tiny"
    for name in ("results.csv", "summary.csv"):
        assert (folder / name).read_bytes() == (finished / "out" / name).read_bytes()
    assert not (folder / "report.html").exists()


def test_ranks_under_torchrun_share_a_study_and_the_first_writes(run, tmp_path, monkeypatch):
    for rank in ("1", "0"):
        for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")):
            monkeypatch.setenv(name, value)
        code, out, err = run("tiny.toml", "--seeds", "1", "--no-report")
        assert code == 0 and (tmp_path / "ablate-tiny/results.csv").exists() is (rank == "0")
        assert bool(out) is (rank == "0")


def fails():
    raise FailedError("frame 2 is not finite")


@pytest.mark.parametrize(
    "stop, said",
    [
        (lambda: signal.raise_signal(signal.SIGINT), "stopped"),
        (fails, 't2vz: first, "a red ball on a green meadow", seed 0: frame 2 is not finite'),
    ],
)
def test_what_stops_a_study_loses_only_the_run_under_way(run, tmp_path, monkeypatch, stop, said):
    real, begun = Task.make, []

    def stopped(task, sd, given, *rest):
        begun.append(given["seed"])
        if len(begun) == 3:
            stop()
        return real(task, sd, given, *rest)

    monkeypatch.setattr(Task, "make", stopped)
    code, out, err = run("tiny.toml", "--workers", "1", "--quiet")
    assert code == 1 and said in err and err.count("\n") == 1 and not out
    assert len(list((tmp_path / "ablate-tiny/runs").glob("[!.]*"))) == 2
    assert run("tiny.toml", "--workers", "1", "--quiet", "--no-report")[0] == 0
    assert begun == [0, 1, 0, 0, 1]  # the third again, and what was left


def test_dry_run_touches_nothing(run, tmp_path):
    code, out, _ = run("tiny.toml", "--dry-run")
    assert code == 0 and "4 videos = 2 variants × 1 prompts × 2 seeds" in out and "own   (baseline)" in out
    assert os.listdir(tmp_path) == ["tiny.toml"]


def test_the_folder_one_stands_in_may_be_read_only(run, tmp_path, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, *rest: Path(path) != tmp_path and real(path, *rest))
    assert run("tiny.toml", "--dry-run", "--out", "elsewhere/out")[0] == 0


def test_another_tokenizer_is_another_study(finished, run, weights):
    again = ["tiny.toml", "--dry-run", "--out", str(finished / "out"), "--tokenizer"]
    shutil.copytree(weights / "tokenizer", "same")
    tiny_tokenizer(Path("other"), merges=50)
    assert "4 are in" in run(*again, "same")[1]
    assert "0 are in" in run(*again, "other/tokenizer")[1]


def test_a_tokenizer_beside_a_single_file_is_part_of_the_model(run, tmp_path):
    def model():
        args = build_parser().parse_args(["ablate", "tiny.toml", "--weights", "one.safetensors", "--device", "cpu"])
        return ablate.StudyRequest(args).model

    save_file({"weight": torch.zeros(1)}, "one.safetensors")
    alone = model()
    folder = tiny_tokenizer(tmp_path)
    beside = model()
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    assert alone["tokenizer"] is None
    assert len({alone["tokenizer"], beside["tokenizer"], model()["tokenizer"]}) == 3


def test_the_report_says_the_command_as_it_was_typed(run, tmp_path, weights):
    shutil.copytree(weights, "tiny")
    code, _, err = run(
        "tiny.toml", "--seeds", "1", "--dtype", "float32", "--workers", "1", "--quiet", "--weights", "tiny"
    )
    assert code == 0, err
    text = (tmp_path / "ablate-tiny/report.html").read_text(encoding="utf-8")
    command = unescape(re.search(r"<code>(t2vz ablate .*?)</code>", text)[1])
    assert command == "t2vz ablate tiny.toml --seeds=1 --weights=tiny --dtype=float32"
    assert str(tmp_path) not in text


def test_the_command_has_all_that_decides_a_result_and_no_more():
    typed = "--prompts 3 --weights w.safetensors --tokenizer words --vae v.safetensors --lora a:0.25 --lora b".split()
    typed += "--clip openai/clip-vit-large-patch14 --controlnet edges".split()
    not_deciding = "--workers 2 --out /tmp/here --device cpu".split()
    args = build_parser().parse_args(["ablate", "my studies/noise.toml", *typed, *not_deciding])
    again = build_parser().parse_args(["ablate", *ablate.command_of(args)])
    for name in ("study", "prompts", "seeds", "weights", "tokenizer", "vae", "clip", "controlnet", "lora", "dtype"):
        assert getattr(again, name) == getattr(args, name), name
    assert again.workers is None and again.out is None


@pytest.mark.parametrize(
    "argv, words",
    [
        (["nothing.toml"], "there is no study nothing.toml"),
        (["tiny.toml", "--workers", "0"], "--workers: 0"),
        (["tiny.toml", "--threads", "0"], "--threads: 0"),
        (["tiny.toml", "--executor", "threads"], '--executor "threads" does not exist'),
        (["tiny.toml", "--prompts", "2"], "--prompts 2: the study tiny has 1"),
        (["tiny.toml", "--out", "tiny.toml"], "is a file"),
        (["tiny.toml", "--out", "mine"], "holds other files"),
        (["tiny.toml", "--out", "theirs"], 'holds the study "other"'),
        (["bad.toml"], 'bad.toml [grid]: setting "atention" does not exist; did you mean "attention"?'),
        ([], "required: STUDY"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(study, refused, tmp_path, argv, words):
    (tmp_path / "bad.toml").write_text(STUDY.replace("attention", "atention"))
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine/precious.txt").write_text("precious")
    (tmp_path / "theirs/study.json").write_text('{"study": "other"}')
    refused([*study, *argv], words)


def test_a_missing_library_is_said_before_the_work(study, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused([*study, "tiny.toml"], "needs jinja2, which is not installed; run: pip install 't2vz[lab]'")


@pytest.mark.slow
def test_twenty_kills_end_with_the_same_table(weights, tmp_path):
    """The real command, two of it at a time on one folder; now and then one is killed at work and started again."""
    (tmp_path / "tiny.toml").write_text(STUDY.replace("[0, 1]", str(list(range(50)))))
    rng = random.Random(0)

    def start(out):
        command = f"-m t2vz.cli ablate tiny.toml --weights {weights} --out {out} --no-report".split()
        return subprocess.Popen([sys.executable, *command, *FLAGS], cwd=tmp_path, stdout=subprocess.DEVNULL)

    def at_work(worker):
        """Whether it is making a run: then it has the lock file open."""
        files = [os.readlink(file) for file in Path(f"/proc/{worker.pid}/fd").iterdir()]
        return any(file.endswith(".lock") and "/disturbed/runs/" in file for file in files)

    workers, kills = [start("disturbed"), start("disturbed")], 0
    while kills < 20 and all(worker.poll() is None for worker in workers):
        victim = rng.randrange(2)
        with contextlib.suppress(OSError):  # a file may be closed while it is looked at
            if at_work(workers[victim]):
                time.sleep(rng.uniform(0, 0.3))
                workers[victim].kill()
                workers[victim].wait()
                workers[victim], kills = start("disturbed"), kills + 1
        time.sleep(0.01)
    assert [worker.wait() for worker in workers] == [0, 0] and kills == 20
    assert start("undisturbed").wait() == 0
    for name in ("results.csv", "summary.csv"):
        assert (tmp_path / "disturbed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert len(os.listdir(tmp_path / "disturbed/runs")) == 100
