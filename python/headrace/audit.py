# SPDX-License-Identifier: Apache-2.0
"""``hr.audit``: proves from the ledgers of all ranks and restarts that each sample of each finished
epoch was delivered exactly once, in the planned global order, or names those that were not.

The history (which part of which run counts) is audit_history.py, the plan audit_plan.py, the rows
audit_rows.py; here they are put together and said. docs/ledger.md says what is proven and what is
not.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from headrace.audit_history import Findings, find_stages, scan
from headrace.audit_judge import Judge
from headrace.audit_mixture import MixtureJudge
from headrace.audit_report import Audit, EpochAudit
from headrace.errors import NotFoundError, OptionError

__all__ = ["Audit", "EpochAudit", "audit"]

_FILES_BESIDE = 256  # what else a process may have open


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
    _allow_open_files(max((stage.world for stage in stages), default=0))
    mixed = {"sources" in stage.start for stage in stages}
    if len(mixed) > 1:
        raise OptionError(
            f"audit {root}: ledgers of a mixture and of a single data set: give each job a folder"
        )
    judge = (MixtureJudge if True in mixed else Judge)(found, findings, key_of)
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


def _allow_open_files(count: int) -> None:
    """The files of all ranks of a run are read side by side: as far as this process may go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + _FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < need:
        most = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _only(found: Audit, findings: Findings, epoch: int) -> None:
    """Leaves what concerns one epoch; that it is not finished is a problem."""
    found.epochs = [line for line in found.epochs if line.epoch == epoch]
    findings.named = [p for p in findings.named if p.epoch in (None, epoch)]
    kinds = {problem.kind for problem in findings.named}
    findings.counts = Counter({k: n for k, n in findings.counts.items() if k in kinds})
    if not any(line.state == "finished" for line in found.epochs):
        findings.add("not finished", f"epoch {epoch} is not finished", epoch)
