"""The training loop: budgets, resuming, the moving average, the state on the disk, the loss curve."""

import csv
import math

import pytest
import torch
from PIL import Image
from torch import nn

from t2vz.errors import FailedError, InputError
from training import common
from training.common import Settings, Threads, fit
from training.log import log_losses, loss_curve, read_log, write_log
from training.state import load_network, read_facts, save_network

TINY = Settings(steps=12, batch=4, learning_rate=1e-2, warmup=3, ema=0.9, threads=1)


def line(seed=0):
    """A linear model, and losses of fitting y = 3x − 1 to it."""
    torch.manual_seed(seed)
    model = nn.Linear(1, 1)

    def loss_of(step, generator):
        x = torch.randn(4, 1, generator=generator)
        return {"loss": (model(x).float() - (3 * x - 1)).square().mean()}

    return model, loss_of


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
    settings = Settings(steps=12, batch=4, learning_rate=1e-2, warmup=3, ema=0.9, threads=1, save_minutes=0.0)
    whole, loss_of = line()
    fit(whole, loss_of, tmp_path / "whole", settings)

    broken, loss_of = line()

    def interrupted(step, generator):
        if step == 7:
            raise KeyboardInterrupt
        return loss_of(step, generator)

    with pytest.raises(KeyboardInterrupt):
        fit(broken, interrupted, tmp_path / "parts", settings)
    again, loss_of = line(seed=99)  # other first weights: they must come from the state
    fit(again, loss_of, tmp_path / "parts", settings)
    for a, b in zip(whole.parameters(), again.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    logs = [[row["loss"] for row in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert logs[0] == pytest.approx(logs[1])


def test_finished_training_is_not_continued(tmp_path):
    model, loss_of = line()
    fit(model, loss_of, tmp_path, TINY)
    other, _ = line(seed=5)

    def forbidden(step, generator):
        raise AssertionError("a step was taken")

    fit(other, forbidden, tmp_path, TINY)
    for a, b in zip(model.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_ema_and_adamw_agree_with_a_plain_loop(tmp_path):
    """Against AdamW without fusing, the average written out, float32 arithmetic under the same autocast."""
    model, loss_of = line()
    twin, twin_loss = line()
    fit(model, loss_of, tmp_path, TINY)

    optimizer = torch.optim.AdamW(
        twin.parameters(), lr=0.0, betas=TINY.betas, weight_decay=TINY.weight_decay, fused=False
    )
    average = [p.detach().double() for p in twin.parameters()]
    for step in range(12):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 3) * (1 + math.cos(math.pi * step / 12)) / 2
        with torch.autocast("cpu", torch.bfloat16):
            loss = twin_loss(step, torch.Generator().manual_seed(step))["loss"]
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
        fit(model, loss_of, tmp_path, Settings(steps=12, batch=8, learning_rate=1e-2, warmup=3, ema=0.9))
    with pytest.raises(InputError, match="other sizes"):
        fit(nn.Linear(2, 1), loss_of, tmp_path, TINY)


def test_loss_that_is_no_number_stops_the_training(tmp_path):
    model, _ = line()
    with pytest.raises(FailedError, match="nan and its gradient nan in step 0"):
        fit(model, lambda step, generator: {"loss": model.weight.sum() * float("nan")}, tmp_path, TINY)
    assert not (tmp_path / "state.safetensors").exists()


def test_sheet_is_shown_with_the_average_and_training_goes_on(tmp_path):
    seen = []
    model, loss_of = line()

    def show(path):
        seen.append((model.training, model.weight.item()))

    settings = Settings(steps=3, batch=4, learning_rate=0.1, warmup=0, ema=0.5, threads=1, sheet_minutes=0.0)
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


def test_loss_curve_falls_when_losses_fall():
    image = loss_curve([4.0, 2.0, 1.0], [1, 2, 3])
    blue = [(x, y) for x in range(800) for y in range(400) if image.getpixel((x, y)) == (30, 90, 200)]
    first, last = min(blue), max(blue)
    assert first[1] < last[1]  # y grows downwards


def test_threads_settle_on_the_fastest(monkeypatch):
    """With a clock that makes one thread slower than two, two run the long stretch; when that changes, one
    does."""
    now = [0.0]
    chosen = [0]
    cost = {1: 3.0, 2: 1.0}
    monkeypatch.setattr(common.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(common.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(common.torch, "set_num_threads", lambda n: chosen.__setitem__(0, n))
    threads = Threads(None)
    used = []

    def run(steps):
        for _ in range(steps):
            used.append(chosen[0])
            with threads:
                now[0] += cost[chosen[0]]

    run(2 * threads.TRIAL + threads.LONG)
    assert set(used[2 * threads.TRIAL :]) == {2}
    cost[2] = 9.0
    run(2 * threads.TRIAL + threads.LONG)
    assert set(used[-threads.LONG :]) == {1}


def test_finished_network_round_trips(tmp_path):
    model, other = line(1)[0], line(2)[0]
    save_network(tmp_path / "net/net.safetensors", model, {"config": {"block_out_channels": [1, 2]}})
    load_network(tmp_path / "net/net.safetensors", other)
    torch.testing.assert_close(model.weight, other.weight)
    assert read_facts(tmp_path / "net/net.safetensors") == {"config": {"block_out_channels": [1, 2]}, "parameters": 2}
    with pytest.raises(InputError, match="train vae first"):
        read_facts(tmp_path / "vae/vae.safetensors")
