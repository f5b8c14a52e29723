"""One video by several processes: the frames of one process, a part of the work for each, one line for errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import UNET, random, randomize, refused, relative, tiny_edit_sd, tiny_sd

from t2vz.cli import main
from t2vz.errors import FailedError
from t2vz.pipelines.algorithm_1 import algorithm_1
from t2vz.pipelines.control import control_job
from t2vz.pipelines.edit import edit_job
from t2vz.pipelines.prediction import InChunks
from t2vz.pipelines.ranks import Share, shared
from t2vz.pipelines.settings import ControlSettings, EditSettings, Settings
from t2vz.pipelines.text_to_video import text_job
from t2vz.unet import ControlNet, ControlNetConfig

M = 6
QUICK = {"frames": M, "steps": 5, "t_prime": 601, "t": 801, "height": 48, "width": 32, "motion": (128.0, 0.0)}
PICTURES = np.random.default_rng(0).integers(0, 256, (M, 48, 32, 3), dtype=np.uint8)
LATENT = (4, 6, 4)
PROMPT = "a red ball on a green meadow"
FLAGS = ["generate", PROMPT, "--frames=3", "--steps=2", "--chunk=1", "--latents", "--sheet"]


def text(folder, share, noise=None, **changes):
    return text_job(tiny_sd(folder), Settings(PROMPT, **{**QUICK, **changes}), noise=noise, share=share)


def control(folder, share):
    net = randomize(ControlNet(ControlNetConfig(**vars(UNET))), 11).eval().requires_grad_(False)
    settings = ControlSettings(PROMPT, frames=M, height=48, width=32, steps=3, chunk=2)
    return control_job(tiny_sd(folder), settings, PICTURES, net, share=share)


def edit(folder, share, **changes):
    settings = EditSettings("make it snow", frames=M, height=48, width=32, steps=3, **changes)
    return edit_job(tiny_edit_sd(folder), settings, PICTURES, share=share)


CASES = {
    "motion": text,
    "own frames": lambda *which: text(*which, attention="own", motion=None, initial_noise="progressive"),
    "eta, smoothing": lambda *which: text(*which, eta=0.7, smooth_background=0.6, chunk=1),
    "noise given": lambda *which: text(*which, {"x_T": random(1, *LATENT), "forward": random(M - 1, *LATENT)}),
    "approximations": lambda *which: text(*which, deep_cache=2, token_merging=0.5),
    "DeepCache where T is T'": lambda *which: text(*which, deep_cache=3, t=401, t_prime=401),
    "control": control,
    "edit": edit,
    "edit, DDIM": lambda *which: edit(*which, sampler="ddim", motion=(128.0, 0.0), image_scale=1.5),
}


@pytest.mark.parametrize("case", CASES)
def test_each_makes_its_frames_of_the_video_of_one_process(case, tmp_path):
    whole = algorithm_1(CASES[case](tmp_path, Share()))
    for rank in range(3):
        job = CASES[case](tmp_path, Share(rank, 3))
        x_0 = algorithm_1(job)
        assert len(x_0) == len(job.mine) <= M / 3 + 1
        assert relative(x_0, whole[job.mine]) <= 1e-5
        assert job.done == job.total - (M if rank == 0 else len(job.mine) - 1)  # what is left is to decode


@pytest.mark.parametrize("m, ranks", [(1, 1), (1, 3), (2, 3), (7, 3), (16, 4), (5, 8)])
def test_every_frame_is_made_by_one_process_and_the_first_by_all(m, ranks):
    made = [Share(rank, ranks).frames(m) for rank in range(ranks)]
    assert all(frames[0] == 0 for frames in made)
    assert sorted(k for frames in made for k in frames[1:]) == list(range(1, m))
    assert max(map(len, made)) - min(map(len, made)) <= 1


@pytest.mark.parametrize("chunk, calls", [(None, [[0], [4, 5, 6]]), (2, [[0], [4, 5], [6]]), (9, [[0], [4, 5, 6]])])
def test_a_stretch_of_frames_comes_in_chunks_after_the_first_frame(chunk, calls):
    asked = []

    def unet(x, t, context, attention, *, first_frame, cache, look):
        asked.append(list(range(first_frame, first_frame + x.shape[1])))
        return x

    x = random(2, 4, *LATENT)
    assert torch.equal(InChunks(unet, torch.zeros(2, 77, 8), chunk=chunk, frames=[0, 4, 5, 6])(x, 5), x)
    assert asked == calls


def test_frames_that_need_more_than_the_first_need_one_process(tmp_path):
    for attention in ("previous", "first_previous", "causal", "all"):
        refused(lambda: text(tmp_path, Share(1, 2), attention=attention), 'choose "first" or "own"')
        assert text(tmp_path, Share(), attention=attention).mine == list(range(M))
    refused(lambda: text(tmp_path, Share(0, 2), temporal_shift=0.25), "temporal_shift")


def run(task, folder):
    """Exit codes of two processes that do a function below, started as torchrun does, and what both said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = [str(Path(__file__).parents[i]) for i in range(3)]
    given = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    given["PYTHONPATH"] = os.pathsep.join(paths)
    command = [sys.executable, "-c", f"import test_ranks; test_ranks.{task}({str(folder)!r})"]
    processes = [
        subprocess.Popen(command, env={**os.environ, **given, "RANK": rank}, stdout=-1, stderr=-1, text=True)
        for rank in "01"
    ]
    said = [process.communicate(timeout=300) for process in processes]
    assert all("Traceback" not in err for _, err in said), said
    return [process.returncode for process in processes], "".join(out for out, _ in said)


def right_command(folder):
    sys.exit(main([*FLAGS, "--out", f"{folder}/two.gif"]))


def wrong_command(folder):
    sys.stderr = sys.stdout
    sys.exit(main([*FLAGS, "--attention=causal", "--out", f"{folder}/wrong.gif"]))


def test_the_command_writes_and_speaks_once(tmp_path):
    codes, said = run("right_command", tmp_path)
    assert codes == [0, 0] and said.count("\n") == 1 and f"{tmp_path}/two.gif: 3 frames" in said
    codes, said = run("wrong_command", tmp_path)
    assert 2 in codes and set(codes) <= {1, 2} and said.count("\n") == 1 and 'choose "first" or "own"' in said
    written = ["two-latents.safetensors", "two-sheet.png", "two.gif", "two.json"]
    assert sorted(os.listdir(tmp_path)) == written
    assert main([*FLAGS, "--out", f"{tmp_path}/one.gif", "--quiet"]) == 0
    one, two = (load_file(tmp_path / f"{name}-latents.safetensors")["latents"] for name in ("one", "two"))
    assert relative(one, two) <= 1e-5


def be_killed(folder):
    fall_over(folder, lambda: os.kill(os.getpid(), 9))


def fall_over(folder, end=lambda: float("nan")):
    """The second process meets a NaN, or is killed, at its third step."""
    folder = Path(folder) / os.environ["RANK"]
    folder.mkdir()
    try:
        with shared() as share:
            job = text(folder, share, steps=40)
            job.on_step = lambda step: step.x_s.mul_(end() if share.rank == 1 and step.t < 800 else 1.0)
            list(job.pictures(algorithm_1(job)))
    except FailedError as error:
        print(error, flush=True)
        raise SystemExit(7) from None


@pytest.mark.parametrize(
    "task, codes, words",
    [("fall_over", [1, 7], "frame 1 is not finite"), ("be_killed", [7, -9], "a process that made a part")],
)
def test_an_error_in_one_process_ends_both_with_one_line(task, codes, words, tmp_path):
    found, said = run(task, tmp_path)
    assert found == codes and said.count("\n") == 1 and words in said
