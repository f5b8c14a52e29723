"""What all tests share: the device they run on, and the sizes of the small networks they build."""

import os
import signal

# A program started in the background ignores Ctrl-C, and so would those that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On tensors this small, threads wait for each other longer than they work. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402


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
