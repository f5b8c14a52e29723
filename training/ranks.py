"""Several processes that train one network together, each on batches of its own (data parallel):

    torchrun --nproc-per-node 2 -m training unet --out training

On a CPU this is faster than one process with as many threads, for the networks are too small to share out; on
several GPUs it is the usual way. Gradients are averaged over the processes ("ranks"), so that all take the same step
from the same weights. Rank 0 paints, encodes and writes; the others wait for it. Without torchrun there is one rank,
and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed


def join() -> None:
    """Join the other ranks, if torchrun started this process."""
    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("gloo")


def rank() -> int:
    """Which of the processes this is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def device_of(device: str) -> str:
    """This rank's own GPU, where "cuda" was asked for."""
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}" if device == "cuda" and count() > 1 else device


@contextmanager
def rank_0_first() -> Iterator[None]:
    """Rank 0 goes through the block first; the others then find what it has written."""
    if rank() > 0:
        distributed.barrier()
    yield
    if rank() == 0 and count() > 1:
        distributed.barrier()


def same(value: float) -> float:
    """Rank 0's value, in all ranks: the clock, after which the learning rate goes."""
    if count() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return shared.item()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over all ranks."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).cpu()
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / count()).split([gradient.numel() for gradient in gradients])):
        gradient.copy_(mean.view_as(gradient))
