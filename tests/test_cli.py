"""`t2vz`, and `t2vz generate` as a user meets it: what it writes, and one line for all that goes wrong."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from t2vz.cli import main
from t2vz.commands.arguments import COMMANDS
from t2vz.video import read_video

SMALL = "--steps 4 --frames 2 --height 64 --width 64 --device cpu".split()
FAST = [*SMALL, "--quiet"]
TWO_STEPS = "--steps 2 --quiet --device cpu".split()  # of a video that has a size


@pytest.fixture
def run(call, models):
    """`t2vz generate` with the tiny model, or another one."""
    return lambda *words, where=None: call("generate", *words, "--weights", where or models / "tiny")


def pictures(name) -> np.ndarray:
    """All frames of a video, uint8 (m, H, W, 3)."""
    return read_video(name).frames


def copied(models, tmp_path, change):
    """A copy of the tiny checkpoint whose UNet's tensors were changed."""
    shutil.copytree(models / "tiny", tmp_path / "copy")
    file = tmp_path / "copy/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return tmp_path / "copy"


def test_generate_writes_video_run_file_and_sheet(run, tmp_path):
    name = "a-red-ball-on-a-green-meadow"
    code, out, err = run("a red ball on a green meadow", *FAST, "--sheet")
    assert code == 0 and not err and out.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == [f"{name}-sheet.png", f"{name}.json", f"{name}.mp4"]
    assert read_video(f"{name}.mp4").frames.shape == (2, 64, 64, 3)
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["settings"]["prompt"] == "a red ball on a green meadow" and record["settings"]["steps"] == 4
    assert len(record["weights"]["sha256"]) == 64 and record["dtype"] == "float32"
    assert run("a red ball on a green meadow", *FAST)[0] == 0  # a second run takes a free name
    assert (tmp_path / f"{name}-2.mp4").exists()


@pytest.mark.parametrize(
    "argv, said",
    [
        ([""], "the prompt is empty"),
        ([], "give a prompt"),
        (["x", "--frames", "two"], "invalid whole number value"),
        (["x", "--height", "500"], "496 or 504"),
        (["x", "--steps", "1001"], "steps = 1001"),
        (["x", "--attention", "last"], "own, first, previous"),
        (["x", "--motion", "3"], "DX,DY"),
        (["x", "--smooth-background", "0.6", "--foreground", "zebra"], '"zebra" does not stand in the prompt'),
        (["x", "--out", "video.avi"], ".mp4"),
        (["x", "--out", "x.gif", "--fps", "60"], "at most 50"),
        (["x", "--fps", "5000"], "fps is 5000"),
        (["x", "--from", "nothing.json"], "cannot be read"),
        (["x", "--tokenizer", "nowhere"], "vocab.json"),
        (["x", "--device", "abacus"], "--device abacus"),
        (["x", "--dtype", "int8"], "int8"),
        (["x", "--colour"], "unrecognized"),
        (["caf\udce9"], "no valid UTF-8"),  # how Python hands on an argument that is Latin-1
        (["x", "--negative-prompt", "\udcff"], "no valid UTF-8"),
        (["x", "--out", "n" * 300 + ".gif"], "too long"),
        (["x", "--out", "n" * 253, "--latents"], "too long"),  # its folder could be made, what lies beside it not
        (["x", "--vae", "n" * 300], "too long"),
        (["x", "--from", "n" * 300], "too long"),
        (["x", "--vae", "https://host/vae.safetensors"], "is an address"),
        (["x", "--out", "https://host/x.gif"], "is an address"),
        (["x", "--lora", "x.safetensors:nan"], "finite"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(refused, models, argv, said):
    refused(["generate", *argv, "--weights", models / "tiny"], said)


@pytest.mark.parametrize("command", ["control", "edit", "explain", "generate"])
def test_every_command_reads_settings_alike(refused, command):
    words = [command, *(["v.mp4"] if command in ("control", "edit") else []), "x"]
    refused([*words, "--steps", "0"], "steps = 0")
    refused([*words, "--noise-strength", "two"], "invalid number value: 'two'")
    refused([*words, "--weights", "n" * 300], "too long")
    if command != "explain":
        refused([*words, "--from", "nothing.json"], "cannot be read")
        refused([*words, "--masks", "m/"], "--smooth-background")


def test_training_is_elsewhere(refused):
    refused(["train", "--minutes", "3"], "python -m training")


def test_negative_motion_needs_no_equals_sign(run, tmp_path):
    assert run("a blue kite", *FAST, "--motion", "-12,-3.5", "--out", "left.gif")[0] == 0
    assert json.loads((tmp_path / "left.json").read_text())["settings"]["motion"] == [-12.0, -3.5]


def test_latents_are_written_on_request(run, tmp_path):
    assert run("a blue kite", *FAST, "--out", "x.gif", "--latents")[0] == 0
    assert load_file(tmp_path / "x-latents.safetensors")["latents"].shape == (2, 4, 8, 8)


def test_folders_with_a_dot_have_run_files_of_their_own(run, tmp_path):
    for name in ("run.1", "run.2"):
        assert run("a blue kite", *FAST, "--out", f"{name}/")[0] == 0
    assert (tmp_path / "run.1.json").exists() and (tmp_path / "run.2.json").exists()


def test_an_existing_file_is_not_lost(run, refused, models, tmp_path):
    (tmp_path / "mine.mp4").write_text("precious")
    refused(["generate", "x", *FAST, "--out", "mine.mp4", "--weights", models / "tiny"], "exists already")
    assert run("x", *FAST, "--out", "mine.mp4", "--overwrite")[0] == 0
    assert len(read_video("mine.mp4")) == 2


def test_a_long_prompt_says_what_was_cut(run, tmp_path):
    code, _, err = run(" ".join(["meadow"] * 499 + ["kite"]), *SMALL, "--out", "long.gif")
    assert code == 0 and "cut off" in err and "kite" in err
    assert "kite" in json.loads((tmp_path / "long.json").read_text())["notes"][0]


def test_a_file_that_cannot_be_used_is_one_line(refused, tmp_path):
    """What else files may be is the business of tests/checkpoints."""
    save_file({"conditioner.embedders.0.x": torch.zeros(4)}, tmp_path / "strange.safetensors")
    refused(["generate", "x", "--weights", "strange.safetensors"], "SDXL")
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    refused(["generate", "x", "--weights", "model.ckpt"], "pickle")


def test_missing_keys_are_named(refused, models, tmp_path):
    key = "mid_block.resnets.0.conv1.weight"
    refused(["generate", "x", "--weights", copied(models, tmp_path, lambda tensors: tensors.pop(key))], key)


def test_broken_weights_never_write_a_frame(refused, models, tmp_path):
    """Finite in the file, infinite in the video."""
    broken = copied(models, tmp_path, lambda tensors: tensors["conv_out.weight"].mul_(1e30))
    refused(["generate", "x", *FAST, "--weights", broken], "not finite", "timestep", code=1)


def test_no_ffmpeg_is_said_before_the_work(run, refused, monkeypatch):
    import imageio_ffmpeg

    def none():
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    refused(["generate", "x", *FAST], "pip install imageio-ffmpeg", code=1)
    assert run("x", *FAST, "--out", "x.gif")[0] == 0


@pytest.mark.parametrize(
    "place, error, said",
    [
        ("os.fsync", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk is full"),
        ("t2vz.commands.making.algorithm_1", torch.OutOfMemoryError("CUDA out of memory.\nmany\nlines"), "--chunk 1"),
    ],
)
def test_what_fails_on_the_way_says_what_to_do_and_leaves_nothing(refused, models, monkeypatch, place, error, said):
    import t2vz.commands.making  # noqa: F401

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(place, fails)
    refused(["generate", "x", *FAST, "--out", "x.gif", "--weights", models / "tiny"], said, code=1)


def test_a_reader_that_leaves_early_is_no_error(models):
    """As in t2vz inspect … | head: nothing is said."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "t2vz.cli", "inspect", str(models / "tiny")]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    assert done.returncode == 1 and done.stderr == b""


def test_ctrl_c_is_one_line_and_leaves_nothing(models, tmp_path):
    flags = "--frames 64 --height 256 --width 256 --steps 200 --out x.mp4 --device cpu".split()
    command = [sys.executable, "-m", "t2vz.cli", "generate", "a red ball", "--weights", str(models / "tiny"), *flags]
    options = {"cwd": tmp_path, "text": True, "start_new_session": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    plan = process.stderr.readline()  # said when the work begins
    assert "64 frames of 256×256" in plan
    time.sleep(1)  # tqdm complains if it is stopped while it is being made
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped" in err and err.count("\n") == 1 and os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_examples_and_says_what_is_true(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*filter(None, [command, *(["export"] if command == "weights" else [])]), "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and out.count("examples:") == 1 and f"t2vz {command or 'generate'} " in out
    assert ("where --from names one" in out) is ("--from RUN.json" in out)


def test_help_is_quick_and_goes_to_any_terminal():
    """No torch is imported for it, and a terminal without Greek letters gets no traceback."""
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "t2vz.cli", command, "--help"],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        )
        assert done.returncode == 0 and b"examples:" in done.stdout
        assert b"| torch" not in done.stderr.replace(b"  ", b"") and b"Traceback" not in done.stderr
