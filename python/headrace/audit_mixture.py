# SPDX-License-Identifier: Apache-2.0
"""Judges the ledgers of a mixture, source by source.

Weights may change while training runs, so how many rows a source has in a batch is read from the
ledgers and not computed. What is proven: in every batch over all ranks the rows of each source are
the next ones of that source's order. So each sample of each of its epochs came exactly once, in
order batch by batch. Places are (0, batches since the mixture began).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from headrace.audit_history import Findings, Stage
from headrace.audit_judge import missing_of, missing_ranks
from headrace.audit_plan import Book, Ids, SourceOrder
from headrace.audit_report import Audit, EpochAudit, run_facts
from headrace.audit_rows import RankRecords
from headrace.ledger_file import BatchRecord

__all__ = ["MixtureJudge"]

Point = tuple[int, int]  # where a source stands: epoch, position
_ORDER = ("name", "order_hash", "filter", "seed", "shuffle", "block", "lanes")


class MixtureJudge:
    """Goes through the stages in order, with a book for the open epoch of each source."""

    def __init__(
        self, found: Audit, findings: Findings, key_of: Callable[[int], str] | None
    ) -> None:
        self._found, self._findings = found, findings
        self._books: dict[tuple[int, int], Book] = {}  # by source and epoch
        self._points: list[Point] | None = None  # after what counts
        self._facts: list[Any] = []
        self._orders: list[SourceOrder] = []
        self._dirty: set[tuple[int, int]] = set()

    def stage(self, stage: Stage, *, last: bool) -> None:
        counts = stage.keep[1] > stage.keep[0]
        self._found.runs.append(run_facts(stage))
        missing_ranks(stage, self._findings, counts=counts, last=last)
        folder = next(iter(stage.segments.values())).path.parent
        sources = stage.start["sources"]
        try:
            shards = stage.start["counts"]
            self._orders = [
                SourceOrder(source, packed, folder)
                for source, packed in zip(sources, shards, strict=True)
            ]
        except (ValueError, KeyError, OSError) as fault:
            self._findings.add("unreadable", f"run {stage.run}: what was planned: {fault}")
            return
        begin = [(int(source["stands"][0]), int(source["stands"][1])) for source in sources]
        if counts:
            self._seam(stage, begin)
        self._steps(stage, begin, counts)

    def _seam(self, stage: Stage, begin: list[Point]) -> None:
        """A stage that counts begins where the sources stood after the one before."""
        sources = stage.start["sources"]
        before = [(0, 0)] * len(begin) if self._points is None else self._points
        for i, source in enumerate(sources):
            if len(before) != len(begin) or begin[i] != before[i]:
                self._findings.add(
                    "gap",
                    f"run {stage.run}: source {source['name']} begins at epoch {begin[i][0]} "
                    f"position {begin[i][1]:,}; nothing says what was delivered before",
                )
        facts = [[source.get(name) for name in _ORDER] for source in sources]
        if self._facts and facts != self._facts:
            self._findings.add("order changed", f"run {stage.run}: {self._facts} -> {facts}")
        self._facts = facts

    def _steps(self, stage: Stage, points: list[Point], counts: bool) -> None:
        ranks = {rank: RankRecords(segment) for rank, segment in stage.segments.items()}
        end = max(reach[1] for reach in stage.reaches())
        for step in range(stage.begin[1], end):
            kept = counts and step < stage.keep[1][1]
            found = {rank: records.take((0, step)) for rank, records in ranks.items()}
            whole = [record for record in found.values() if record is not None]
            if len(whole) < stage.world:
                self._uneven(stage, step, found, kept)
                if kept or step >= stage.keep[1][1]:
                    break
            points = self._batch(stage, step, whole, points, kept)
            if kept:
                self._points = points
                self._close(points)
        for rank, records in ranks.items():
            self._strays(stage, rank, records, end)

    def _uneven(
        self, stage: Stage, step: int, found: dict[int, BatchRecord | None], kept: bool
    ) -> None:
        """Not every rank has a record: how many rows of which source it had is not known."""
        for rank in range(stage.world):
            record = found.get(rank)
            if record is not None:
                self._found.rows += int(record.valid.sum())
                self._found.superseded_rows += int(record.valid.sum())
            elif kept:
                self._findings.add(
                    "missing record",
                    f"run {stage.run}: rank {rank} of {stage.world} has no record of batch {step}: "
                    "nothing behind it can be judged",
                )

    def _strays(self, stage: Stage, rank: int, records: RankRecords, end: int) -> None:
        records.take((0, end))
        for number, record, behind in records.strays:
            if record.begin[1] <= behind[1]:
                self._findings.add(
                    "record out of order",
                    f"{stage.segments[rank].path.name}: record {number}: batch {record.begin[1]} "
                    f"comes behind batch {behind[1]}",
                )

    def _batch(
        self, stage: Stage, step: int, records: list[BatchRecord], points: list[Point], kept: bool
    ) -> list[Point]:
        """Judges a batch over all ranks; where the sources stand after it."""
        valid = np.concatenate([record.valid for record in records])
        ids = np.concatenate([record.ids for record in records])[valid]
        of = np.concatenate(
            [np.full(len(r.ids), -1) if r.sources is None else r.sources for r in records]
        )[valid]
        self._found.rows += len(ids)
        self._found.superseded_rows += 0 if kept else len(ids)
        got = [ids[of == i] for i in range(len(self._orders))]
        holes = self._holes(step, records, got, points, kept)
        if len(valid) != int(stage.start["batch"]) or len(valid) != len(ids) + sum(map(len, holes)):
            self._findings.add(
                "wrong batch",
                f"run {stage.run}: batch {step}: {len(ids)} valid rows and "
                f"{sum(map(len, holes))} skipped of {stage.start['batch']}",
            )
        return [
            self._source(stage, step, i, got[i], holes[i], points[i], kept)
            for i in range(len(self._orders))
        ]

    def _holes(
        self, step: int, records: list[BatchRecord], got: list[Ids], points: list[Point], kept: bool
    ) -> list[list[int]]:
        """Skipped samples by source; the records have their numbers only."""
        entries = [entry for record in records for entry in record.skipped]
        holes: list[list[int]] = [[] for _ in got]
        if not entries:
            return holes
        left = [int(entry[1]) for entry in entries]
        for i, order in enumerate(self._orders):  # holes that rows of the source stand behind
            for more in range(len(left) + 1):
                lacking = _lacking(order, points[i], got[i], more)
                if len(lacking) == more and all(number in left for number in lacking):
                    holes[i] = lacking
                    break
            for number in holes[i]:
                left.remove(number)
        for number in left:  # those at the end of a source's rows
            for i, order in enumerate(self._orders):
                lacking = _lacking(order, points[i], got[i], len(holes[i]) + 1)
                if number in lacking:
                    holes[i].append(number)
                    break
        for entry in entries if kept else ():
            self._findings.note(
                "skipped", f"batch {step}: {entry[2]} in {entry[3]} was skipped: {entry[4]}"
            )
        return holes

    def _source(
        self, stage: Stage, step: int, i: int, got: Ids, holes: list[int], at: Point, kept: bool
    ) -> Point:
        """The rows of one source must be its next ones."""
        order, name = self._orders[i], stage.start["sources"][i]["name"]
        came = np.concatenate([got, np.asarray(holes, np.int64)])
        parts, after = _ahead(at, len(came), order.samples)
        wants = [order.ids(*part) for part in parts]
        exact = np.array_equal(np.sort(came), np.sort(np.concatenate([came[:0], *wants])))
        for part, want in zip(parts, wants, strict=True):
            here = want if exact else came[np.isin(came, want)] if part != parts[-1] else came
            if not exact:
                came = came[~np.isin(came, here)]
            self._part(stage, step, (i, part[0]), name, part, want, here, holes, kept)
        return after

    def _part(
        self,
        stage: Stage,
        step: int,
        key: tuple[int, int],
        name: str,
        part: tuple[int, int, int],
        want: Ids,
        came: Ids,
        holes: list[int],
        kept: bool,
    ) -> None:
        right = np.array_equal(np.sort(came), np.sort(want))
        if not right:
            self._dirty.add(key)
            wrong = sorted(set(came.tolist()) - set(want.tolist()))
            lacking = sorted(set(want.tolist()) - set(came.tolist()))
            self._findings.add(
                "misplaced",
                f"run {stage.run}: batch {step}: source {name} epoch {part[0]} positions "
                f"[{part[1]:,}, {part[2]:,}): samples {wrong[:20]} came, the order says "
                f"{lacking[:20]}",
            )
        if not kept:
            return
        order = self._orders[key[0]]
        book = self._books.setdefault(key, Book(part[0], order.samples, order.numbers))
        book.remainder = "wrap"
        book.cover(part[1], part[2])
        skipped = len(set(holes) & set(want.tolist())) if holes else 0
        book.skipped += skipped
        book.delivered += len(came) - skipped
        inside = came[(came >= 0) & (came < order.numbers)]
        book.repeated += len(book.mark(inside))
        if not right:
            book.repeated += len(inside) - len(np.unique(inside))
            book.misplaced += int((~np.isin(came, want)).sum())

    def _close(self, points: list[Point]) -> None:
        for key in [key for key in self._books if key[1] < points[key[0]][0]]:
            self._say(key, "finished")

    def _say(self, key: tuple[int, int], state: str) -> None:
        book, name = self._books.pop(key), str(self._facts[key[0]][0])
        finished = state == "finished"
        missing = missing_of(
            book, self._orders[key[0]], self._findings, None, name=f"{name} ", whole=finished
        )
        clean = not (missing or book.repeated or book.misplaced or book.holes)
        self._found.epochs.append(
            EpochAudit(
                number=0,
                epoch=book.epoch,
                state=state,
                samples=book.samples,
                delivered=book.delivered,
                left_out=0,
                skipped=book.skipped,
                missing=missing,
                repeated=book.repeated,
                misplaced=book.misplaced,
                proven=finished and clean and key not in self._dirty,
                source=name,
            )
        )

    def end(self) -> None:
        for key in sorted(self._books):
            self._say(key, "in progress")


def _lacking(order: SourceOrder, at: Point, got: Ids, more: int) -> list[int]:
    """What ``got`` lacks of the source's next ``len(got) + more`` samples."""
    parts, _ = _ahead(at, len(got) + more, order.samples)
    want = np.concatenate([order.ids(*part) for part in parts]) if parts else got
    return list((Counter(want.tolist()) - Counter(got.tolist())).elements())


def _ahead(at: Point, count: int, samples: int) -> tuple[list[tuple[int, int, int]], Point]:
    """The next ``count`` places as (epoch, begin, end), and where the source then stands."""
    parts = []
    epoch, position = at
    while count:
        end = min(samples, position + count)
        parts.append((epoch, position, end))
        count -= end - position
        epoch, position = (epoch + 1, 0) if end == samples else (epoch, end)
    return parts, (epoch, position)
