"""What the comparisons share: seeded randomness, full float32 on GPUs, and a place to note the errors measured."""

import pytest
import torch


@pytest.fixture(autouse=True)
def full_precision():
    """No TF32: GPUs' convolutions use it by default, and would round the factors of float32 products to 11 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def normal(device):
    """normal(shape, dtype, seed) -> standard normal numbers on the device; dtypes differ by rounding only."""

    def draw(shape, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    return draw


@pytest.fixture
def measured(record_property):
    """measured(name, error, tolerance): assert error ≤ tolerance, and print it (pytest -rP shows the figures)."""

    def check(name: str, error: float, tolerance: float) -> None:
        record_property(name, error)
        print(f"{name}: {error:.1e} (tolerance {tolerance:.0e})")
        assert error <= tolerance, f"{name}: relative error {error:.2e} is above {tolerance:.0e}"

    return check


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where tiny models put their tokenizer."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def saved(theirs, models):
    """One tiny model written by diffusers, by t2vz as a folder, and by t2vz as a single file; in float32."""
    return {"theirs": theirs, "ours": models / "tiny", "single": models / "tiny.safetensors"}
