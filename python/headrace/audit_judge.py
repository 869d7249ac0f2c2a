# SPDX-License-Identifier: Apache-2.0
"""Goes through the stages of a job over one data set; says which epochs are proven."""

from __future__ import annotations

from collections.abc import Callable

from headrace.audit_history import NAMED_MAX, Findings, Stage
from headrace.audit_plan import Book, SourceOrder, StagePlan
from headrace.audit_report import Audit, EpochAudit, run_facts
from headrace.audit_rows import StageCheck
from headrace.errors import OptionError

__all__ = ["Judge", "missing_of", "missing_ranks"]

# What a state may say that this audit understands; a job with more than this is told so.
_KNOWN_STATE = {
    "headrace", "order_hash", "index", "seed", "epoch", "position", "block", "lanes", "shuffle",
    "remainder", "drop", "agreement", "filter",
}  # fmt: skip


class Judge:
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
        missing_ranks(stage, self._findings, counts=counts, last=last)
        self._found.runs.append(run_facts(stage))
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
        missing = missing_of(book, plan, self._findings, self._key_of, whole=state == "finished")
        left_out = book.samples - book.end + max(0, book.begin) if state == "finished" else 0
        left_out = left_out if left_out_by_rule(book) else 0
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


def missing_ranks(stage: Stage, findings: Findings, *, counts: bool, last: bool) -> None:
    missing = [rank for rank in range(stage.world) if rank not in stage.segments]
    if not missing:
        return
    named = ", ".join(map(str, missing[:NAMED_MAX]))
    text = f"run {stage.run}: no ledger of rank {named} of {stage.world}"
    if counts:
        findings.add("rank without ledger", text)
    elif last:
        findings.note(
            "rank without ledger", f"{text}: what the others were handed is not counted yet"
        )


def missing_of(
    book: Book,
    order: SourceOrder,
    findings: Findings,
    key_of: Callable[[int], str] | None,
    *,
    name: str = "",
    whole: bool,
) -> int:
    """Counts what should have come and names the first of it.

    Args:
        name: of a mixture's source, with a colon.
        whole: the epoch is over: all of it should have come.
    """
    outside = 0
    if whole and not left_out_by_rule(book):
        outside = book.samples - book.end + max(0, book.begin)
        findings.add(
            "missing",
            f"{name}epoch {book.epoch}: positions [0, {book.begin:,}) and [{book.end:,}, "
            f"{book.samples:,}) were delivered by no run that counts",
            book.epoch,
        )
    expected = book.end - max(0, book.begin)
    exact = book.distinct() == expected == book.delivered + book.skipped
    if exact and not (book.misplaced or book.repeated):
        return outside
    missing = 0
    for position, number in book.absentees(order):
        missing += 1
        key = f" ({key_of(number)})" if key_of and missing <= NAMED_MAX else ""
        findings.add(
            "missing",
            f"{name}epoch {book.epoch}: sample {number:,}{key} of position {position:,} was not "
            "delivered",
            book.epoch,
        )
    return missing + outside


def left_out_by_rule(book: Book) -> bool:
    """The positions before the first and behind the last that came are those that the remainder
    rule leaves out."""
    if book.remainder == "drop":
        return book.begin < book.first_batch and book.samples - book.end < book.batch
    return book.begin == 0 and book.end == book.samples


def _too_short(book: Book, stage: Stage, batch: int) -> bool:
    """A larger batch than before does not fit the rest of the epoch: it begins the next one."""
    rest = book.samples - book.end
    return book.remainder == "drop" and stage.begin == (book.epoch + 1, 0) and rest < batch
