# SPDX-License-Identifier: Apache-2.0
"""What an audit found: of each epoch, and in all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from headrace.audit_history import NAMED_MAX, Problem, Stage

__all__ = ["Audit", "EpochAudit", "run_facts"]


@dataclass(frozen=True)
class EpochAudit:
    """What the ledgers say of one epoch.

    Attributes:
        source: of a mixture, its name; else "".
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
    source: str = ""


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
    name = f"{epoch.source} " * bool(epoch.source) + f"epoch {epoch.epoch}"
    name += f" (pass {epoch.number})" if epoch.number else ""
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


def run_facts(stage: Stage) -> dict[str, Any]:
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
