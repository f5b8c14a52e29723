"""The training loop: budgets, resuming, the moving average, the state on the disk, the loss curve."""

import csv
import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from t2vz.errors import FailedError, InputError
from training.fit import Settings, fit, load_network, processes, read_facts, save_network
from training.log import log_losses, read_log, write_log

TINY = Settings(steps=12, batch=4, learning_rate=1e-2, warmup=3, ema=0.9)


def line(seed=0):
    """A linear model, and losses of fitting y = 3x − 1 to it."""
    torch.manual_seed(seed)
    model = nn.Linear(1, 1)

    def loss_of(generator):
        x = torch.randn(4, 1, generator=generator)
        return {"loss": (model(x).float() - (3 * x - 1)).square().mean()}

    return model, loss_of


def assert_same(one, other):
    for a, b in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_rate_warms_up_and_ends_at_zero():
    settings = Settings(steps=100, learning_rate=2.0, warmup=10)
    rates = [settings.rate(step, 0.0) for step in range(101)]
    assert rates[0] == pytest.approx(0.2, rel=1e-2)
    assert max(rates) == max(rates[8:11])
    assert rates[50] == pytest.approx(1.0)  # half a cosine: half the peak at half the time
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))


def test_minutes_count_time_and_not_steps():
    settings = Settings(minutes=2.0)
    assert settings.progress(10**6, 30.0) == pytest.approx(0.25)
    assert settings.progress(0, 1000.0) == 1.0


@pytest.mark.parametrize("budget", [{}, {"minutes": 1.0, "steps": 1}, {"steps": 0}, {"minutes": -1.0}])
def test_budget_must_be_one_and_positive(budget):
    with pytest.raises(InputError, match="minutes="):
        Settings(**budget)


def test_interrupted_training_ends_with_the_same_weights(tmp_path):
    settings = replace(TINY, save_minutes=0.0)
    whole, loss_of = line()
    fit(whole, loss_of, tmp_path / "whole", settings)

    broken, loss_of = line()
    steps = iter(range(12))

    def interrupted(generator):
        if next(steps) == 7:
            raise KeyboardInterrupt
        return loss_of(generator)

    with pytest.raises(KeyboardInterrupt):
        fit(broken, interrupted, tmp_path / "parts", settings)
    again, loss_of = line(seed=99)  # other first weights: they must come from the state
    fit(again, loss_of, tmp_path / "parts", settings)
    assert_same(whole, again)
    logs = [[row["loss"] for row in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert logs[0] == pytest.approx(logs[1])


def test_finished_training_is_not_continued(tmp_path):
    model, loss_of = line()
    fit(model, loss_of, tmp_path, TINY)
    other, _ = line(seed=5)
    fit(other, lambda generator: pytest.fail("a step was taken"), tmp_path, TINY)
    assert_same(model, other)


def test_ema_and_adamw_agree_with_a_plain_loop(tmp_path):
    """Against AdamW without fusing, the average written out, float32 arithmetic under the same autocast."""
    model, loss_of = line()
    twin, twin_loss = line()
    fit(model, loss_of, tmp_path, TINY)

    options = {"betas": TINY.betas, "weight_decay": TINY.weight_decay, "fused": False}
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.0, **options)
    average = [p.detach().double() for p in twin.parameters()]
    for step in range(12):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 3) * (1 + math.cos(math.pi * step / 12)) / 2
        with torch.autocast("cpu", torch.bfloat16):
            loss = twin_loss(torch.Generator().manual_seed(step))["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(0.9, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * p.detach().double() for a, p in zip(average, twin.parameters())]
    for a, b in zip(average, model.parameters()):
        torch.testing.assert_close(a, b.detach().double(), rtol=1e-5, atol=1e-6)


def test_state_of_other_settings_is_refused(tmp_path):
    model, loss_of = line()
    fit(model, loss_of, tmp_path, TINY)
    with pytest.raises(InputError, match="batch=4, not 8"):
        fit(model, loss_of, tmp_path, replace(TINY, batch=8))
    with pytest.raises(InputError, match="other sizes"):
        fit(nn.Linear(2, 1), loss_of, tmp_path, TINY)


def test_loss_that_is_no_number_stops_the_training(tmp_path):
    model, _ = line()
    with pytest.raises(FailedError, match="nan and its gradient nan in step 0"):
        fit(model, lambda generator: {"loss": model.weight.sum() * float("nan")}, tmp_path, TINY)
    assert not (tmp_path / "state.safetensors").exists()


def test_sheet_is_shown_with_the_average_and_training_goes_on(tmp_path):
    seen = []
    model, loss_of = line()

    def show(path):
        seen.append((model.training, model.weight.item()))

    settings = Settings(steps=3, batch=4, learning_rate=0.1, warmup=0, ema=0.5, sheet_minutes=0.0)
    fit(model, loss_of, tmp_path, settings, show)
    assert [training for training, _ in seen] == [False] * 4  # after each step, and at the end
    assert seen[-1][1] == seen[-2][1] == model.weight.item()


def test_log_rows_are_means_of_their_steps(tmp_path):
    values = torch.rand(50, generator=torch.Generator().manual_seed(3)).tolist()
    log = []
    for i, value in enumerate(values):
        log_losses(log, i + 1, {"loss": value}, float(i))
    write_log(tmp_path, log)
    with open(tmp_path / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [20, 40, 50]
    wanted = [sum(values[a:b]) / (b - a) for a, b in ((0, 20), (20, 40), (40, 50))]
    assert [float(row["loss"]) for row in rows] == pytest.approx(wanted)
    assert Image.open(tmp_path / "losses.png").size == (800, 400)


def test_finished_network_round_trips(tmp_path):
    model, other = line(1)[0], line(2)[0]
    save_network(tmp_path / "net/net.safetensors", model, {"config": {"block_out_channels": [1, 2]}})
    load_network(tmp_path / "net/net.safetensors", other)
    torch.testing.assert_close(model.weight, other.weight)
    assert read_facts(tmp_path / "net/net.safetensors") == {"config": {"block_out_channels": [1, 2]}, "parameters": 2}
    with pytest.raises(InputError, match="train vae first"):
        read_facts(tmp_path / "vae/vae.safetensors")


def test_a_state_of_the_format_before_is_continued(tmp_path):
    """model., ema., moment1., moment2. and JSON facts with settings that are no longer asked."""
    model, loss_of = line()
    fit(model, loss_of, tmp_path / "new", TINY)
    with safe_open(tmp_path / "new/state.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["training"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    assert {key.split(".")[0] for key in tensors} == {"model", "ema", "moment1", "moment2"}
    facts["settings"] |= {"device": "cpu", "threads": 1}
    facts["step"], tensors["ema.weight"] = 12, torch.tensor([[7.0]])
    (tmp_path / "old").mkdir()
    save_file(tensors, tmp_path / "old/state.safetensors", {"training": json.dumps(facts)})
    again = fit(line(seed=3)[0], loss_of, tmp_path / "old", TINY)
    assert again.weight.item() == 7.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_no_gpu_is_one_line():
    with pytest.raises(InputError, match="finds no GPU"):
        processes("cuda")
