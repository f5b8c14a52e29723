"""Training pictures: scenes of the picture world painted once into one array, and read from it as batches.

Painting costs a few milliseconds a picture, less than a training step, but it would be paid again in every
epoch and by every network. So `count` pictures are painted into a file, picture i from the seed (seed,
stream, i): the same seed gives the same pictures on every machine, whatever the number of processes.
"""

import json
import os
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from t2vz.errors import InputError
from t2vz.files import atomic_path, write_json
from t2vz.world import Scene, paint, sample_scene

STREAMS = {"training": 0, "unseen": 1, "held-out": 2}  # held-out: (object, colour, background) never trained on


@dataclass(frozen=True)
class Pictures:
    """Painted scenes: images uint8 (count, size, size, 3), mapped from the disk, and one caption each."""

    images: np.ndarray
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def first(self, count: int) -> "Pictures":
        """The first `count` of them, or all if there are fewer."""
        return Pictures(self.images[:count], self.captions[:count])

    def batch(self, indices: Tensor, device: str | torch.device = "cpu") -> Tensor:
        """The pictures of some indices (n,): float32 (n, 3, H, W) in [−1, 1]."""
        chosen = torch.from_numpy(self.images[indices.numpy()]).to(device)
        return chosen.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def paint_one(i: int, size: int, seed: int, stream: str, style: str = "bold") -> tuple[np.ndarray, str]:
    """Picture i of a stream: uint8 (size, size, 3), and its caption."""
    scene = scene_of(i, seed, stream, style)
    return paint(scene, size), scene.caption


def scene_of(i: int, seed: int, stream: str, style: str = "bold") -> Scene:
    """The scene of picture i of a stream."""
    return sample_scene(np.random.default_rng([seed, STREAMS[stream], i]), held_out=stream == "held-out", style=style)


def paint_pictures(
    folder: str | Path,
    count: int,
    size: int,
    seed: int = 0,
    stream: str = "training",
    processes: int | None = None,
    style: str = "bold",
) -> Pictures:
    """Paint `count` pictures into `folder`, or open them if they were painted before.

    stream: "training", "unseen" (other seeds, combinations from the training split) or "held-out".
    Raises InputError for a count below 1 or an unknown stream.
    """
    if count < 1 or stream not in STREAMS:
        raise InputError(f"{count} pictures of stream {stream!r}: at least 1, of one of {', '.join(STREAMS)}")
    name = f"{stream}-{style}-{size}px-{count}-seed{seed}"
    array, captions = Path(folder) / f"{name}.npy", Path(folder) / f"{name}.json"
    if not captions.is_file():  # written last: if it is there, so are the pictures
        write_json(captions, _paint_into(array, count, size, seed, stream, processes, style))
    return Pictures(np.load(array, mmap_mode="r"), json.loads(captions.read_text(encoding="utf-8")))


def _paint_into(
    path: Path, count: int, size: int, seed: int, stream: str, processes: int | None, style: str
) -> list[str]:
    """Paint into an .npy file at `path`; returns the captions."""
    processes = min(processes or os.cpu_count() or 1, count)
    work = partial(paint_one, size=size, seed=seed, stream=stream, style=style)
    captions = []
    with atomic_path(path) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, size, size, 3))
        # spawn, not fork: torch's threads do not survive a fork
        with get_context("spawn").Pool(processes) as pool:
            for i, (picture, caption) in enumerate(tqdm(pool.imap(work, range(count), 32), "painting", count)):
                array[i] = picture
                captions.append(caption)
        array.flush()
    return captions
