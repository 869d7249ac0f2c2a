# SPDX-License-Identifier: Apache-2.0
"""What a start record promises, and the books on which samples came.

The plan is computed from docs/ordering.md, "Batches, ranks, epochs, state", and not with the
loader's own schedule; only the order of an epoch is :class:`headrace.Order`. Memory: one bit for
each sample of an open epoch, one window of the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.audit_history import Place
from headrace.ledger_file import read_subset, unpack_counts
from headrace.order import Order

__all__ = ["Book", "Ids", "SourceOrder", "StagePlan", "Step"]

_WINDOW = 1 << 16  # positions of the order computed at a time

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """A batch over all ranks: ``parts`` are (epoch, first position, end); ``place`` is ``begin``,
    or position 0 where an epoch begins behind what ``drop`` leaves out."""

    parts: tuple[tuple[int, int, int], ...]
    begin: Place
    after: Place
    place: Place


class SourceOrder:
    """The orders of one data set, or of the subset that takes part, epoch by epoch.

    Args:
        facts: samples, numbers, seed, shuffle, block, lanes, filter; units where counts are so.
        counts: samples of each shard, as packed in a start record.
        folder: where the file lies that says which samples are in the subset.

    Raises:
        ValueError, KeyError, OSError: the facts contradict each other, or a file is missing.
    """

    def __init__(self, facts: Mapping[str, Any], counts: Any, folder: Path) -> None:
        self.samples, self.numbers = int(facts["samples"]), int(facts["numbers"])
        self._facts = facts
        self._counts = unpack_counts(counts)
        if int(self._counts.sum()) != self.samples or self.samples == 0:
            raise ValueError(f"shards of {self._counts.sum()} samples in all, not {self.samples}")
        self._subset = _subset(folder, str(facts.get("filter") or ""))
        self._orders: dict[int, Order] = {}
        self._window: tuple[int, int, Ids] = (-1, 0, np.zeros(0, np.int64))

    def order(self, epoch: int) -> Order:
        if epoch not in self._orders:
            while len(self._orders) > 1:  # a batch that crosses an epoch's end needs two
                self._orders.pop(min(self._orders))
            facts = self._facts
            self._orders[epoch] = Order(
                self._counts,
                seed=facts["seed"],
                epoch=epoch,
                block=facts["block"],
                lanes=facts["lanes"],
                shuffle=facts["shuffle"],
                units=bool(facts.get("units")),
            )
        return self._orders[epoch]

    def ids(self, epoch: int, begin: int, end: int) -> Ids:
        """Sample numbers at positions [begin, end)."""
        at, first, window = self._window
        if at != epoch or begin < first or end > first + len(window):
            stop = min(self.samples, max(end, begin + _WINDOW))
            window = self.order(epoch).at_many(np.arange(begin, stop))
            window = window if self._subset is None else self._subset.select(window)
            self._window, first = (epoch, begin, window), begin
        return window[begin - first : end - first]


class StagePlan(SourceOrder):
    """What a start record says will be delivered, of one data set."""

    def __init__(self, start: Mapping[str, Any], folder: Path) -> None:
        numbers = {name: start[name] for name in ("samples", "numbers", "units") if name in start}
        super().__init__({**start["state"], **numbers}, start["counts"], folder)
        self.batch, self.world = int(start["batch"]), int(start["world"])
        self.remainder = str(start["state"]["remainder"])

    def steps(self, at: Sequence[int]) -> Iterator[Step]:
        """The batches from a state (epoch, position, drop) on, without end."""
        n, batch, drop = self.samples, self.batch, self.samples % self.batch
        epoch, position, left_out = at
        fresh = position <= left_out
        if self.remainder == "drop" and fresh:
            position = drop
        while True:
            begin, parts, room = (epoch, position), [], batch
            while room:
                end = min(n, position + room)
                parts.append((epoch, position, end))
                room -= end - position
                position = end
                if position == n:
                    epoch, position = epoch + 1, 0
                if self.remainder != "wrap":
                    break
            if self.remainder == "drop" and epoch == begin[0] and n - position < batch:
                epoch, position = epoch + 1, drop
            elif self.remainder == "drop" and epoch > begin[0]:
                position = drop
            place = (begin[0], 0) if fresh else begin
            yield Step(tuple(parts), begin, (epoch, position), place)
            fresh = self.remainder != "wrap" and epoch > begin[0]

    def rank_rows(self, part: tuple[int, int, int], rank: int) -> slice:
        """Which rows of a part are this rank's."""
        epoch, begin, _ = part
        first = (rank - (epoch * self.samples + begin)) % self.world
        return slice(first, None, self.world)


def _subset(folder: Path, name: str) -> _core.Selection | None:
    if not name:
        return None
    samples, words = read_subset(folder / f"{name}.subset")
    found = _core.Selection(words, samples)
    if found.hash != name:
        raise ValueError(f"{name}.subset holds another subset, {found.hash}")
    return found


@dataclass
class Book:
    """What is known of one epoch of one pass."""

    epoch: int
    samples: int
    numbers: int  # sample numbers are below this: more than ``samples`` for a subset
    begin: int = -1  # first position that counts
    end: int = 0  # behind the last
    first_batch: int = 0  # the batch size at its begin
    batch: int = 0  # and at its end
    remainder: str = ""
    delivered: int = 0  # valid rows
    misplaced: int = 0
    repeated: int = 0
    skipped: int = 0
    holes: bool = False  # positions that no kept stage covers
    broken: bool = False
    bits: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def cover(self, begin: int, end: int) -> None:
        if self.begin < 0:
            self.begin = begin
        elif begin != self.end:
            self.holes = True
        self.end = max(self.end, end)

    def mark(self, ids: Ids) -> Ids:
        """Notes that these came; returns those that had come before."""
        if not len(self.bits):
            self.bits = np.zeros((self.numbers + 7) // 8, np.uint8)
        places: Ids = ids >> 3
        bit = np.left_shift(1, ids & 7).astype(np.uint8)
        before: Ids = ids[(self.bits[places] & bit) != 0]
        np.bitwise_or.at(self.bits, places, bit)
        return before

    def distinct(self) -> int:
        step = 1 << 20
        return sum(
            int(np.bitwise_count(self.bits[i : i + step]).sum())
            for i in range(0, len(self.bits), step)
        )

    def absentees(self, plan: SourceOrder) -> Iterator[tuple[int, int]]:
        """(position, sample number) of what should have come and did not."""
        for begin in range(max(0, self.begin), self.end, _WINDOW):
            ids = plan.ids(self.epoch, begin, min(self.end, begin + _WINDOW))
            missing = np.ones(len(ids), np.bool_)
            if len(self.bits):
                missing = (self.bits[ids >> 3] >> (ids & 7).astype(np.uint8)) & 1 == 0
            for row in np.flatnonzero(missing).tolist():
                yield begin + row, int(ids[row])
