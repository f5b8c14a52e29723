"""Processes that train together: real ones, started by torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from training.fit import Settings, common_clock, fit, processes

here = processes()
folder, seen = Path(sys.argv[1]), []
torch.manual_seed(0)
model = nn.Linear(3, 1)

def loss_of(generator):
    x = torch.randn(4, 3, generator=generator)
    seen.append(x.tolist())
    return {"loss": (model(x).float() - x.sum(dim=1, keepdim=True)).square().mean()}

fit(model, loss_of, folder / "run", Settings(steps=5, batch=4, warmup=1, ema=0.5))
clock = common_clock(-1000.0 * here.process_index, here)
out = {"weights": model.weight.tolist(), "seen": seen, "clock": clock}
(folder / f"rank{here.process_index}.json").write_text(json.dumps(out))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two ranks report after five steps together, and the folder."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([*command, folder / "script.py", folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{i}.json").read_text()) for i in range(2)], folder


def test_ranks_agree_on_weights_and_clock(two):
    (a, b), _ = two
    assert a["weights"] == b["weights"] and a["clock"] == b["clock"]


def test_ranks_see_batches_of_their_own(two):
    (a, b), _ = two
    assert len(a["seen"]) == 5
    batches = [json.dumps(batch) for batch in a["seen"] + b["seen"]]
    assert len(set(batches)) == 10


def test_two_ranks_are_one_with_the_batch_of_both(two):
    """The same training written out by hand: AdamW on the mean loss of both batches."""
    (a, b), folder = two
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    for step, parts in enumerate(zip(a["seen"], b["seen"])):
        optimizer.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 5)).item())
        with torch.autocast("cpu", torch.bfloat16):
            x = torch.tensor(parts).flatten(0, 1)
            loss = (model(x).float() - x.sum(dim=1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    state = load_file(folder / "run/state.safetensors")
    torch.testing.assert_close(state["model.weight"], model.weight.detach(), atol=2e-4, rtol=0)
