"""SD 1.5's published names, shapes and configs, and a checkpoint to be spoilt."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def manifest():
    """SD 1.5's tensors: rows (part, single-file name, its shape, folder name, its shape), extras, old VAE names; its
    ControlNets': controlnet, such rows; and how many numbers each part has."""
    control = json.loads((DATA / "controlnet.json").read_text())["rows"]
    return SimpleNamespace(
        **json.loads((DATA / "sd15.json").read_text()),
        controlnet=[("ControlNet", single, shape, name, shape) for single, name, shape in control],
        parameters={"unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480, "ControlNet": 361_279_120},
    )


@pytest.fixture(scope="session")
def published():
    """SD 1.5's config files as they are published, and as DreamBooth's script leaves them: unet, vae, scheduler."""
    return json.loads((DATA / "configs.json").read_text())


@pytest.fixture
def folder(theirs, tmp_path):
    """A copy of diffusers' tiny checkpoint, to be spoilt."""
    return shutil.copytree(theirs, tmp_path / "copy")
