"""One video by several processes: the video of one process, a part of the work for each, one line for errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import UNET, randomize, tiny_edit_sd, tiny_sd

from t2vz.cli import main
from t2vz.errors import FailedError, InputError
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


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def own(folder, share):
    """The tokenizer's folder, which each process writes for itself."""
    path = folder / str(share.rank)
    path.mkdir(exist_ok=True)
    return path


def text(folder, share, noise=None, **changes):
    return text_job(tiny_sd(own(folder, share)), Settings(PROMPT, **{**QUICK, **changes}), noise, share=share)


def control(folder, share):
    net = randomize(ControlNet(ControlNetConfig(**vars(UNET))), 11).eval().requires_grad_(False)
    settings = ControlSettings(PROMPT, frames=M, height=48, width=32, steps=3, chunk=2)
    return control_job(tiny_sd(own(folder, share)), settings, PICTURES, net, share=share)


def edit(folder, share, **changes):
    settings = EditSettings("make it snow", frames=M, height=48, width=32, steps=3, **changes)
    return edit_job(tiny_edit_sd(own(folder, share)), settings, PICTURES, share=share)


CASES = {
    "motion": text,
    "own frames": lambda *which: text(*which, attention="own", motion=None, initial_noise="progressive"),
    "eta and smoothing": lambda *which: text(*which, eta=0.7, smooth_background=0.6, chunk=1),
    "noise given": lambda *which: text(*which, {"x_T": normal(1, *LATENT), "forward": normal(M - 1, *LATENT)}),
    "control": control,
    "edit": edit,
    "edit with DDIM": lambda *which: edit(*which, sampler="ddim", motion=(128.0, 0.0), image_scale=1.5),
}


def begin(folder, task, ranks):
    """Start the processes, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    code = f"import test_ranks; test_ranks.{task}({str(folder)!r})"
    return [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **given, "RANK": str(rank), "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def finish(processes):
    """Exit codes, and what all of them said on stdout."""
    said = [process.communicate(timeout=200) for process in processes]
    assert all("Traceback" not in err for _, err in said), said
    return [process.returncode for process in processes], "".join(out for out, _ in said)


def make_all(folder):
    """What each process does in the first test."""
    torch.set_num_threads(1)
    with shared() as share:
        for name, case in CASES.items():
            job = case(Path(folder), share)
            x_0 = algorithm_1(job)
            assert len(x_0) == len(job.mine) <= M / 2 + 1
            frames = list(job.pictures(x_0))
            assert job.done == job.total
            x_0 = share.gather_latents(x_0, M)
            if share.rank == 0:
                torch.save({"x_0": x_0, "frames": torch.from_numpy(np.stack(frames))}, Path(folder) / f"{name}.pt")


def test_two_processes_make_the_video_of_one(tmp_path):
    assert finish(begin(tmp_path, "make_all", 2))[0] == [0, 0]
    for name, case in CASES.items():
        made, job = torch.load(tmp_path / f"{name}.pt"), case(tmp_path, Share())
        x_0 = algorithm_1(job)
        assert float((made["x_0"] - x_0).norm() / x_0.norm()) <= 1e-5, name
        frames = torch.from_numpy(np.stack(list(job.pictures(x_0))))
        assert int((made["frames"].int() - frames.int()).abs().max()) <= 1, name


def fall_over(folder, kill=False):
    """The second of three processes meets a NaN, or is killed, at its third step."""
    torch.set_num_threads(1)
    try:
        with shared() as share:
            job = text(Path(folder), share, steps=40)
            if share.rank == 1:
                predict, asked = job.predictor, []

                def broken():
                    eps = predict()

                    def fails(x, t, *more):
                        asked.append(t)
                        if kill and len(asked) > 2:
                            os.kill(os.getpid(), 9)
                        return eps(x, t, *more) * (float("nan") if len(asked) > 2 else 1.0)

                    return fails

                job.predictor = broken
            x_0 = algorithm_1(job)
            list(job.pictures(x_0))
    except FailedError as error:
        print(error, flush=True)
        raise SystemExit(7) from None


def be_killed(folder):
    fall_over(folder, kill=True)


def test_an_error_in_one_process_ends_all_with_one_line(tmp_path):
    codes, said = finish(begin(tmp_path, "fall_over", 3))
    assert codes == [1, 7, 1] and said.count("\n") == 1 and "frame 1 is not finite" in said


def test_a_process_that_is_killed_ends_all_with_one_line(tmp_path):
    codes, said = finish(begin(tmp_path, "be_killed", 3))
    assert sorted(codes) == [-9, 1, 7] and said.count("\n") == 1 and "a process that made a part" in said


FLAGS = ["generate", "a red ball on a green meadow", "--frames=3", "--steps=2", "--chunk=1", "--latents", "--sheet"]


def command(folder):
    sys.exit(main([*FLAGS, "--out", f"{folder}/two.gif"]))


def wrong_command(folder):
    sys.stderr = sys.stdout
    sys.exit(main([*FLAGS, "--attention=causal", "--out", f"{folder}/wrong.gif"]))


def test_the_command_line_writes_and_speaks_once(tmp_path):
    codes, said = finish(begin(tmp_path, "command", 2))
    assert codes == [0, 0] and said.count("\n") == 1 and f"{tmp_path}/two.gif: 3 frames" in said
    codes, said = finish(begin(tmp_path, "wrong_command", 2))
    assert sorted(codes) == [1, 2] and said.count("\n") == 1 and 'choose "first" or "own"' in said
    assert sorted(os.listdir(tmp_path)) == [
        f"two{ending}" for ending in ("-latents.safetensors", "-sheet.png", ".gif", ".json")
    ]
    assert main([*FLAGS, "--out", f"{tmp_path}/one.gif", "--quiet"]) == 0
    one, two = (load_file(tmp_path / f"{name}-latents.safetensors")["latents"] for name in ("one", "two"))
    assert float((one - two).norm() / one.norm()) <= 1e-5


@pytest.mark.parametrize("m, ranks", [(1, 1), (1, 3), (2, 3), (7, 3), (16, 4), (5, 8)])
def test_every_frame_is_made_by_one_process_and_the_first_by_all(m, ranks):
    made = [Share(rank, ranks).frames(m) for rank in range(ranks)]
    assert all(frames[0] == 0 for frames in made)
    assert sorted(k for frames in made for k in frames[1:]) == list(range(1, m))
    assert max(map(len, made)) - min(map(len, made)) <= 1


def test_attention_to_other_frames_than_the_first_needs_one_process(tmp_path):
    for attention in ("previous", "first_previous", "causal", "all"):
        with pytest.raises(InputError, match='choose "first" or "own"'):
            text(tmp_path, Share(1, 2), attention=attention)
        assert text(tmp_path, Share(), attention=attention).mine == list(range(M))


@pytest.mark.parametrize("chunk, calls", [(None, [[0], [4, 5, 6]]), (2, [[0], [4, 5], [6]]), (9, [[0], [4, 5, 6]])])
def test_a_stretch_of_frames_comes_in_chunks_after_the_first_frame(chunk, calls):
    asked = []

    def unet(x, t, context, attention, *, first_frame, cache, look):
        asked.append(list(range(first_frame, first_frame + x.shape[1])))
        return x

    x = normal(2, 4, *LATENT)
    assert torch.equal(InChunks(unet, torch.zeros(2, 77, 8), chunk=chunk, frames=[0, 4, 5, 6])(x, 5), x)
    assert asked == calls
