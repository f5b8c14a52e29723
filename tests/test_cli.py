"""`t2vz generate` as a user meets it: the files it writes, and one line with the right exit code for all else."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_sd, tiny_tokenizer

from t2vz.checkpoints import save_folder
from t2vz.cli import main
from t2vz.video import read_video

FAST = ["--steps", "4", "--frames", "2", "--height", "64", "--width", "64", "--quiet", "--device", "cpu"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny checkpoint folder on disk."""
    folder = tmp_path_factory.mktemp("weights")
    sd = tiny_sd(folder / "words")
    tokenizer = tiny_tokenizer(folder / "words")
    save_folder(folder / "tiny", sd.unet, sd.vae, sd.text_encoder, tokenizer, dtype=torch.float32)
    return folder / "tiny"


@pytest.fixture
def run(weights, tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*argv, where=weights):
        argv = [*argv, "--weights", str(where)] if where is not None else list(argv)
        try:
            code = main(["generate", *argv])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_generate_writes_video_run_file_and_sheet(run, tmp_path):
    code, out, err = run("a red ball on a green meadow", *FAST, "--sheet")
    assert code == 0 and not err and out.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == [
        "a-red-ball-on-a-green-meadow-sheet.png",
        "a-red-ball-on-a-green-meadow.json",
        "a-red-ball-on-a-green-meadow.mp4",
    ]
    assert read_video("a-red-ball-on-a-green-meadow.mp4").frames.shape == (2, 64, 64, 3)
    record = json.loads((tmp_path / "a-red-ball-on-a-green-meadow.json").read_text())
    assert record["settings"]["prompt"] == "a red ball on a green meadow" and record["settings"]["steps"] == 4
    assert len(record["weights"]["sha256"]) == 64 and record["dtype"] == "float32"
    assert run("a red ball on a green meadow", *FAST)[0] == 0  # a second run takes a free name
    assert (tmp_path / "a-red-ball-on-a-green-meadow-2.mp4").exists()


def test_a_run_file_makes_the_same_video_again(run, tmp_path):
    chosen = ["--seed", "5", "--motion", "30,0", "--attention", "causal"]
    assert run("a blue kite", *FAST, "--out", "first/", *chosen)[0] == 0
    assert run("--from", "first.json", "--out", "again/", "--quiet", where=None)[0] == 0
    first, again = (read_video(tmp_path / name).frames for name in ("first", "again"))
    assert np.array_equal(first, again)
    assert run("--from", "first.json", "--out", "other/", "--quiet", "--seed", "6", where=None)[0] == 0
    other = json.loads((tmp_path / "other.json").read_text())["settings"]
    assert other["seed"] == 6 and other["motion"] == [30.0, 0.0]
    assert not np.array_equal(first, read_video(tmp_path / "other").frames)


def test_a_run_file_notices_other_weights(run, weights, tmp_path):
    assert run("a blue kite", *FAST, "--out", "first.gif")[0] == 0
    record = json.loads((tmp_path / "first.json").read_text())
    record["weights"]["sha256"] = "0" * 64
    (tmp_path / "first.json").write_text(json.dumps(record))
    code, _, err = run("--from", "first.json", "--out", "again.gif", where=None)
    assert code == 2 and "has changed since" in err and one_line(err)


@pytest.mark.parametrize(
    "argv, words",
    [
        ([""], "the prompt is empty"),
        (["   "], "the prompt is empty"),
        ([], "give a prompt"),
        (["x", "--frames", "0"], "frames = 0"),
        (["x", "--frames", "two"], "invalid whole number value"),
        (["x", "--height", "500"], "496 or 504"),
        (["x", "--width", "0"], "width = 0"),
        (["x", "--t-prime", "950", "--t", "941"], "t_prime = 950"),
        (["x", "--steps", "0"], "steps = 0"),
        (["x", "--steps", "1001"], "steps = 1001"),
        (["x", "--chunk", "0"], "chunk = 0"),
        (["x", "--seed", "-1"], "seed = -1"),
        (["x", "--attention", "last"], "own, first, previous"),
        (["x", "--motion", "3"], "DX,DY"),
        (["x", "--motion", "nan,1"], "finite"),
        (["x", "--smooth-background", "2"], "smooth_background = 2"),
        (["x", "--smooth-background", "0.6", "--foreground", "zebra"], '"zebra" does not stand in the prompt'),
        (["x", "--masks", "m/"], "--smooth-background"),
        (["x", "--out", "video.avi"], ".mp4"),
        (["x", "--out", "x.gif", "--fps", "60"], "at most 50"),
        (["x", "--fps", "5000"], "fps is 5000"),
        (["x", "--from", "nothing.json"], "cannot be read"),
        (["x", "--tokenizer", "nowhere"], "vocab.json"),
        (["x", "--device", "abacus"], "--device abacus"),
        (["x", "--dtype", "int8"], "int8"),
        (["x", "--colour"], "unrecognized"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run, tmp_path, argv, words):
    code, out, err = run(*argv)
    assert code == 2 and words in err and one_line(err) and not out
    assert os.listdir(tmp_path) == []


def test_negative_motion_needs_no_equals_sign(run, tmp_path):
    assert run("a blue kite", *FAST, "--motion", "-12,-3.5", "--out", "left.gif")[0] == 0
    assert json.loads((tmp_path / "left.json").read_text())["settings"]["motion"] == [-12.0, -3.5]


def test_a_run_file_knows_tokenizer_and_moved_weights(run, weights, tmp_path):
    import shutil

    shutil.copytree(weights, tmp_path / "copy")
    shutil.move(tmp_path / "copy/tokenizer", tmp_path / "words")
    shutil.copytree(tmp_path / "words", tmp_path / "copy/tokenizer")
    assert run("a blue kite", *FAST, "--out", "first/", "--tokenizer", "words", where=tmp_path / "copy")[0] == 0
    assert json.loads((tmp_path / "first.json").read_text())["tokenizer"] == str(tmp_path / "words")
    shutil.move(tmp_path / "copy", tmp_path / "moved")
    code, _, err = run("--from", "first.json", "--out", "again/", where=None)
    assert code == 2 and "which is gone" in err and "--weights" in err and one_line(err)
    assert run("--from", "first.json", "--out", "again/", "--quiet", where=tmp_path / "moved")[0] == 0
    assert np.array_equal(read_video("first").frames, read_video("again").frames)


def test_latents_are_written_on_request(run, tmp_path):
    assert run("a blue kite", *FAST, "--out", "x.gif", "--latents")[0] == 0
    assert load_file(tmp_path / "x-latents.safetensors")["latents"].shape == (2, 4, 8, 8)


def test_folders_with_a_dot_have_run_files_of_their_own(run, tmp_path):
    assert run("a blue kite", *FAST, "--out", "run.1/")[0] == 0
    assert run("a blue kite", *FAST, "--out", "run.2/")[0] == 0
    assert (tmp_path / "run.1.json").exists() and (tmp_path / "run.2.json").exists()


def test_a_terminal_without_greek_letters_gets_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "t2vz.cli", "generate", "--help"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 0 and b"--smooth-background" in done.stdout and not done.stderr


def test_an_existing_file_is_not_lost(run, tmp_path):
    (tmp_path / "mine.mp4").write_text("precious")
    code, _, err = run("x", *FAST, "--out", "mine.mp4")
    assert code == 2 and "exists already" in err and (tmp_path / "mine.mp4").read_text() == "precious"
    assert run("x", *FAST, "--out", "mine.mp4", "--overwrite")[0] == 0
    assert len(read_video("mine.mp4")) == 2


def test_a_long_prompt_says_what_was_cut(run, tmp_path):
    code, _, err = run(" ".join(["meadow"] * 499 + ["kite"]), *[a for a in FAST if a != "--quiet"], "--out", "long.gif")
    assert code == 0 and "cut off" in err and "kite" in err
    assert "kite" in json.loads((tmp_path / "long.json").read_text())["notes"][0]


def test_a_truncated_checkpoint(run, weights, tmp_path):
    data = (weights / "unet/diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    code, _, err = run("x", where=tmp_path / "cut.safetensors")
    assert code == 2 and one_line(err) and "cut.safetensors" in err


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"cond_stage_model.model.ln_final.weight": (4,)}, "2."),
        ({"conditioner.embedders.0.x": (4,)}, "SDXL"),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3),
                "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 768),
            },
            "inpainting",
        ),
        ({"lora_unet_x.lora_down.weight": (4, 4)}, "LoRA"),
        ({"something.else": (4,)}, "strange.safetensors"),
    ],
)
def test_another_models_checkpoint_is_named(run, tmp_path, keys, words):
    save_file({key: torch.zeros(shape) for key, shape in keys.items()}, tmp_path / "strange.safetensors")
    code, _, err = run("x", where=tmp_path / "strange.safetensors")
    assert code == 2 and words in err and one_line(err)


def test_a_pickle_is_refused_unopened(run, tmp_path):
    for name in ("model.ckpt", "renamed.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
        code, _, err = run("x", where=tmp_path / name)
        assert code == 2 and "pickle" in err and one_line(err) and not (tmp_path / "pwned").exists()


def test_missing_keys_are_named(run, weights, tmp_path):
    import shutil

    shutil.copytree(weights, tmp_path / "copy")
    file = tmp_path / "copy/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["mid_block.resnets.0.conv1.weight"]
    save_file(tensors, file)
    code, _, err = run("x", where=tmp_path / "copy")
    assert code == 2 and "mid_block.resnets.0.conv1.weight" in err and one_line(err)


def test_broken_weights_never_write_a_frame(run, weights, tmp_path):
    import shutil

    shutil.copytree(weights, tmp_path / "copy")
    file = tmp_path / "copy/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_out.weight"] = tensors["conv_out.weight"] * 1e30  # finite in the file, infinite in the video
    save_file(tensors, file)
    code, _, err = run("x", *FAST, "--out", "x.mp4", where=tmp_path / "copy")
    assert code == 1 and "not finite" in err and "timestep" in err and one_line(err)
    assert not (tmp_path / "x.mp4").exists() and not (tmp_path / "x.json").exists()


def test_no_ffmpeg_is_said_before_the_work(run, tmp_path, monkeypatch):
    import imageio_ffmpeg

    def none():
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    code, _, err = run("x", *FAST, "--out", "x.mp4")
    assert code == 1 and "pip install imageio-ffmpeg" in err and one_line(err) and os.listdir(tmp_path) == []
    assert run("x", *FAST, "--out", "x.gif")[0] == 0


def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch):
    import errno

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("x", *FAST, "--out", "x.gif")
    assert code == 1 and "disk is full" in err and one_line(err) and os.listdir(tmp_path) == []


def test_running_out_of_memory_says_what_to_do(run, tmp_path, monkeypatch):
    from t2vz.commands import making

    def too_much(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmany\nlines")

    monkeypatch.setattr(making, "algorithm_1", too_much)
    code, _, err = run("x", *FAST, "--out", "x.gif")
    assert code == 1 and "--chunk 1" in err and one_line(err)


def test_ctrl_c_is_one_line_and_leaves_nothing(weights, tmp_path):
    command = [
        sys.executable,
        "-m",
        "t2vz.cli",
        "generate",
        "a red ball",
        "--weights",
        str(weights),
        "--frames",
        "64",
        "--height",
        "256",
        "--width",
        "256",
        "--steps",
        "200",
        "--out",
        "x.mp4",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    plan = process.stderr.readline()  # said when the work begins
    assert "64 frames of 256×256" in plan
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped" in err and one_line(err) and os.listdir(tmp_path) == []


def test_help_has_examples(capsys):
    for argv in (["--help"], ["generate", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        out = capsys.readouterr().out
        assert stop.value.code == 0 and "examples:" in out and "t2vz generate" in out


@pytest.mark.parametrize("command", ["generate", "control", "edit", "explain", "ablate"])
def test_help_says_what_is_true_of_its_command(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("examples:") == 1 and "noise of their own" not in out
    assert ("where --from names one" in out) is ("--from RUN.json" in out)


def one_line(err: str) -> bool:
    """One line on stderr, no traceback."""
    return err.count("\n") == 1 and "Traceback" not in err
