# SPDX-License-Identifier: Apache-2.0
"""Where a job stands: the arithmetic of epochs, virtual epochs, steps and positions. No data, no
I/O.

A position is the state's three numbers (epoch, position, drop); the core's Schedule says how many
batches an epoch has and where it begins (docs/ordering.md, "Batches, ranks, epochs, state").
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace import _core

__all__ = ["START", "Cursor", "Position"]

Position = tuple[int, int, int]  # epoch, position, drop
START: Position = (0, 0, 0)


@dataclass(frozen=True)
class Cursor:
    """Arithmetic for one rank of a job.

    Attributes:
        samples: of the data set.
        batch: samples of a batch over all ranks.
        epoch_size: samples of a virtual epoch, over all ranks; None: an epoch is the data set.
    """

    samples: int
    batch: int
    rank: int
    world: int
    remainder: str
    epoch_size: int | None = None

    def _schedule(self, at: Position) -> _core.Schedule:
        return _core.Schedule(
            samples=self.samples,
            batch=self.batch,
            rank=self.rank,
            world=self.world,
            remainder=self.remainder,
            start=at,
        )

    def start(self, at: Position) -> Position:
        """Where a run that loads ``at`` begins: an epoch of which nothing was delivered yet gets
        this batch size's ``drop``."""
        return self._schedule(at).at

    def batches_per_epoch(self) -> int:
        if self.epoch_size is not None:
            return max(1, self.epoch_size // self.batch)
        return self._schedule(START).batches_per_epoch

    def batches_left(self, at: Position) -> int:
        """Until the end of the epoch that ``at`` lies in."""
        if self.epoch_size is None:
            return self._schedule(at).batches_left
        size = self.batches_per_epoch()
        return size - self.step(at) % size

    def epoch(self, at: Position) -> int:
        """The epoch, or virtual epoch, that ``at`` lies in."""
        return at[0] if self.epoch_size is None else self.step(at) // self.batches_per_epoch()

    def position(self, at: Position) -> int:
        """In the epoch's order, of the next batch."""
        return at[1]

    def epoch_start(self, epoch: int) -> Position:
        if self.epoch_size is None:
            return self._schedule((epoch, 0, 0)).at
        return self.position_of_step(epoch * self.batches_per_epoch())

    def seek(self, at: Position, epoch: int) -> Position:
        return self.epoch_start(epoch)

    def next_start(self, at: Position) -> Position:
        return self.epoch_start(self.epoch(at) + 1)

    def step(self, at: Position) -> int:
        """Batches delivered before ``at`` by a job that always had this batch size."""
        epoch, position, drop = at
        if self.remainder == "wrap":
            return (epoch * self.samples + position) // self.batch
        per_epoch = self._schedule(START).batches_per_epoch
        return epoch * per_epoch + -(-max(0, position - drop) // self.batch)

    def position_of_step(self, step: int) -> Position:
        if self.remainder == "wrap":
            epoch, position = divmod(step * self.batch, self.samples)
            return (epoch, position, 0)
        epoch, batches = divmod(step, self._schedule(START).batches_per_epoch)
        _, position, drop = self._schedule((epoch, 0, 0)).at
        return (epoch, position + batches * self.batch, drop)
