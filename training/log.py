"""What a training shows while it runs: the losses as a table and a curve, and sheets of pictures."""

import csv
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
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
    losses = [row["loss"] for row in log]
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.plot([row["step"] for row in log], losses)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if min(losses) > 0 else "linear")
    with atomic_path(folder / "losses.png") as temporary:
        figure.savefig(temporary)


def read_log(folder: Path) -> list[dict[str, float]]:
    """The rows of losses.csv, or none."""
    if not (folder / "losses.csv").is_file():
        return []
    with open(folder / "losses.csv", newline="", encoding="utf-8") as file:
        return [{**{k: float(v) for k, v in row.items()}, "step": int(row["step"])} for row in csv.DictReader(file)]


def write_sheet(path: Path, images: Tensor, captions: list[str] | None = None) -> None:
    """Pictures (n, 3, H, W) in [−1, 1] as one PNG, 8 in a row; captions go into a text file beside it."""
    with atomic_path(path) as temporary:
        Image.fromarray(contact_sheet(to_pixels(images).cpu().numpy(), 8)).save(temporary)
    if captions is not None:
        write_bytes(path.with_suffix(".txt"), ("\n".join(captions) + "\n").encode())
