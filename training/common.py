"""What every training shares: a budget, a loop, a moving average of the weights, resuming, a loss curve.

`fit` is the loop. Two rules make it resumable with the same result as an uninterrupted run:
the state (weights, moving average, AdamW's two moments, step, seconds) lies in one safetensors file that
appears whole or not at all, and everything random in step k comes from a generator seeded with (seed, k), so
there is no generator to save. Several processes may train one network together (`ranks`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from t2vz.errors import FailedError, InputError

from . import ranks
from .log import log_losses
from .state import copy_into, resume, save

LossOf = Callable[[int, torch.Generator], dict[str, Tensor]]  # step, generator -> named losses; "loss" is minimised


@dataclass(frozen=True)
class Settings:
    """How a training runs. Exactly one of `minutes` (of this machine's time) and `steps` ends it.

    learning_rate: AdamW's peak, after `warmup` steps; it then falls to 0 as half a cosine, over the steps or,
    with `minutes`, over the time, so that a budgeted run ends with a finished schedule.
    """

    minutes: float | None = None
    steps: int | None = None
    batch: int = 8
    learning_rate: float = 1e-3
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    clip_gradient: float = 1.0
    ema: float = 0.999  # decay of the moving average of the weights
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None  # CPU threads; None tries out, again and again, which number is fastest
    save_minutes: float = 2.0
    sheet_minutes: float = 4.0

    def __post_init__(self):
        if (self.minutes is None) == (self.steps is None):
            raise InputError(f"minutes={self.minutes}, steps={self.steps}: a training ends after one of them; give one")
        if not (self.steps if self.minutes is None else self.minutes) > 0 or self.batch < 1:
            raise InputError(f"minutes={self.minutes}, steps={self.steps}, batch={self.batch}: all must be above 0")

    def progress(self, step: int, seconds: float) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        spent = step / self.steps if self.steps is not None else seconds / (60 * self.minutes)
        return min(1.0, spent)

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate of a step: linear warmup times half a cosine."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.progress(step, seconds)))


def fit(
    model: nn.Module,
    loss_of: LossOf,
    folder: str | Path,
    settings: Settings,
    show: Callable[[Path], None] | None = None,
    name: str = "training",
) -> nn.Module:
    """Train `model` in place until the budget is spent; it then holds the moving average of its weights, in
    eval mode.

    loss_of(step, generator): the losses of one batch, all randomness drawn from the generator; runs under
    bfloat16 autocast. show(path): writes a sheet of samples to a PNG; the model holds the moving average
    during the call. folder: state.safetensors, losses.csv, losses.png, sheet.png; a state that is there is
    continued. Raises InputError for a state made with other settings, FailedError when the loss is no longer
    a number.
    """
    folder = Path(folder)
    threads = Threads(settings.threads)
    model.to(settings.device, memory_format=layout(settings.device))
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    ema = {key: value.detach().clone() for key, value in model.named_parameters()}
    state = resume(folder, settings, model, optimizer, ema)
    clock = Clock(state.seconds)
    saved = shown = time.monotonic()
    bar = tqdm(
        desc=name,
        total=1.0,
        bar_format="{desc}: {percentage:5.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}",
        initial=settings.progress(state.step, state.seconds),
        mininterval=5,
        disable=ranks.rank() > 0,
    )
    model.train()
    while settings.progress(state.step, seconds := ranks.same(clock.seconds)) < 1.0:
        with threads:
            losses = train_step(model, loss_of, optimizer, ema, settings, state.step, seconds)
        state.step += 1
        if ranks.rank() > 0:
            continue
        log_losses(state.log, state.step, losses, clock.seconds)
        bar.set_postfix_str(f"step {state.step} loss {state.log[-1]['loss']:.4f}", refresh=False)
        bar.update(settings.progress(state.step, clock.seconds) - bar.n)
        if time.monotonic() - saved > 60 * settings.save_minutes:
            state.seconds = clock.seconds
            save(folder, settings, state, model, optimizer, ema)
            saved = time.monotonic()
        if show and time.monotonic() - shown > 60 * settings.sheet_minutes:
            show_with(model, ema, show, folder / "sheet.png")
            shown = time.monotonic()
    bar.close()
    state.seconds = clock.seconds
    if ranks.rank() == 0:
        save(folder, settings, state, model, optimizer, ema)
    copy_into(model, ema)
    model.eval()
    if show and ranks.rank() == 0:
        show(folder / "sheet.png")
    return model


def layout(device: str) -> torch.memory_format:
    """Channels-last on GPUs, whose convolutions like it. Not on CPUs: there torch's GroupNorm takes so long
    backwards that a step of the VAE takes twice as long."""
    return torch.channels_last if device.startswith("cuda") else torch.contiguous_format


def train_step(
    model: nn.Module,
    loss_of: LossOf,
    optimizer: torch.optim.AdamW,
    ema: dict[str, Tensor],
    settings: Settings,
    step: int,
    seconds: float,
) -> dict[str, float]:
    """One step of AdamW and of the moving average; returns the losses as numbers."""
    for group in optimizer.param_groups:
        group["lr"] = settings.rate(step, seconds)
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step * ranks.count() + ranks.rank())
    with torch.autocast(torch.device(settings.device).type, torch.bfloat16):
        losses = loss_of(step, generator)
    losses["loss"].backward()
    ranks.average_gradients(model.parameters())
    size = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_gradient)
    if not (torch.isfinite(losses["loss"]) and torch.isfinite(size)):
        raise FailedError(
            f"the loss became {losses['loss'].item()} and its gradient {size.item()} in step {step}; lower "
            f"the learning rate ({settings.learning_rate}) and start again in another folder"
        )
    optimizer.step()
    optimizer.zero_grad()
    # Early on the average follows quickly: it should not remember the random start.
    decay = min(settings.ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for key, value in model.named_parameters():
            ema[key].lerp_(value, 1 - decay)
    return {key: value.item() for key, value in losses.items()}


class Threads:
    """Chooses the number of CPU threads by trying: all of them, or one less, and so on.

    On a machine shared with other work, threads wait for the one that was interrupted, and fewer can be
    several times as fast. So each number runs TRIAL steps, the fastest runs LONG steps, and then they are
    tried again.
    """

    TRIAL, LONG = 4, 80

    def __init__(self, fixed: int | None):
        most = torch.get_num_threads()
        self.choices = [fixed] if fixed else sorted({most, max(1, most - 1), max(1, most // 2)})
        self.start_trial()

    def start_trial(self) -> None:
        """Try each choice anew, the first one first."""
        self.steps = 0
        self.trying = 0  # which choice is being tried; past the last: the fastest is running
        self.seconds = [0.0] * len(self.choices)
        torch.set_num_threads(self.choices[0])

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_) -> None:
        self.steps += 1
        if len(self.choices) == 1:
            return
        if self.trying == len(self.choices):
            if self.steps == self.LONG:
                self.start_trial()
            return
        self.seconds[self.trying] += time.monotonic() - self.began
        if self.steps == self.TRIAL:
            self.steps, self.trying = 0, self.trying + 1
            fastest = self.seconds.index(min(self.seconds))
            torch.set_num_threads(self.choices[self.trying if self.trying < len(self.choices) else fastest])


class Clock:
    """Seconds of training, those of earlier runs included."""

    def __init__(self, before: float):
        self.start = time.monotonic() - before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start


def show_with(model: nn.Module, ema: dict[str, Tensor], show: Callable[[Path], None], path: Path) -> None:
    """Call `show` while the model holds its moving average."""
    kept = {key: value.detach().clone() for key, value in model.named_parameters()}
    copy_into(model, ema)
    model.eval()
    with torch.no_grad():
        show(path)
    copy_into(model, kept)
    model.train()
