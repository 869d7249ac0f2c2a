# SPDX-License-Identifier: Apache-2.0
"""From ledger files to the history of a job: which run delivered what, and which part of it counts.

A *segment* is what one file says between two of its start records; a *stage* is the same segment of
all ranks of a run. A stage that begins from a state supersedes what was delivered after that state:
the trainer lost it too. What is left of each stage is its ``keep`` range. Rows are judged in
audit_rows.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.ledger_file import (
    BATCH,
    END,
    START,
    Flaw,
    batch_places,
    read_records,
    unpack_json,
)
from headrace.ledger_start import checked_start

__all__ = ["Findings", "Place", "Problem", "Segment", "Stage", "find_stages", "scan"]

Place = tuple[int, int]  # epoch, position; an epoch's start is always position 0 here
_STEPS_APART = 2  # trainers that wait for each other in every step: one, and one in a kill
NAMED_MAX = 20  # problems of a kind that are named; the rest are counted

# Parts of a start record that all ranks of a stage must have in common.
_COMMON = ("at", "loaded", "sources", "batch", "cause", "samples", "numbers", "world")
_ORDER = ("order_hash", "filter", "seed", "shuffle", "block", "lanes")
_COMMON_STATE = (*_ORDER, "index", "remainder")


@dataclass(frozen=True)
class Problem:
    """``kind`` is one of a few stable words; ``epoch`` None where it concerns no single one."""

    kind: str
    text: str
    epoch: int | None = None


class Findings:
    """Problems: the first of each kind with their words, all of them counted."""

    def __init__(self) -> None:
        self.named: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self.epochs: set[int] = set()
        self.notes: list[str] = []  # of what is no problem
        self.note_counts: Counter[str] = Counter()

    def note(self, kind: str, text: str) -> None:
        self.note_counts[kind] += 1
        if self.note_counts[kind] <= NAMED_MAX:
            self.notes.append(text)

    def add(self, kind: str, text: str, epoch: int | None = None) -> None:
        self.counts[kind] += 1
        if epoch is not None:
            self.epochs.add(epoch)
        if self.counts[kind] <= NAMED_MAX:
            self.named.append(Problem(kind, text, epoch))


@dataclass
class Segment:
    """One start record and the batches behind it.

    Attributes:
        number: of the start record in its file.
        reach: where the job stood after the last of its batches that is readable.
    """

    path: Path
    number: int
    start: dict[str, Any]
    batches: int = 0
    reach: Place = (0, 0)
    closed: bool = False

    @property
    def rank(self) -> int:
        return int(self.start["rank"])

    def differences(self, other: Segment) -> list[str]:
        """``name=mine (others: theirs)`` of what should be the same on all ranks."""
        mine, theirs = _common(self.start), _common(other.start)
        return [f"{n}={mine[n]} (others: {theirs[n]})" for n in mine if mine[n] != theirs[n]]


def _common(start: dict[str, Any]) -> dict[str, Any]:
    found = {name: start.get(name) for name in _COMMON}
    found.update({name: start["state"].get(name) for name in _COMMON_STATE})
    return found


def begin_place(at: Iterable[int]) -> Place:
    """Where a state stands; an epoch of which nothing was delivered stands at its position 0."""
    epoch, position, drop = at
    return (epoch, 0 if position <= drop else position)


def after_place(begin: Place, after: Place, remainder: str) -> Place:
    """Where a job stands after a batch."""
    return (after[0], 0) if remainder == "drop" and after[0] > begin[0] else after


@dataclass
class _File:
    path: Path
    segments: list[Segment] = field(default_factory=list)

    @property
    def start(self) -> dict[str, Any]:
        return self.segments[0].start

    @property
    def rank(self) -> int:
        return self.segments[0].rank


def scan(path: Path, findings: Findings) -> _File:
    """Reads a file once, checks every record by itself, and says where its segments reach."""
    file = _File(path)
    shared: dict[str, Any] = {}
    segment: Segment | None = None  # None: behind a start record that cannot be used
    for record in read_records(path):
        if isinstance(record, Flaw):
            _flaw(path, record, findings)
            continue
        try:
            if record.kind == START:
                segment = None
                start = checked_start(unpack_json(record.payload))
                shared = {"counts": start["counts"]} if "counts" in start else shared
                begin = begin_place(start["at"])
                segment = Segment(path, record.number, {**shared, **start}, reach=begin)
                file.segments.append(segment)
            elif record.kind == BATCH and segment is not None:
                begin, after = batch_places(record.payload, segment.start["id_bytes"])
                reach = after_place(begin, after, segment.start["state"]["remainder"])
                segment.reach = max(segment.reach, reach)
                segment.batches += 1
            elif record.kind == END and segment is not None:
                segment.closed = True
        except (ValueError, KeyError, IndexError, TypeError) as fault:
            findings.add(
                "unreadable",
                f"{path.name}: record {record.number} at byte {record.offset:,}: {fault!r}",
            )
    return file


def _flaw(path: Path, flaw: Flaw, findings: Findings) -> None:
    where = f"{path.name}: record {flaw.number} at byte {flaw.offset:,}"
    if flaw.torn:
        what = (
            f"the file ends after {flaw.size:,} bytes of it" if flaw.size else "the file is empty"
        )
        findings.note(
            "torn",
            f"{where}: torn: {what}, as a kill leaves it; it counts as not delivered",
        )
    else:
        findings.add("checksum", f"{where}: its checksum is wrong ({flaw.size:,} bytes)")


@dataclass
class Stage:
    """One start of a run on all its ranks, and the part of what followed that counts.

    Attributes:
        segments: by rank; a rank that left none is missing.
        keep: [begin, end) of the places whose rows count.
        number: which pass over the data it belongs to: unshuffled loaders and ``set_epoch`` go back
            without superseding anything.
        broken: ``break`` left out the rest of the epoch in which ``keep`` ends.
    """

    run: str
    start: dict[str, Any]
    segments: dict[int, Segment]
    keep: tuple[Place, Place] = ((0, 0), (0, 0))
    number: int = 0
    broken: bool = False

    @property
    def begin(self) -> Place:
        return begin_place(self.start["at"])

    @property
    def cut(self) -> Place:
        """Where the state stood that it began from: what was delivered after it does not count."""
        return begin_place(self.start.get("loaded") or self.start["at"])

    @property
    def world(self) -> int:
        return int(self.start["world"])

    def reaches(self) -> list[Place]:
        """Of every rank, in rank order; a rank without a ledger did not get beyond the start."""
        segments = (self.segments.get(rank) for rank in range(self.world))
        return [self.begin if segment is None else segment.reach for segment in segments]


def find_stages(files: list[_File], findings: Findings) -> list[Stage]:
    """The job's stages in the order of time, each with its ``keep`` range."""
    stages: list[Stage] = []
    for name, members, older in _runs([file for file in files if file.segments]):
        stages += [_stage(name, {file.rank: file.segments[0]}, findings) for file in older]
        for number in range(max(len(file.segments) for file in members.values())):
            segments = {
                rank: file.segments[number]
                for rank, file in members.items()
                if number < len(file.segments)
            }
            stages.append(_stage(name, segments, findings))
    _keep(stages, findings)
    return stages


Run = tuple[str, dict[int, _File], list[_File]]


def _runs(files: list[_File]) -> list[Run]:
    """(name, file by rank, older files of the same ranks that began at the same place), by time.

    Runs with a shared name are put together by it. Others by time: a file belongs to the run before
    it if it says the same start; if its rank is there already the older file is superseded whole.
    """
    names = Counter((file.start["run"], file.rank) for file in files)
    twice = {run for (run, _), count in names.items() if count > 1}
    shared: dict[str, list[_File]] = defaultdict(list)
    alone: list[_File] = []
    for file in files:
        known = file.start["shared"] and file.start["run"] not in twice
        (shared[file.start["run"]] if known else alone).append(file)
    timed: list[tuple[float, Run]] = []
    for name, members in shared.items():
        first = min(float(file.start["time"]) for file in members)
        timed.append((first, (name, {file.rank: file for file in members}, [])))
    last: Any = None
    for file in sorted(alone, key=lambda file: float(file.start["time"])):
        key = _common(file.start)
        if key != last:
            timed.append((float(file.start["time"]), (file.start["run"], {}, [])))
            last = key
        _, members_by_rank, older = timed[-1][1]
        if file.rank in members_by_rank:
            older.append(members_by_rank[file.rank])
        members_by_rank[file.rank] = file
    return [run for _, run in sorted(timed, key=lambda item: item[0])]


def _stage(name: str, segments: dict[int, Segment], findings: Findings) -> Stage:
    """Ranks that say something else than most (the first of them) are reported and left out."""
    said = {rank: repr(_common(segments[rank].start)) for rank in sorted(segments)}
    most = Counter(said.values()).most_common(1)[0][0]
    agreed = {rank: segment for rank, segment in segments.items() if said[rank] == most}
    first = agreed[min(agreed)]
    for rank, segment in segments.items():
        if rank not in agreed:
            what = ", ".join(segment.differences(first))
            findings.add(
                "disagreement", f"{segment.path.name}: rank {rank} of run {name} has {what}"
            )
    return Stage(name, first.start, agreed)


def _keep(stages: list[Stage], findings: Findings) -> None:
    """Sets each stage's ``keep``: later starts cut what was delivered after them."""
    history: list[Stage] = []  # of the current pass over the data
    number = 0
    for stage in stages:
        begin = stage.begin
        last = history[-1] if history else None
        if stage.start["cause"] == "pass" and last is not None:
            if begin >= last.keep[1]:
                last.broken = begin > last.keep[1]
            else:  # again from an earlier place, on purpose
                history, number = [], number + 1
        else:
            _cut(history, stage.cut)
            if history:
                history[-1].broken = begin > stage.cut and not _too_short(history[-1], stage)
            if last is not None:
                _check_seam(last, stage, findings)
        stage.number = number
        stage.keep = (begin, _own_end(stage))
        history.append(stage)


def _own_end(stage: Stage) -> Place:
    """How far a stage counts if nothing follows it: to where all ranks are.

    A kill leaves ranks a step or two apart. Where they are further apart, an epoch that some of
    them finished counts as finished, and the others lack rows.
    """
    reaches = stage.reaches()
    least, most = min(reaches), max(reaches)
    batch, epoch = int(stage.start["batch"]), int(stage.start["samples"])
    if stage.start["state"]["remainder"] == "drop":
        epoch -= epoch % batch
    apart = (most[0] - least[0]) * epoch + most[1] - least[1]
    if most[0] > least[0] and apart >= (_STEPS_APART + 1) * batch:
        return (most[0], 0)
    return least


def _too_short(before: Stage, stage: Stage) -> bool:
    """The rest of the epoch has no room for the new batch size: ``drop`` begins the next one."""
    epoch, position = stage.cut
    rest = int(stage.start["samples"]) - position
    dropped = before.start["state"]["remainder"] == "drop" and rest < int(stage.start["batch"])
    return dropped and stage.begin == (epoch + 1, 0)


def _cut(history: list[Stage], begin: Place) -> None:
    """A start at ``begin`` supersedes everything from there on."""
    while history and history[-1].keep[0] >= begin:
        history[-1].keep = (history[-1].keep[0], history[-1].keep[0])
        history.pop()
    if history:
        last = history[-1]
        furthest = max(last.reaches())
        # Where some rank got as far as the state, all of them must have.
        last.keep = (last.keep[0], min(begin, furthest))


def _check_seam(before: Stage, stage: Stage, findings: Findings) -> None:
    mine, theirs = stage.start["state"], before.start["state"]
    changed = [name for name in _ORDER if mine.get(name) != theirs.get(name)]
    if not changed or stage.begin == (0, 0):
        return
    what = ", ".join(f"{name} {theirs.get(name)} -> {mine.get(name)}" for name in changed)
    text = (
        f"run {stage.run} goes on at epoch {stage.begin[0]} position {stage.begin[1]:,} with {what}"
    )
    if stage.begin[1] > 0 or set(changed) & {"order_hash", "filter"}:
        findings.add("order changed", text, stage.begin[0])
    else:
        findings.note("order changed", text)
