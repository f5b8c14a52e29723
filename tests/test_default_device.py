"""Under torch.set_default_device: what t2vz makes stays where its inputs are. "meta" is the strictest default: a tensor
that landed there would hold no numbers, and everything computed from it would fail."""

import ast

import numpy as np
import pytest
import torch
from test_house import FILES, ROOT
from tiny import UNET, randomize, tiny_edit_sd, tiny_sd

from t2vz import control_video, edit_video, text_to_video
from t2vz.metrics import score_video
from t2vz.motion import similarity_flow
from t2vz.unet import ControlNet, ControlNetConfig

PROMPT = "a red ball on a green meadow"
SMALL = {"frames": 3, "steps": 5, "height": 48, "width": 64}
MAKES = {"zeros", "ones", "empty", "full", "arange", "linspace", "logspace", "tensor", "eye", "triu_indices"}
MAKES |= {"rand", "randn", "randint", "randperm", "hann_window", "fft.fftfreq", "fft.rfftfreq"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


def pictures():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)


def from_text(folder, **changes):
    sd = tiny_sd(folder)
    return lambda: text_to_video(sd, PROMPT, **{**SMALL, **changes})


def controlled(folder):
    sd, net = tiny_sd(folder), randomize(ControlNet(ControlNetConfig(**vars(UNET))), 11).requires_grad_(False)
    return lambda: control_video(sd, PROMPT, pictures(), net, steps=2, motion=(64, 0))


def edited(folder):
    sd = tiny_edit_sd(folder)
    return lambda: edit_video(sd, pictures(), PROMPT, steps=2)


@pytest.mark.parametrize(
    "prepared",
    [
        lambda folder: from_text(folder, smooth_background=0.6, chunk=2, zoom=1.2, eta=1.0),
        lambda folder: from_text(folder, motion=None, initial_noise="progressive", attention="causal", chunk=1),
        controlled,
        edited,
    ],
    ids=["text", "ablation", "control", "edit"],
)
def test_videos_are_the_same_under_any_default_device(folder, prepared):
    make = prepared(folder)
    plain = make()
    with torch.device("meta"):
        video = make()
        measured = score_video(video.frames, motion=(64.0, 0.0))
    assert torch.equal(video.latents, plain.latents) and (video.frames == plain.frames).all()
    assert measured == score_video(plain.frames, motion=(64.0, 0.0))


def test_flows_are_made_on_the_cpu_under_any_default_device():
    with torch.device("meta"):
        flow = similarity_flow(torch.ones(2, device="cpu"), torch.zeros(2, device="cpu"), 4, 6)
    assert flow.device.type == "cpu" and not flow.any()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_new_tensor_is_told_its_device(path):
    """Parameters aside: those belong on the default device."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    parameters = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "nn.Parameter"]
    inside = {id(node) for parameter in parameters for node in ast.walk(parameter)}
    for node in nodes:
        if (
            id(node) not in inside
            and isinstance(node, ast.Call)
            and ast.unparse(node.func) in {f"torch.{name}" for name in MAKES}
        ):
            told = any(keyword.arg in ("device", None) for keyword in node.keywords)  # None: **on_cpu
            assert told, f"{path}:{node.lineno}: {ast.unparse(node)}"
