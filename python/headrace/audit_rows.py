# SPDX-License-Identifier: Apache-2.0
"""Compares the rows of ledgers with the planned order, and keeps books on which samples came.

The plan is computed here from docs/ordering.md, "Batches, ranks, epochs, state", and not with the
loader's own schedule; only the order of an epoch is :class:`headrace.Order`. Memory: one bit for
each sample of an open epoch, one record of each rank, one window of the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.audit_history import NAMED_MAX, Findings, Place, Segment, Stage
from headrace.ledger_file import (
    BATCH,
    START,
    BatchRecord,
    Record,
    read_records,
    unpack_batch,
    unpack_counts,
)
from headrace.order import Order

__all__ = ["Book", "StageCheck", "StagePlan"]

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


class StagePlan:
    """What a start record says will be delivered."""

    def __init__(self, start: dict[str, Any]) -> None:
        state = start["state"]
        self.samples = int(start["samples"])
        self.batch, self.world = int(start["batch"]), int(start["world"])
        self.remainder = str(state["remainder"])
        self.counts = unpack_counts(start["counts"])
        if int(self.counts.sum()) != self.samples or self.batch % self.world or self.samples == 0:
            raise ValueError(f"{self.samples} samples, batch {self.batch}, {self.world} ranks")
        self._state = state
        self._orders: dict[int, Order] = {}
        self._window: tuple[int, int, Ids] = (-1, 0, np.zeros(0, np.int64))

    def order(self, epoch: int) -> Order:
        if epoch not in self._orders:
            while len(self._orders) > 1:  # a batch that crosses an epoch's end needs two
                self._orders.pop(min(self._orders))
            state = self._state
            self._orders[epoch] = Order(
                self.counts,
                seed=state["seed"],
                epoch=epoch,
                block=state["block"],
                lanes=state["lanes"],
                shuffle=state["shuffle"],
            )
        return self._orders[epoch]

    def ids(self, epoch: int, begin: int, end: int) -> Ids:
        """Sample numbers at positions [begin, end)."""
        at, first, window = self._window
        if at != epoch or begin < first or end > first + len(window):
            stop = min(self.samples, max(end, begin + _WINDOW))
            window = self.order(epoch).at_many(np.arange(begin, stop))
            self._window, first = (epoch, begin, window), begin
        return window[begin - first : end - first]

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


@dataclass
class Book:
    """What is known of one epoch of one pass."""

    epoch: int
    samples: int
    begin: int = -1  # first position that counts
    end: int = 0  # behind the last
    first_batch: int = 0  # the batch size at its begin
    batch: int = 0  # and at its end
    remainder: str = ""
    delivered: int = 0  # valid rows
    misplaced: int = 0
    repeated: int = 0
    absent: int = 0  # rows of batches that a rank has no record of
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
            self.bits = np.zeros((self.samples + 7) // 8, np.uint8)
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

    def absentees(self, plan: StagePlan) -> Iterator[tuple[int, int]]:
        """(position, sample number) of what should have come and did not."""
        for begin in range(max(0, self.begin), self.end, _WINDOW):
            ids = plan.ids(self.epoch, begin, min(self.end, begin + _WINDOW))
            missing = np.ones(len(ids), np.bool_)
            if len(self.bits):
                missing = (self.bits[ids >> 3] >> (ids & 7).astype(np.uint8)) & 1 == 0
            for row in np.flatnonzero(missing).tolist():
                yield begin + row, int(ids[row])


class _RankRecords:
    """The batch records of one segment, taken by where they begin."""

    def __init__(self, segment: Segment, findings: Findings) -> None:
        self._segment = segment
        self._findings = findings
        self._records = self._read()
        self._next: tuple[int, BatchRecord] | None = next(self._records, None)
        self._last: Place = (-1, 0)

    def _read(self) -> Iterator[tuple[int, BatchRecord]]:
        width, inside = self._segment.start["id_bytes"], False
        for record in read_records(self._segment.path):
            if not isinstance(record, Record):
                continue
            if record.kind == START:
                if inside:
                    return
                inside = record.number == self._segment.number
            elif record.kind == BATCH and inside:
                try:
                    yield record.number, unpack_batch(record.payload, width)
                except ValueError:
                    continue  # the scan has reported it

    def take(self, begin: Place) -> BatchRecord | None:
        """The record of the batch at ``begin``; what comes before it is out of place."""
        while self._next is not None and self._next[1].begin < begin:
            self._out_of_place(*self._next)
            self._next = next(self._records, None)
        if self._next is None or self._next[1].begin != begin:
            return None
        found = self._next[1]
        self._last = begin
        self._next = next(self._records, None)
        return found

    def rest(self) -> None:
        """Reports what is left: no step of the plan asked for it."""
        while self._next is not None:
            self._out_of_place(*self._next)
            self._next = next(self._records, None)

    def _out_of_place(self, number: int, record: BatchRecord) -> None:
        epoch, position = record.begin
        again = record.begin <= self._last
        kind = "repeated record" if record.begin == self._last else "record out of order"
        if not again:
            kind = "record not planned"
        self._findings.add(
            kind,
            f"{self._segment.path.name}: record {number}: the batch at epoch {epoch} position "
            f"{position:,} {'comes again' if again else 'is no batch of the plan'} behind that at "
            f"epoch {max(self._last[0], 0)} position {self._last[1]:,}",
            epoch,
        )


class StageCheck:
    """Judges all rows of a stage and enters those that count in ``books``.

    Attributes:
        rows: valid rows that were looked at; ``superseded`` of them do not count.
    """

    def __init__(
        self, stage: Stage, plan: StagePlan, books: dict[int, Book], findings: Findings
    ) -> None:
        self.stage, self.plan, self.books, self.findings = stage, plan, books, findings
        self.rows = self.superseded = 0

    def run(self) -> None:
        segments = self.stage.segments.items()
        ranks = {rank: _RankRecords(segment, self.findings) for rank, segment in segments}
        last = max([self.stage.keep[1], *self.stage.reaches()])
        for step in self.plan.steps(self.stage.start["at"]):
            if step.place >= last:
                break
            self._step(step, ranks)
        for records in ranks.values():
            records.rest()

    def _kept_end(self, part: tuple[int, int, int]) -> int:
        """Positions of a part below this one count."""
        epoch, begin, end = part
        last_epoch, last = self.stage.keep[1]
        if epoch != last_epoch:
            return end if epoch < last_epoch else begin
        return min(end, max(begin, last))

    def _step(self, step: Step, ranks: dict[int, _RankRecords]) -> None:
        planned = [self.plan.ids(*part) for part in step.parts]
        keeps = [self._kept_end(part) for part in step.parts]
        for part, keep in zip(step.parts, keeps, strict=True):
            if keep > part[1]:
                self._book(part[0]).cover(part[1], keep)
        for rank in range(self.plan.world):
            records = ranks.get(rank)
            found = records.take(step.begin) if records is not None else None
            if found is None:
                self._absent(step, keeps, rank)
            else:
                self._compare(step, planned, keeps, rank, found)

    def _book(self, epoch: int) -> Book:
        if epoch not in self.books:
            self.books[epoch] = Book(epoch, self.plan.samples, first_batch=self.plan.batch)
        book = self.books[epoch]
        book.batch, book.remainder = self.plan.batch, self.plan.remainder
        return book

    def _absent(self, step: Step, keeps: list[int], rank: int) -> None:
        for part, keep in zip(step.parts, keeps, strict=True):
            rows = len(range(part[1], keep)[self.plan.rank_rows(part, rank)])
            if rows:
                self._book(part[0]).absent += rows
                self.findings.add(
                    "missing record",
                    f"run {self.stage.run}: rank {rank} of {self.plan.world} has no record of the "
                    f"batch at epoch {step.begin[0]} position {step.begin[1]:,} ({rows} rows)",
                    part[0],
                )

    def _compare(
        self, step: Step, planned: list[Ids], keeps: list[int], rank: int, found: BatchRecord
    ) -> None:
        row = 0
        for part, ids, keep in zip(step.parts, planned, keeps, strict=True):
            mine = self.plan.rank_rows(part, rank)
            want = ids[mine]
            count = len(range(part[1], keep)[mine])
            self._part(step, part[0], want, count, rank, found, row)
            row += len(want)
        rows = row if self.plan.remainder == "short" else self.plan.batch // self.plan.world
        extra = found.valid[row:]
        if len(found.ids) != rows or extra.any() or found.after != step.after:
            self.findings.add(
                "wrong batch",
                f"{self._where(step, rank)}: {len(found.ids)} rows, {int(extra.sum())} too many "
                f"valid, then epoch {found.after[0]} position {found.after[1]:,}; planned {rows} "
                f"rows, then epoch {step.after[0]} position {step.after[1]:,}",
                step.begin[0],
            )

    def _part(
        self, step: Step, epoch: int, want: Ids, count: int, rank: int, found: BatchRecord, row: int
    ) -> None:
        """``count`` of the rows count, the others are superseded."""
        got, valid = found.ids[row : row + len(want)], found.valid[row : row + len(want)]
        if len(got) < len(want):  # reported as a wrong batch
            want, count = want[: len(got)], min(count, len(got))
        wrong = valid & (got != want)
        skipped = self._skipped(step, epoch, want, valid, rank, found, row, count)
        if wrong.any():
            self._misplaced(step, epoch, got, want, wrong, rank)
        self.rows += int(valid.sum())
        self.superseded += int(valid[count:].sum())
        if count == 0:
            return
        book = self._book(epoch)
        kept = got[:count][valid[:count]]
        if (kept >= book.samples).any() or (kept < 0).any():
            kept = kept[(kept >= 0) & (kept < book.samples)]
        book.delivered += int(valid[:count].sum())
        book.misplaced += int(wrong[:count].sum())
        again = book.mark(kept)
        if wrong.any():  # the same sample twice in one batch shows in no other way
            unique, times = np.unique(kept, return_counts=True)
            again = np.concatenate([again, unique[times > 1]])
        book.mark(skipped)
        self._repeated(step, epoch, again, rank)

    def _skipped(
        self,
        step: Step,
        epoch: int,
        want: Ids,
        valid: npt.NDArray[np.bool_],
        rank: int,
        found: BatchRecord,
        row: int,
        count: int,
    ) -> Ids:
        """Sample numbers of the holes that the record explains."""
        holes = np.flatnonzero(~valid)
        if not len(holes):
            return np.zeros(0, np.int64)
        named = {int(entry[0]): entry for entry in found.skipped}
        explained = []
        for hole in holes.tolist():
            entry = named.get(row + hole)
            if entry is None or int(entry[1]) != int(want[hole]):
                self.findings.add(
                    "hole",
                    f"{self._where(step, rank)}: row {row + hole}, sample {int(want[hole]):,}, is "
                    "not valid and no reason is recorded",
                    step.begin[0],
                )
            elif hole < count:
                explained.append(int(want[hole]))
                book = self._book(epoch)
                book.skipped += 1
                if book.skipped <= NAMED_MAX:
                    self.findings.notes.append(
                        f"epoch {epoch}: sample {entry[1]:,} ({entry[2]} in {entry[3]}) was "
                        f"skipped: {entry[4]}"
                    )
        return np.asarray(explained, np.int64)

    def _misplaced(
        self, step: Step, epoch: int, got: Ids, want: Ids, wrong: Any, rank: int
    ) -> None:
        for row in np.flatnonzero(wrong).tolist():
            self.findings.add(
                "misplaced",
                f"{self._where(step, rank)}: row {row} is sample {int(got[row]):,}, the order says "
                f"{int(want[row]):,}",
                epoch,
            )

    def _repeated(self, step: Step, epoch: int, again: Ids, rank: int) -> None:
        self.books[epoch].repeated += len(again)
        for number in again.tolist():
            self.findings.add(
                "repeated",
                f"{self._where(step, rank)}: sample {number:,} had been delivered in this epoch",
                epoch,
            )

    def _where(self, step: Step, rank: int) -> str:
        name = self.stage.segments[rank].path.name
        return f"{name}: batch at epoch {step.begin[0]} position {step.begin[1]:,}"
