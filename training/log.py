"""What a training shows while it runs: the losses as a table and a curve, and sheets of pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from t2vz.files import atomic_path, write_bytes
from t2vz.vae.vae import to_pixels
from t2vz.video.sheet import contact_sheet

EVERY = 20  # steps that one row of the log is the mean of


def log_losses(log: list[dict[str, float]], step: int, losses: dict[str, float], seconds: float) -> None:
    """Add the losses of step 1, 2, 3 … to the last row, or after EVERY steps to a new one. Changes `log`."""
    inside = (step - 1) % EVERY
    if inside == 0 or not log:
        log.append({"step": 0, "seconds": 0.0, **{key: 0.0 for key in losses}})
        inside = 0
    row = log[-1]
    for key, value in losses.items():
        row[key] = (row[key] * inside + value) / (inside + 1)
    row["step"], row["seconds"] = step, round(seconds, 1)


def write_log(folder: Path, log: list[dict[str, float]]) -> None:
    """losses.csv and its picture losses.png."""
    if not log:
        return
    with atomic_path(folder / "losses.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, log[0].keys())
        writer.writeheader()
        writer.writerows(log)
    with atomic_path(folder / "losses.png") as temporary:
        loss_curve([row["loss"] for row in log], [row["step"] for row in log]).save(temporary)


def read_log(folder: Path) -> list[dict[str, float]]:
    """The rows of losses.csv, or none."""
    path = folder / "losses.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {key: int(value) if key == "step" else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def loss_curve(losses: list[float], steps: list[float], width: int = 800, height: int = 400) -> Image.Image:
    """A line of losses over steps, both axes labelled at their ends; the losses on a logarithmic scale if all
    are positive."""
    margin = 60
    values = np.asarray(losses, float)
    logs = np.log(values) if (values > 0).all() else values
    x = margin + np.linspace(0, width - 2 * margin, len(values))
    span = max(logs.max() - logs.min(), 1e-9)
    y = height - margin - (logs - logs.min()) / span * (height - 2 * margin)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.line([(margin, margin), (margin, height - margin), (width - margin, height - margin)], "gray")
    draw.line(list(zip(x.tolist(), y.tolist())), (30, 90, 200), 2)
    draw.text((4, margin - 6), f"{values.max():.4g}", "black")
    draw.text((4, height - margin - 6), f"{values.min():.4g}", "black")
    draw.text((width - margin - 30, height - margin + 8), f"step {steps[-1]:g}", "black")
    draw.text((margin, margin - 24), f"loss, last {values[-1]:.4g}", "black")
    return image


def write_sheet(path: Path, images: Tensor, columns: int, captions: list[str] | None = None) -> None:
    """Pictures (n, 3, H, W) in [−1, 1] as one PNG, row by row; captions go into a text file beside it."""
    with atomic_path(path) as temporary:
        Image.fromarray(contact_sheet(to_pixels(images).cpu().numpy(), columns)).save(temporary)
    if captions is not None:
        write_bytes(path.with_suffix(".txt"), ("\n".join(captions) + "\n").encode())
