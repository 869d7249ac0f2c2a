# SPDX-License-Identifier: Apache-2.0
"""Compares the rows of ledgers with the planned order (audit_plan.py), stage by stage.

Every rank's records are read once, side by side. Memory: one record of each rank, and what the plan
and the books need.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from headrace.audit_history import Findings, Place, Segment, Stage
from headrace.audit_plan import Book, Ids, StagePlan, Step
from headrace.ledger_file import BATCH, START, BatchRecord, Record, read_records, unpack_batch

__all__ = ["RankRecords", "StageCheck"]

_ABSENT_MAX = 4096  # batches without a record that may still turn up later in the file


class RankRecords:
    """The batch records of one segment, taken by where they begin."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._records = self._read()
        self._next: tuple[int, BatchRecord] | None = next(self._records, None)
        self._last: Place = (0, 0)
        self.strays: list[tuple[int, BatchRecord, Place]] = []  # number, record, where it stands

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

    def take(self, begin: Place | None) -> BatchRecord | None:
        """The record of the batch at ``begin``; those before it (None: all) become strays."""
        while self._next is not None and (begin is None or self._next[1].begin < begin):
            self.strays.append((*self._next, self._last))
            self._next = next(self._records, None)
        if self._next is None or self._next[1].begin != begin:
            return None
        found = self._next[1]
        self._last = found.begin
        self._next = next(self._records, None)
        return found


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
        self._absent: dict[tuple[int, Place], Step] = {}  # what may still come out of order

    def run(self) -> None:
        ranks = {rank: RankRecords(segment) for rank, segment in self.stage.segments.items()}
        last = max([self.stage.keep[1], *self.stage.reaches()])
        for step in self.plan.steps(self.stage.start["at"]):
            if step.place >= last:
                break
            self._step(step, ranks)
        for rank, records in ranks.items():
            records.take(None)
            self._strays(rank, records)
        for (rank, _), step in self._absent.items():
            self._report_absent(step, rank)

    def _kept_end(self, part: tuple[int, int, int]) -> int:
        """Positions of a part below this one count."""
        epoch, begin, end = part
        last_epoch, last = self.stage.keep[1]
        if epoch != last_epoch:
            return end if epoch < last_epoch else begin
        return min(end, max(begin, last))

    def _step(self, step: Step, ranks: dict[int, RankRecords]) -> None:
        planned = [self.plan.ids(*part) for part in step.parts]
        keeps = [self._kept_end(part) for part in step.parts]
        for part, keep in zip(step.parts, keeps, strict=True):
            if keep > part[1]:
                self._book(part[0]).cover(part[1], keep)
        for rank in range(self.plan.world):
            records = ranks.get(rank)
            found = None
            if records is not None:
                found = records.take(step.begin)
                self._strays(rank, records)
            if found is not None:
                self._compare(step, planned, keeps, rank, found)
            elif len(self._absent) < _ABSENT_MAX:
                self._absent[rank, step.begin] = step
            else:
                self._report_absent(step, rank)

    def _strays(self, rank: int, records: RankRecords) -> None:
        """Records that do not follow the one before them: late, again, or of no batch at all."""
        for number, record, behind in records.strays:
            step = self._absent.pop((rank, record.begin), None)
            said = "comes late" if step is not None else "comes again"
            kind = "record out of order" if step is not None else "repeated record"
            if step is None and record.begin > behind:
                said, kind = "is no batch of the plan", "record not planned"
            self.findings.add(
                kind,
                f"{self.stage.segments[rank].path.name}: record {number}: the batch at epoch "
                f"{record.begin[0]} position {record.begin[1]:,} {said}, behind that at epoch "
                f"{behind[0]} position {behind[1]:,}",
                record.begin[0],
            )
            if step is not None:
                planned = [self.plan.ids(*part) for part in step.parts]
                keeps = [self._kept_end(part) for part in step.parts]
                self._compare(step, planned, keeps, rank, record)
        records.strays.clear()

    def _book(self, epoch: int) -> Book:
        if epoch not in self.books:
            self.books[epoch] = Book(
                epoch, self.plan.samples, self.plan.numbers, first_batch=self.plan.batch
            )
        book = self.books[epoch]
        book.batch, book.remainder = self.plan.batch, self.plan.remainder
        return book

    def _report_absent(self, step: Step, rank: int) -> None:
        for part in step.parts:
            rows = len(range(part[1], self._kept_end(part))[self.plan.rank_rows(part, rank)])
            if rows:
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
        if count == len(want) and np.array_equal(got, want) and valid.all():
            book = self._book(epoch)
            self.rows += count
            book.delivered += count
            self._repeated(step, epoch, book.mark(got), rank)
            return
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
        if (kept >= book.numbers).any() or (kept < 0).any():
            kept = kept[(kept >= 0) & (kept < book.numbers)]
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
                self.findings.note(
                    "skipped",
                    f"epoch {epoch}: sample {entry[1]:,} ({entry[2]} in {entry[3]}) was skipped: "
                    f"{entry[4]}",
                )
        return np.asarray(explained, np.int64)

    def _misplaced(
        self, step: Step, epoch: int, got: Ids, want: Ids, wrong: npt.NDArray[np.bool_], rank: int
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
