"""One training loop for every network: a budget, a moving average of the weights, resuming.

Accelerate brings what is nobody's subject here: several processes (`torchrun` or `accelerate launch`), the mean of
their gradients, bfloat16 autocast. A training by `steps` that was interrupted ends with the same weights as one that
was not, on the same machine with as many threads and processes: its state lies in one safetensors file that appears
whole or not at all, and all randomness of step k comes from a generator seeded with (seed, k). With `minutes` the
learning rate follows the clock, so no two trainings are equal to the last digit.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from t2vz.errors import FailedError, InputError
from t2vz.files import atomic_path

from .log import log_losses, read_log, write_log

LossOf = Callable[[torch.Generator], dict[str, Tensor]]  # one batch's losses by name; "loss" is minimised
MAY_CHANGE = ("minutes", "steps", "save_minutes", "sheet_minutes")  # when a training is continued


@dataclass(frozen=True)
class Settings:
    """How a training runs. Exactly one of `minutes` (of this machine's time) and `steps` ends it.

    learning_rate: AdamW's peak, after `warmup` steps; it then falls to 0 as half a cosine, over the steps or the
    minutes, so that the schedule is finished when the budget is spent.
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


def processes(device: str = "cpu") -> Accelerator:
    """This process among those that train together, and its device: "cpu", or with "cuda" its own GPU.

    Raises InputError where torch finds no GPU.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {device}: torch finds no GPU on this machine; leave it out to train on the CPU")
    plain = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16", kwargs_handlers=[plain])


class LossModule(nn.Module):
    """A network and its loss as one module, because autocast and the mean of the gradients hang on a module's call."""

    def __init__(self, network: nn.Module, loss_of: LossOf):
        super().__init__()
        self.network, self.loss_of = network, loss_of

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        return self.loss_of(generator)


def fit(
    network: nn.Module,
    loss_of: LossOf,
    folder: str | Path,
    settings: Settings,
    show: Callable[[Path], None] | None = None,
    name: str = "training",
    device: str = "cpu",
) -> nn.Module:
    """Train `network` in place until the budget is spent; it then holds the moving average of its weights.

    loss_of(generator): the losses of one batch, all randomness drawn from the generator. show(path): writes a sheet of
    samples to a PNG; the network holds the moving average during the call. folder: state.safetensors, losses.csv,
    losses.png, sheet.png; a state that is there is continued. Raises InputError for a state made with other settings,
    FailedError when the loss is no longer a number.
    """
    here = processes(device)
    # Not on CPUs: there torch's GroupNorm takes so long backwards that a step of the VAE takes twice as long.
    network.to(here.device, memory_format=torch.channels_last if device != "cpu" else torch.contiguous_format)
    training = Training(network.train(), Path(folder), settings)
    losses_of = here.prepare(LossModule(network, loss_of))
    bar = tqdm(
        desc=name,
        total=1.0,
        bar_format="{desc}: {percentage:5.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}",
        mininterval=5,
        miniters=0,  # by time alone: the first step after a resumption is a long one
        disable=not here.is_main_process,
    )
    began = time.monotonic() - training.seconds
    saved = shown = time.monotonic()
    while settings.progress(training.step, seconds := common_clock(began, here)) < 1.0:
        losses = train_step(here, losses_of, training, seconds)
        if not here.is_main_process:
            continue
        now = time.monotonic()
        training.seconds = now - began
        log_losses(training.log, training.step, losses, training.seconds)
        bar.set_postfix_str(f"step {training.step} loss {training.log[-1]['loss']:.4f}", refresh=False)
        bar.update(settings.progress(training.step, training.seconds) - bar.n)
        if now - saved > 60 * settings.save_minutes:
            training.save()
            saved = now
        if show and now - shown > 60 * settings.sheet_minutes:
            with training.averaged():
                show(training.folder / "sheet.png")
            shown = time.monotonic()
    bar.close()
    if here.is_main_process:
        training.save()
    copy_into(network, training.ema)
    network.eval()
    if show and here.is_main_process:
        show(training.folder / "sheet.png")
    return network


def common_clock(began: float, here: Accelerator) -> float:
    """Seconds of training, those of earlier runs included: the first process's clock, for all of them."""
    seconds = torch.tensor([time.monotonic() - began], dtype=torch.float64, device=here.device)
    return broadcast(seconds).item()


def train_step(here: Accelerator, losses_of: nn.Module, training: "Training", seconds: float) -> dict[str, float]:
    """One step of AdamW and of the moving average; returns the losses as numbers."""
    settings, step = training.settings, training.step
    for group in training.optimizer.param_groups:
        group["lr"] = settings.rate(step, seconds)
    drawn = step * here.num_processes + here.process_index  # each process has batches of its own
    losses = losses_of(torch.Generator().manual_seed(settings.seed * 1_000_003 + drawn))
    here.backward(losses["loss"])
    size = nn.utils.clip_grad_norm_(training.network.parameters(), settings.clip_gradient)
    if not (torch.isfinite(losses["loss"]) and torch.isfinite(size)):
        raise FailedError(
            f"the loss became {losses['loss'].item()} and its gradient {size.item()} in step {step}; lower "
            f"the learning rate ({settings.learning_rate}) and start again in another folder"
        )
    training.optimizer.step()
    training.optimizer.zero_grad()
    # Early on the average follows quickly: it should not remember the random start.
    decay = min(settings.ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for key, value in training.network.named_parameters():
            training.ema[key].lerp_(value, 1 - decay)
    training.step += 1
    return {key: value.item() for key, value in losses.items()}


class Training:
    """Everything the next step depends on: the network, AdamW, the moving average, how far it is; continued from
    state.safetensors if that is there. Tensors in the file, by parameter name: model.…, ema.…, moment1.…, moment2.…
    """

    def __init__(self, network: nn.Module, folder: Path, settings: Settings):
        self.network, self.folder, self.settings = network, folder, settings
        self.optimizer = torch.optim.AdamW(
            network.parameters(), betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        self.ema = {key: value.detach().clone() for key, value in network.named_parameters()}
        self.step, self.seconds = 0, 0.0
        self.log: list[dict[str, float]] = []
        if (folder / "state.safetensors").is_file():
            self.resume(folder / "state.safetensors")

    def save(self) -> None:
        """Write state.safetensors, losses.csv and losses.png, each whole or not at all."""
        tensors = {f"ema.{key}": value for key, value in self.ema.items()}
        for key, value in self.network.named_parameters():
            tensors[f"model.{key}"] = value.detach()
            moments = self.optimizer.state.get(value, {})
            if moments:
                tensors[f"moment1.{key}"], tensors[f"moment2.{key}"] = moments["exp_avg"], moments["exp_avg_sq"]
        facts = {"step": self.step, "seconds": self.seconds, "settings": asdict(self.settings)}
        write_tensors(self.folder / "state.safetensors", tensors, training=facts)
        write_log(self.folder, self.log)

    def resume(self, path: Path) -> None:
        """Go on where the state at `path` ends. Raises InputError if it is another network's or was made otherwise."""
        facts, tensors = read_tensors(path, "training")
        wanted = json.loads(json.dumps(asdict(self.settings)))
        for key, value in wanted.items():
            if key not in MAY_CHANGE and facts["settings"].get(key) != value:
                raise InputError(
                    f"{path}: was made with {key}={facts['settings'].get(key)}, not {value}; continue with the same "
                    "settings or choose another folder"
                )
        copy_into(self.network, tensors, path, "model.")
        self.step, self.seconds = facts["step"], facts["seconds"]
        self.log = [row for row in read_log(self.folder) if row["step"] <= self.step]
        for key, value in self.network.named_parameters():
            self.ema[key].copy_(tensors[f"ema.{key}"])
            if f"moment1.{key}" in tensors:
                self.optimizer.state[value] = {
                    "step": torch.tensor(float(self.step), device=value.device),
                    "exp_avg": torch.empty_like(value).copy_(tensors[f"moment1.{key}"]),
                    "exp_avg_sq": torch.empty_like(value).copy_(tensors[f"moment2.{key}"]),
                }

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the network holds its moving average, in eval mode and without gradients."""
        kept = {key: value.detach().clone() for key, value in self.network.named_parameters()}
        copy_into(self.network, self.ema)
        self.network.eval()
        with torch.no_grad():
            yield
        copy_into(self.network, kept)
        self.network.train()


def copy_into(network: nn.Module, values: dict[str, Tensor], path: Path | None = None, prefix: str = "") -> None:
    """Overwrite the parameters of `network` by name. Raises InputError, naming the file, for other names or shapes."""
    for key, value in network.named_parameters():
        if prefix + key not in values or values[prefix + key].shape != value.shape:
            raise InputError(
                f"{path}: {prefix}{key} is not there or of another shape: made by a network of other sizes; choose "
                "another folder"
            )
    with torch.no_grad():
        for key, value in network.named_parameters():
            value.copy_(values[prefix + key])


def write_tensors(path: Path, tensors: dict[str, Tensor], **header: dict) -> None:
    """A safetensors file with JSON in its header, whole or not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {key: json.dumps(value) for key, value in header.items()})


def read_tensors(path: Path, header: str) -> tuple[dict, dict[str, Tensor]]:
    """What `write_tensors` wrote: the JSON under one name of the header, and the tensors."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[header]), {key: file.get_tensor(key) for key in file.keys()}


def save_network(path: Path, network: nn.Module, facts: dict) -> None:
    """Write a finished network's weights (float32) and facts about it: its config, what was measured."""
    tensors = dict(network.named_parameters())
    facts = {"parameters": sum(value.numel() for value in tensors.values()), **facts}
    write_tensors(path, tensors, facts=facts)


def read_facts(path: Path) -> dict:
    """The facts of a finished network. Raises InputError if it is not there."""
    if not path.is_file():
        raise InputError(f"{path} is not there; train {path.parent.name} first, with the same --out")
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["facts"])


def load_network(path: Path, network: nn.Module) -> nn.Module:
    """Fill `network` with a finished network's weights; returns it in eval mode, frozen."""
    copy_into(network, read_tensors(path, "facts")[1], path)
    return network.eval().requires_grad_(False)
