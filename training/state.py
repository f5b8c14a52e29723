"""Trainings and finished networks on the disk: safetensors with JSON in the header, whole or not at all,
never a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2vz.errors import InputError
from t2vz.files import atomic_path

from .log import read_log, write_log

if TYPE_CHECKING:
    from .common import Settings

RESUME_MAY_DIFFER = ("minutes", "steps", "device", "threads", "save_minutes", "sheet_minutes")


@dataclass
class State:
    """Where a training stands: everything that its next step depends on. Tensors are float32, by parameter
    name."""

    step: int = 0
    seconds: float = 0.0
    tensors: dict[str, Tensor] = field(default_factory=dict)  # "model.…", "ema.…", "moment1.…", "moment2.…"
    log: list[dict[str, float]] = field(default_factory=list)


def copy_into(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Overwrite the parameters of `model` by name."""
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(values[key])


def save(
    folder: Path,
    settings: Settings,
    state: State,
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    ema: dict[str, Tensor],
) -> None:
    """Write state.safetensors, losses.csv and losses.png, each whole or not at all."""
    tensors = {f"ema.{key}": value for key, value in ema.items()}
    for key, value in model.named_parameters():
        tensors[f"model.{key}"] = value.detach()
        moments = optimizer.state.get(value, {})
        if moments:
            tensors[f"moment1.{key}"], tensors[f"moment2.{key}"] = moments["exp_avg"], moments["exp_avg_sq"]
    facts = {"step": state.step, "seconds": state.seconds, "settings": asdict(settings)}
    with atomic_path(folder / "state.safetensors") as temporary:
        save_file(
            {key: value.contiguous() for key, value in tensors.items()}, temporary, {"training": json.dumps(facts)}
        )
    write_log(folder, state.log)


def resume(
    folder: Path, settings: Settings, model: nn.Module, optimizer: torch.optim.AdamW, ema: dict[str, Tensor]
) -> State:
    """Fill model, optimizer and moving average from a saved state, if there is one; returns where the
    training stands."""
    path = folder / "state.safetensors"
    if not path.is_file():
        return State()
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["training"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    check_settings(path, facts["settings"], settings)
    copy_into(model, {key: _of_shape(path, tensors, f"model.{key}", value) for key, value in model.named_parameters()})
    for key, value in model.named_parameters():
        ema[key].copy_(tensors[f"ema.{key}"])
        if f"moment1.{key}" in tensors:
            optimizer.state[value] = {
                "step": torch.tensor(float(facts["step"]), device=value.device),
                "exp_avg": torch.empty_like(value).copy_(tensors[f"moment1.{key}"]),
                "exp_avg_sq": torch.empty_like(value).copy_(tensors[f"moment2.{key}"]),
            }
    log = [row for row in read_log(folder) if row["step"] <= facts["step"]]
    return State(facts["step"], facts["seconds"], log=log)


def _of_shape(path: Path, tensors: dict[str, Tensor], key: str, like: Tensor) -> Tensor:
    if key not in tensors or tensors[key].shape != like.shape:
        raise InputError(
            f"{path}: {key} is not there or of another shape: made by a network of other sizes; choose another folder"
        )
    return tensors[key]


def check_settings(path: Path, old: dict, settings: Settings) -> None:
    """Raise InputError if the state was made with settings under which continuing would mix two trainings."""
    new = json.loads(json.dumps(asdict(settings)))
    differing = [key for key in new if key not in RESUME_MAY_DIFFER and old.get(key) != new[key]]
    if differing:
        key = differing[0]
        raise InputError(
            f"{path}: was made with {key}={old.get(key)}, not {new[key]}; continue with the same settings "
            f"or choose another folder"
        )


def save_network(path: Path, module: nn.Module, facts: dict) -> None:
    """Write a finished network's weights (float32) and JSON facts about it: its config, what was measured."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in module.named_parameters()}
    facts = {"parameters": sum(value.numel() for value in tensors.values()), **facts}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"facts": json.dumps(facts)})


def read_facts(path: Path) -> dict:
    """The facts of a finished network. Raises InputError if it is not there."""
    if not path.is_file():
        raise InputError(f"{path} is not there; train {path.parent.name} first, with the same --out")
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["facts"])


def load_network(path: Path, module: nn.Module) -> nn.Module:
    """Fill `module` with a finished network's weights; returns it in eval mode, on the CPU."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    copy_into(module, {key: _of_shape(path, tensors, key, value) for key, value in module.named_parameters()})
    return module.eval().requires_grad_(False)
