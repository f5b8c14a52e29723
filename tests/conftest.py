"""What all tests share: the device they run on, tiny models on the disk, and the command line."""

import os
import shutil
import signal

# A program started in the background ignores Ctrl-C, and so would those that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On tensors this small, threads wait for each other longer than they work. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402
from tiny import UNET, randomize, tiny_edit_sd, tiny_sd, tiny_tokenizer  # noqa: E402


def pytest_addoption(parser):
    parser.addoption(
        "--device", default="cpu", help="cpu, cuda or mps: where tensors live in tests that use the `device` fixture"
    )
    parser.addoption(
        "--weights", default=None, help="a checkpoint of yours (file or folder) for tests/equivalence to compare on"
    )


@pytest.fixture
def device(request):
    """The device under test; a test that asks for CUDA on a machine without it is skipped by name."""
    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip(f"--device {name}: this machine has no CUDA device")
    return torch.device(name)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with tiny checkpoints in float32: tiny/, other/ (of another seed) and edit/ (its UNet reads 8 channels),
    and each as a single file, with tokenizer/ beside; and ControlNets, net/ and net2/. Not to be changed."""
    from t2vz.checkpoints import save_folder, save_part, save_single_file
    from t2vz.unet import ControlNet, ControlNetConfig

    folder = tmp_path_factory.mktemp("models")
    for name, sd in (("tiny", tiny_sd(folder)), ("other", tiny_sd(folder, seed=1)), ("edit", tiny_edit_sd(folder))):
        parts = (sd.unet, sd.vae, sd.text_encoder)
        save_folder(folder / name, *parts, folder / "tokenizer", dtype=torch.float32)
        save_single_file(folder / f"{name}.safetensors", *parts, dtype=torch.float32)
    for seed, name in enumerate(("net", "net2")):
        config = ControlNetConfig(**vars(UNET), condition_out_channels=(8, 8, 8, 8))
        save_part(folder / name, randomize(ControlNet(config), seed), dtype=torch.float32)
    return folder


@pytest.fixture(scope="session")
def theirs(tmp_path_factory):
    """The tiny model of `models`, as diffusers' pipeline of the same weights saves it. Not to be changed."""
    from twins import pipeline_twin

    folder = tmp_path_factory.mktemp("theirs")
    pipeline_twin(tiny_sd(folder), folder / "tokenizer").save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")  # which transformers 5 writes as tokenizer.json alone
    tiny_tokenizer(folder)
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run `t2vz WORDS` in an empty folder: (exit code, stdout, stderr)."""
    from t2vz.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def done(call):
    """`done(WORDS)`: `t2vz WORDS`, which must succeed; its stdout and stderr."""

    def check(*words):
        code, out, err = call(*words)
        assert code == 0, err
        return out, err

    return check


@pytest.fixture
def refused(call, tmp_path):
    """`refused(WORDS, said, …)`: exit code 2 (or 1: failed), one line that says so, and nothing written or lost."""

    def check(words, *said, code=2):
        before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}
        found, out, err = call(*words)
        assert found == code and all(one in err for one in said) and err.count("\n") == 1 and not out, err
        assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before

    return check
