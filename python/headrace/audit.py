# SPDX-License-Identifier: Apache-2.0
"""``hr.audit``: proves from the ledgers of all ranks and restarts that each sample of each finished
epoch was delivered exactly once, in the planned global order, or names those that were not.

The history (which part of which run counts) is audit_history.py, the plan audit_plan.py, the rows
audit_rows.py; here they are put together and said. docs/ledger.md says what is proven and what is
not.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headrace.audit_history import NAMED_MAX, Findings, Problem, Stage, find_stages, scan
from headrace.audit_plan import Book, StagePlan
from headrace.audit_rows import StageCheck
from headrace.errors import NotFoundError, OptionError

__all__ = ["Audit", "EpochAudit", "audit"]

# What a state may say that this audit understands; a job with more than this is told so.
_KNOWN_STATE = {
    "headrace", "order_hash", "index", "seed", "epoch", "position", "block", "lanes", "shuffle",
    "remainder", "drop", "agreement", "filter",
}  # fmt: skip


@dataclass(frozen=True)
class EpochAudit:
    """What the ledgers say of one epoch.

    Attributes:
        number: 0, or which later pass over the same epochs (unshuffled loaders, ``set_epoch``).
        state: ``"finished"``, ``"in progress"`` or ``"broken off"`` (by ``break``).
        samples: of an epoch (of a subset: its own). Of them ``left_out`` by the remainder rule,
            ``skipped`` as bad.
        delivered: valid rows that count; ``misplaced`` of them stood at another's place,
            ``repeated`` had been delivered before.
        missing: samples that should have been delivered by then and were not.
        proven: finished, and each sample that belongs to it came exactly once and in order.
    """

    number: int
    epoch: int
    state: str
    samples: int
    delivered: int
    left_out: int
    skipped: int
    missing: int
    repeated: int
    misplaced: int
    proven: bool


@dataclass
class Audit:
    """``ok``: no problem was found, and every finished epoch is proven. ``str()`` says it all."""

    folder: str
    files: int
    runs: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[EpochAudit] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    note_counts: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    superseded_rows: int = 0

    @property
    def ok(self) -> bool:
        finished = [epoch for epoch in self.epochs if epoch.state == "finished"]
        return not self.problem_counts and all(epoch.proven for epoch in finished)

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        lines = [
            f"{self.files} ledgers of {len(self.runs)} starts in {self.folder}: {self.rows:,} "
            f"rows, {self.superseded_rows:,} of them superseded by a later start"
        ]
        for epoch in self.epochs:
            lines.append("  " + _epoch_line(epoch))
        for problem in self.problems:
            lines.append(f"  {problem.kind}: {problem.text}")
        lines += _more_of(self.problem_counts)
        lines += [f"  note: {note}" for note in self.notes]
        lines += _more_of(self.note_counts)
        finished = sum(epoch.state == "finished" for epoch in self.epochs)
        if self.ok:
            lines.append(f"proven: {finished} finished epochs, each sample exactly once, in order")
        else:
            lines.append("not proven: see the problems above")
        return "\n".join(lines)


def _more_of(counts: dict[str, int]) -> list[str]:
    more = [(kind, count) for kind, count in counts.items() if count > NAMED_MAX]
    return [f"  {kind}: {count:,} in all" for kind, count in more]


def _epoch_line(epoch: EpochAudit) -> str:
    name = f"epoch {epoch.epoch}" + (f" (pass {epoch.number})" if epoch.number else "")
    parts = [f"{epoch.delivered:,} of {epoch.samples:,} delivered"]
    for count, word in (
        (epoch.left_out, "left out by the remainder rule"),
        (epoch.skipped, "skipped as bad"),
        (epoch.missing, "missing"),
        (epoch.repeated, "repeated"),
        (epoch.misplaced, "at a wrong place"),
    ):
        if count:
            parts.append(f"{count:,} {word}")
    verdict = "proven" if epoch.proven else "NOT PROVEN" if epoch.state == "finished" else ""
    return f"{name}: {epoch.state}: {', '.join(parts)}" + (f": {verdict}" if verdict else "")


def audit(
    folder: str | os.PathLike[str],
    *,
    epoch: int | None = None,
    key_of: Callable[[int], str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Judges the ledgers that ``ds.loader(ledger=folder)`` wrote on all ranks and in all restarts.

    Args:
        folder: all files ``*.ledger`` in it and below are read. One folder is one loader's job.
        epoch: only this one must be proven; it must be finished.
        key_of: gives a sample's key, to name those that are missing; ``ds.key``.
        progress: called with (stages done, stages).

    Raises:
        NotFoundError: no ledger there.
        OptionError: the folder holds ledgers that no audit is defined for.
    """
    root = Path(folder)
    paths = sorted(root.rglob("*.ledger"))
    if not paths:
        raise NotFoundError(
            f"audit {root}: no *.ledger file there; they are written by ds.loader(ledger=...)"
        )
    findings = Findings()
    stages = find_stages([scan(path, findings) for path in paths], findings)
    found = Audit(str(root), len(paths))
    judge = _Judge(found, findings, key_of)
    for number, stage in enumerate(stages):
        judge.stage(stage, last=number + 1 == len(stages))
        if progress is not None:
            progress(number + 1, len(stages))
    judge.end()
    if epoch is not None:
        _only(found, findings, epoch)
    found.problems = findings.named
    found.problem_counts = dict(findings.counts)
    found.notes = findings.notes
    found.note_counts = dict(findings.note_counts)
    return found


class _Judge:
    """Goes through the stages in order, with the books of the epochs that are open."""

    def __init__(
        self, found: Audit, findings: Findings, key_of: Callable[[int], str] | None
    ) -> None:
        self._found, self._findings, self._key_of = found, findings, key_of
        self._books: dict[int, Book] = {}
        self._number = 0
        self._before: Stage | None = None
        self._plan: StagePlan | None = None

    def stage(self, stage: Stage, *, last: bool) -> None:
        unknown = set(stage.start["state"]) - _KNOWN_STATE
        if unknown:
            raise OptionError(
                f"audit {self._found.folder}: run {stage.run} has {', '.join(sorted(unknown))}; "
                "only the plain order over a whole data set can be audited"
            )
        counts = stage.keep[1] > stage.keep[0]
        if counts:
            self._begin(stage)
        try:
            plan = StagePlan(stage.start, next(iter(stage.segments.values())).path.parent)
        except (ValueError, KeyError, OSError) as fault:
            self._findings.add("unreadable", f"run {stage.run}: what was planned: {fault}")
            return
        self._plan = plan
        check = StageCheck(stage, plan, self._books, self._findings)
        check.run()
        self._found.rows += check.rows
        self._found.superseded_rows += check.superseded
        self._missing_ranks(stage, counts, last)
        self._found.runs.append(_run_facts(stage))
        if counts:
            self._before = stage
            self._close(before=stage.keep[1][0], plan=plan, batch=plan.batch)

    def _begin(self, stage: Stage) -> None:
        """A stage that counts: does it go on where the one before it ended?"""
        before = self._before
        if stage.number != self._number:
            self._close(before=None, plan=self._plan, batch=0)
            self._number, self._before = stage.number, None
            return
        end = (0, 0) if before is None else before.keep[1]
        if stage.begin == end:
            return
        if before is not None and before.broken:
            for book in self._books.values():
                book.broken = True
            self._close(before=stage.begin[0], plan=self._plan, batch=0)
            return
        batch = int(stage.start["batch"])
        left = self._books.get(end[0])
        if before is not None and left is not None and _too_short(left, stage, batch):
            self._close(before=stage.begin[0], plan=self._plan, batch=batch)
            return
        what = "the ledgers begin" if before is None else f"run {stage.run} goes on"
        text = (
            f"{what} at epoch {stage.begin[0]} position {stage.begin[1]:,}, but nothing says what "
            f"was delivered from epoch {end[0]} position {end[1]:,} on"
        )
        if before is None and stage.begin[1] == 0:
            self._findings.note("begins later", text)
        else:
            self._findings.add("gap", text, end[0] if before is not None else stage.begin[0])

    def _missing_ranks(self, stage: Stage, counts: bool, last: bool) -> None:
        missing = [rank for rank in range(stage.world) if rank not in stage.segments]
        if not missing:
            return
        named = ", ".join(map(str, missing[:NAMED_MAX]))
        text = f"run {stage.run}: no ledger of rank {named} of {stage.world}"
        if counts:
            self._findings.add("rank without ledger", text)
        elif last:
            self._findings.note(
                "rank without ledger", f"{text}: what the others were handed is not counted yet"
            )

    def end(self) -> None:
        before, plan = self._before, self._plan
        if before is None or plan is None:
            return
        self._close(before=before.keep[1][0], plan=plan, batch=plan.batch)
        for book in sorted(self._books.values(), key=lambda book: book.epoch):
            state = "broken off" if before.broken or book.broken else "in progress"
            self._say(book, plan, state, proven=False)
        self._books.clear()

    def _close(self, *, before: int | None, plan: StagePlan | None, batch: int) -> None:
        """Judges the epochs that the history has left behind; all where ``before`` is None."""
        for number in sorted(self._books):
            if plan is None or (before is not None and number >= before):
                continue
            book = self._books.pop(number)
            book.batch = max(book.batch, batch)
            ended = before is not None and not book.broken
            self._say(book, plan, "finished" if ended else "broken off", proven=ended)

    def _say(self, book: Book, plan: StagePlan, state: str, *, proven: bool) -> None:
        missing = self._missing(book, plan, whole=state == "finished")
        left_out = book.samples - book.end + max(0, book.begin) if state == "finished" else 0
        left_out = left_out if _left_out_by_rule(book) else 0
        clean = not (missing or book.repeated or book.misplaced or book.holes)
        clean = clean and book.epoch not in self._findings.epochs
        self._found.epochs.append(
            EpochAudit(
                number=self._number,
                epoch=book.epoch,
                state=state,
                samples=book.samples,
                delivered=book.delivered,
                left_out=left_out,
                skipped=book.skipped,
                missing=missing,
                repeated=book.repeated,
                misplaced=book.misplaced,
                proven=proven and clean,
            )
        )

    def _missing(self, book: Book, plan: StagePlan, *, whole: bool) -> int:
        """Counts what should have come and names the first of it."""
        outside = 0
        if whole and not _left_out_by_rule(book):
            outside = book.samples - book.end + max(0, book.begin)
            self._findings.add(
                "missing",
                f"epoch {book.epoch}: positions [0, {book.begin:,}) and [{book.end:,}, "
                f"{book.samples:,}) were delivered by no run that counts",
                book.epoch,
            )
        expected = book.end - max(0, book.begin)
        exact = book.distinct() == expected == book.delivered + book.skipped
        if exact and not (book.misplaced or book.repeated):
            return outside
        missing = 0
        for position, number in book.absentees(plan):
            missing += 1
            key = f" ({self._key_of(number)})" if self._key_of and missing <= NAMED_MAX else ""
            self._findings.add(
                "missing",
                f"epoch {book.epoch}: sample {number:,}{key} of position {position:,} was not "
                "delivered",
                book.epoch,
            )
        return missing + outside


def _left_out_by_rule(book: Book) -> bool:
    """The positions before the first and behind the last that came are those that the remainder
    rule leaves out."""
    if book.remainder == "drop":
        return book.begin < book.first_batch and book.samples - book.end < book.batch
    return book.begin == 0 and book.end == book.samples


def _too_short(book: Book, stage: Stage, batch: int) -> bool:
    """A larger batch than before does not fit the rest of the epoch: it begins the next one."""
    rest = book.samples - book.end
    return book.remainder == "drop" and stage.begin == (book.epoch + 1, 0) and rest < batch


def _run_facts(stage: Stage) -> dict[str, Any]:
    reached = max(stage.reaches())
    return {
        "run": stage.run,
        "world": stage.world,
        "batch": int(stage.start["batch"]),
        "time": float(stage.start["time"]),
        "cause": stage.start["cause"],
        "begin": list(stage.begin),
        "counts_to": list(stage.keep[1]),
        "reached": list(reached),
        "closed": all(segment.closed for segment in stage.segments.values()),
    }


def _only(found: Audit, findings: Findings, epoch: int) -> None:
    """Leaves what concerns one epoch; that it is not finished is a problem."""
    found.epochs = [line for line in found.epochs if line.epoch == epoch]
    findings.named = [p for p in findings.named if p.epoch in (None, epoch)]
    kinds = {problem.kind for problem in findings.named}
    findings.counts = Counter({k: n for k, n in findings.counts.items() if k in kinds})
    if not any(line.state == "finished" for line in found.epochs):
        findings.add("not finished", f"epoch {epoch} is not finished", epoch)
