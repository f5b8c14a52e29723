"""Processes that train together: real ones, started by torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training import ranks

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from training import ranks
from training.common import Settings, fit

ranks.join()
folder, seen = Path(sys.argv[1]), []
with ranks.rank_0_first():
    if not (folder / "first").exists():
        assert ranks.rank() == 0
        (folder / "first").write_text("here")
torch.manual_seed(0)
model = nn.Linear(3, 1)

def loss_of(step, generator):
    x = torch.randn(4, 3, generator=generator)
    seen.append(x.tolist())
    return {"loss": (model(x).float() - x.sum(dim=1, keepdim=True)).square().mean()}

fit(model, loss_of, folder / "run", Settings(steps=5, batch=4, warmup=1, ema=0.5, threads=1))
out = {"weights": model.weight.tolist(), "seen": seen, "clock": ranks.same(float(ranks.rank() + 7))}
(folder / f"rank{ranks.rank()}.json").write_text(json.dumps(out))
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
    assert a["weights"] == b["weights"] and a["clock"] == b["clock"] == 7.0


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


def test_one_process_needs_no_ranks():
    assert (ranks.rank(), ranks.count(), ranks.same(0.25), ranks.device_of("cuda")) == (0, 1, 0.25, "cuda")
    with ranks.rank_0_first():
        pass
