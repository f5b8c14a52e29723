"""One video made by several processes ("ranks"), each on a device of its own:

    torchrun --nproc-per-node 4 -m t2vz.cli generate "a red ball on a green meadow" --frames 64

With first-frame attention (E12) a frame needs nothing of the others but frame 1's keys and values. So each rank takes a
stretch of the frames 2 … m, and makes frame 1 as well: its keys and values cost one frame more a rank, and nothing is
sent before the frames are finished. Noise is drawn by frame, so the result is that of one process (but for the rounding
of other batch sizes). Rank 0 gathers the finished frames, as bytes, and writes; they lie on the CPU, so that gloo does
for CPUs and GPUs.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from ..errors import FailedError

SAID = "t2vz/said"  # whoever counts this up first says what went wrong; the others end without a word
PATIENCE = 5.0  # seconds that rank 0, whose process keeps the count, waits for the others to count


class Stopped(Exception):
    """Another process gave up, and said why."""


@dataclass(frozen=True)
class Share:
    """Which of the frames this process makes: all, unless others share the work. rank: 0 … ranks − 1."""

    rank: int = 0
    ranks: int = 1
    store: distributed.Store | None = field(default=None, repr=False)

    @classmethod
    def here(cls) -> "Share":
        """This process's, inside `shared`; all of it elsewhere."""
        if not distributed.is_initialized():
            return cls()
        store = distributed.distributed_c10d._get_default_store()
        return cls(distributed.get_rank(), distributed.get_world_size(), store)

    def frames(self, m: int) -> list[int]:
        """The frames that this process makes: frame 1 (index 0), and its stretch of the others."""
        first, last = (1 + (m - 1) * r // self.ranks for r in (self.rank, self.rank + 1))
        return [0, *range(first, last)]

    @property
    def own(self) -> slice:
        """Of the frames that this process makes those that it hands on: frame 1 is rank 0's."""
        return slice(min(self.rank, 1), None)

    def look_out(self) -> None:
        """Raise Stopped if another process has given up."""
        if self.store is not None and self.store.check([SAID]):
            raise Stopped

    def gather(self, frames: Iterable[Tensor], m: int) -> Iterator[Tensor]:
        """On rank 0 all m frames of the video in order; on the others none, for they send theirs.

        frames: this rank's `own`, on the CPU, all of one shape and type: pictures, or latents.
        """
        if self.rank > 0:
            frames = map(Tensor.contiguous, frames)
            sent = [(distributed.isend(frame, 0), frame) for frame in frames]  # rank 0 writes its own meanwhile
            with self._together():
                for work, _ in sent:
                    work.wait()
            return
        for frame in frames:
            yield frame
        for rank in range(1, self.ranks):
            for _ in Share(rank, self.ranks).frames(m)[1:]:
                received = torch.empty(frame.shape, dtype=frame.dtype, device="cpu")
                with self._together():
                    distributed.recv(received, rank)
                yield received

    @contextmanager
    def _together(self) -> Iterator[None]:
        """A line for a connection that broke: the other process died."""
        try:
            yield
        except RuntimeError as error:
            raise FailedError("a process that made a part of the video ended; nothing was written") from error


ALONE = Share()


@contextmanager
def shared() -> Iterator[Share]:
    """This process's share of a video: all of it, or under torchrun what falls to its rank.

    An error in one process ends all: it is raised in the first that has one; the others end quietly, exit code 1.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Share()
        return
    distributed.init_process_group("gloo")
    share = Share.here()
    try:
        yield share
        distributed.barrier()  # nobody leaves while another still needs the store
    except (Exception, KeyboardInterrupt) as error:
        with suppress(RuntimeError):  # the store is gone with its process
            if share.store.add(SAID, 1) > 1:
                raise SystemExit(1) from error
            deadline = time.monotonic() + PATIENCE
            while share.rank == 0 and share.store.add(SAID, 0) < share.ranks and time.monotonic() < deadline:
                time.sleep(0.05)
        raise
    finally:
        distributed.destroy_process_group()
