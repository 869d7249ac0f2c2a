# SPDX-License-Identifier: Apache-2.0
"""Ledger: an append-only record, on local or shared disk, of what one rank's trainer was handed.

One file for each rank and run. A batch's record is written with one ``write()`` before the batch is
handed over: a kill of the process loses nothing that was delivered, at worst the file ends in a
torn record. It is not synced to the disk: a power failure can lose the last seconds. The format is
docs/ledger.md; ``headrace audit`` judges.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import Error
from headrace.ledger_file import (
    BATCH,
    END,
    MAGIC,
    START,
    BatchRecord,
    id_width,
    pack_batch,
    pack_record,
    pack_subset,
)
from headrace.ledger_start import job_facts, place_of, sources_of, start_facts

if TYPE_CHECKING:
    from headrace.batch import Batch
    from headrace.dataset import Dataset
    from headrace.plan import JobPlan

__all__ = ["Ledger", "LedgerError", "Run", "agree_on_run"]

_SAME_NAMES_MAX = 10_000  # files of one run and rank


class LedgerError(Error, OSError):
    """The ledger cannot be written: the batch was not delivered either."""

    code = "ledger"


class Run:
    """The name of a run: one start of the job on all its ranks.

    ``shared``: every rank has this name, because the launcher gave it (HEADRACE_RUN_ID) or the
    ranks agreed on it; else it is this process's own and an audit sorts runs by their times.
    """

    def __init__(self, name: str = "", *, shared: bool | None = None) -> None:
        given = os.environ.get("HEADRACE_RUN_ID", "") if not name else ""
        if given:
            # A launcher that restarts its workers keeps their environment.
            restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            name = given if restarts == "0" else f"{given}.{restarts}"
        self.shared = bool(given) if shared is None else shared
        made = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)
        self.name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80] or made


def agree_on_run(mine: Run, gathered: list[str], world: int) -> tuple[Run, list[str]]:
    """The first rank's run, and the ranks' texts without the line that carried it."""
    split = [text.rpartition("\n") for text in gathered]
    if len(gathered) != world or mine.shared:
        return mine, [text for text, _, _ in split]
    return Run(split[0][2], shared=True), [text for text, _, _ in split]


class Ledger:
    """Writes the ledger files of one loader into ``folder``."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._descriptor: int | None = None
        self._path = self._folder
        self._pid = 0
        self._width = 8
        self._size = 0  # bytes of the file that are whole records
        self._batches = 0
        self._begun = 0.0
        self._after: Any = None  # what the last record says
        self._facts: dict[str, Any] = {}

    def begin(self, dataset: Any, plan: JobPlan, at: Any, run: Run, *, loaded: Any) -> None:
        """Batches from ``at`` on follow; does nothing when that is where the last record ends.

        Args:
            loaded: where the state stood that was loaded: what was delivered after it does not
                count.

        Raises:
            LedgerError: the file cannot be made or written.
        """
        mine = self._descriptor is not None and self._pid == os.getpid()
        facts = job_facts(dataset, plan)
        if mine and loaded is None and (at, facts) == (self._after, self._facts):
            return
        at = plan.cursor.start(at)
        if not mine:
            self._create(run, plan.ranks.rank)
        for part in sources_of(dataset).values():
            self._write_subset(part)
        self._begun = time.time()
        self._width = id_width(facts["numbers"])
        start = {
            "run": run.name,
            "shared": run.shared or plan.ranks.world_size == 1,
            "cause": "state" if loaded is not None else "pass" if mine else "new",
            "loaded": None if loaded is None else place_of(loaded),
            "time": round(self._begun, 6),
            "id_bytes": self._width,
            **start_facts(dataset, plan, at, counts=not mine),
        }
        self._append(START, json.dumps(start).encode(), place_of(at))
        self._after, self._facts = at, facts

    def write(self, batch: Batch, after: Any) -> None:
        """Records a batch; call it before the trainer gets it.

        Raises:
            LedgerError: it could not be written whole; the file is as before.
        """
        end = place_of(after)
        mixed = isinstance(after, dict)
        begin = (0, end[1] - 1) if mixed else (batch.epoch, batch.position)
        record = BatchRecord(
            begin=begin,
            after=(end[0], end[1]),
            ids=batch.ids,
            valid=batch.valid,
            millis=int((time.time() - self._begun) * 1000),
            skipped=batch.skipped,
            sources=batch.sources if mixed else None,
        )
        self._append(BATCH, pack_batch(record, self._width), end)
        self._batches += 1
        self._after = after

    def close(self) -> None:
        """Says in the file that it ends here; idempotent."""
        if self._descriptor is None:
            return
        if self._pid == os.getpid():
            with contextlib.suppress(LedgerError):  # what it says of batches is whole without it
                self._append(END, json.dumps({"batches": self._batches}).encode(), (0, 0))
        os.close(self._descriptor)
        self._descriptor = None

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _create(self, run: Run, rank: int) -> None:
        """A new file; never an old one, so that what a killed process wrote stays as it is."""
        if self._descriptor is not None:  # of the parent of this forked process
            os.close(self._descriptor)
            self._descriptor = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, _SAME_NAMES_MAX):
                more = "" if number == 1 else f".{number}"
                self._path = self._folder / f"{run.name}-{rank}{more}.ledger"
                with contextlib.suppress(FileExistsError):
                    self._descriptor = os.open(self._path, flags, 0o644)
                    break
        except OSError as fault:
            raise LedgerError(
                f"make ledger {self._path}: {fault.strerror}; no batch was delivered: name a "
                "folder that can be written, or leave out ledger="
            ) from fault
        if self._descriptor is None:
            raise LedgerError(f"make ledger {self._path}: {_SAME_NAMES_MAX:,} files of one run")
        self._pid, self._size, self._batches = os.getpid(), 0, 0

    def _write_subset(self, dataset: Dataset) -> None:
        """Which samples take part, once for all ranks, under the name that the state gives it."""
        if dataset.selection is None:
            return
        path = self._folder / f"{dataset.filter_hash}.subset"
        fresh = path.with_suffix(f".{os.getpid()}.new")
        try:
            if not path.exists():
                fresh.write_bytes(pack_subset(dataset.core.samples, dataset.selection.words))
                os.replace(fresh, path)
        except OSError as fault:
            raise LedgerError(
                f"write ledger {path}: {fault.strerror}; no batch was delivered"
            ) from fault

    def _append(self, kind: int, payload: bytes, at: Sequence[int]) -> None:
        assert self._descriptor is not None
        record = pack_record(kind, payload)
        if self._size == 0:
            record = MAGIC + record
        try:
            written = os.write(self._descriptor, record)
            cause = f"{written:,} of {len(record):,} bytes were written, the disk is full"
        except OSError as fault:
            written, cause = 0, str(fault.strerror)
        if written == len(record):
            self._size += written
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
        raise LedgerError(
            f"write ledger {self._path}: {cause}; the batch before epoch {at[0]} position "
            f"{at[1]:,} was not delivered: make room and resume(), or go on without ledger="
        )
