# SPDX-License-Identifier: Apache-2.0
"""The stream order of docs/ordering.md, written from its text: which sample comes when, and the state.

The second implementation beside src/plan/stream_order.*; as order_model.py is for the indexed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from order_model import TAG_STREAM, bounded, key, permutation, stream

Sample = tuple[int, int, int]  # epoch, shard, row


@dataclass
class Counting:
    """An iterator of draws that knows how many were taken."""

    draws: Iterator[int]
    taken: int = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.taken += 1
        return next(self.draws)


@dataclass
class StreamModel:
    """One stream: its samples of one epoch after another."""

    counts: list[int]
    streams: int
    slots: int
    seed: int
    number: int
    epoch: int
    held: list[int] = field(default_factory=list)  # ordinals, by slot

    def __post_init__(self) -> None:
        self.begin(self.epoch)

    def begin(self, epoch: int) -> None:
        self.epoch = epoch
        deal = permutation(len(self.counts), key(self.seed, epoch, TAG_STREAM, 0))
        self.shards = [deal(k) for k in range(len(self.counts)) if k % self.streams == self.number]
        self.stored = [(i, row) for i, s in enumerate(self.shards) for row in range(self.counts[s])]
        self.draws = Counting(stream(key(self.seed, epoch, TAG_STREAM, 1 + self.number)))
        self.held = list(range(min(self.slots, len(self.stored))))
        self.head = len(self.held)

    @property
    def ended(self) -> bool:
        return not self.held

    def take(self) -> Sample:
        slot = bounded(self.draws, len(self.held))
        ordinal = self.held[slot]
        if self.head < len(self.stored):
            self.held[slot] = self.head
            self.head += 1
        else:
            self.held[slot] = self.held[-1]
            self.held.pop()
        i, row = self.stored[ordinal]
        return self.epoch, self.shards[i], row

    def state(self) -> list[int]:
        """[epoch, shard and ordinal of the oldest, of the head, draws]; offsets are the reader's.

        A stream from which nothing was drawn yet stands at its epoch's start, one that has ended at
        the start of its next.
        """
        if self.ended and self.stored:
            return [self.epoch + 1, 0, 0, 0, 0, 0]
        if self.draws.taken == 0:
            return [self.epoch, 0, 0, 0, 0, 0]
        oldest = min(self.held)
        last = self.stored[self.head - 1][0]
        return [self.epoch, self.stored[oldest][0], oldest, last, self.head, self.draws.taken]


def drain(counts: list[int], streams: int, slots: int, seed: int, epoch: int) -> list[Sample]:
    """One epoch: rounds over the streams, from which those that have ended are left out."""
    all_streams = [StreamModel(counts, streams, slots, seed, s, epoch) for s in range(streams)]
    out = []
    while live := [s for s in all_streams if not s.ended]:
        out += [s.take() for s in live]
    return out


def wrap(
    counts: list[int], streams: int, slots: int, seed: int, positions: int
) -> tuple[list[Sample], list[list[int]]]:
    """Positions 0, 1, ...: p belongs to stream p mod P; and every stream's state after them."""
    all_streams = [StreamModel(counts, streams, slots, seed, s, 0) for s in range(streams)]
    out = []
    for p in range(positions):
        s = all_streams[p % streams]
        while s.ended:
            s.begin(s.epoch + 1)
        out.append(s.take())
    return out, [s.state() for s in all_streams]
