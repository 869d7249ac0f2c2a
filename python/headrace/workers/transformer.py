# SPDX-License-Identifier: Apache-2.0
"""WorkerTransformer: what :class:`headrace.transform.Transformer` does on threads, in processes.

Batches are cut into one run of rows a worker (with ``collate=``, a batch goes to one worker whole)
and sent in order. Memory for results of the batch that the trainer waits for is taken at once: it
leaves the budget at delivery anyway. For batches behind it the loader's budget is asked, and where
it refuses they wait, so that the first always goes on and nothing deadlocks.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace import _core
from headrace.batch import Batch
from headrace.errors import LimitError, WorkerError
from headrace.transform import Sample, describe_row, no_stop_iteration
from headrace.workers.codec import decode
from headrace.workers.crew import Crew
from headrace.workers.packing import Part, Placed, unpack
from headrace.workers.program import make_program
from headrace.workers.shared import Exported, align

__all__ = ["WorkerTransformer"]

# Batches in hand: the one that is waited for and three behind it, so that a batch that takes longer
# than others leaves no worker idle.
_DEPTH = 4
# A result larger than any before it has to be asked for; this much is given beforehand.
_ROOM_SHARE = 1.25
_ROOM_SPARE_BYTES = 4096


class _Chunk:
    """Rows [begin, end) of a batch: one worker's task."""

    def __init__(self, number: int, begin: int, end: int) -> None:
        self.number = number
        self.begin, self.end = begin, end
        self.worker: int | None = None  # None: not sent
        self.room: Any = None  # a slot for what has no place
        self.asked = 0  # bytes of room that the worker waits for
        self.form: dict[str, Any] | None = None
        self.failure: dict[str, Any] | None = None


class _Work:
    """A batch in the workers' hands."""

    def __init__(self, batch: Batch, exported: Exported, stream: Any, chunks: list[_Chunk]) -> None:
        self.batch = batch
        self.exported = exported
        self.stream = stream
        self.chunks = chunks
        self.keys = batch.sample_keys
        self.places: dict[str, Placed] | None = None  # None: not laid out yet
        self.slot: Any = None  # of the places
        self.charged: list[Any] = []  # slots that count in the budget

    @property
    def done(self) -> bool:
        return all(chunk.form is not None or chunk.failure is not None for chunk in self.chunks)


class WorkerTransformer:
    """Runs ``transform`` over the rows of batches in ``workers`` processes, which start with the
    first batch and stay until :meth:`close`.

    Args:
        transform, collate_rows: as in :class:`headrace.transform.Transformer`.
        seeds: of each source's order.
        workers: processes.
        timeout: seconds that a sample may take; None: any time.
    """

    def __init__(
        self,
        transform: Callable[[Sample], Any],
        collate_rows: Callable[[Sequence[Any]], Any] | None,
        seeds: Sequence[int],
        workers: int,
        timeout: float | None,
    ) -> None:
        self.seeds = seeds
        self._functions = {"transform": transform, "collate": collate_rows}
        self._workers = workers
        self._timeout = timeout
        self._whole = collate_rows is not None
        self.depth = max(_DEPTH, workers + 2) if self._whole else _DEPTH
        self._program: bytes | None = None
        self._crew: Crew | None = None
        self.shared: Any = _core.SharedMemory()  # address space only, until it is used
        self._queue: deque[_Work] = deque()  # in order; the first is waited for
        self._sent: dict[int, tuple[_Work, _Chunk]] = {}  # by task, until answered
        self._load = [0] * workers  # rows that each has to do
        self._tasks = 0
        self._kinds: dict[str, Any] = {}  # of the last batch's blocks: the next one's places
        self._room_bytes = 0.0  # a row of the last batches

    # --- as a Feed uses it ------------------------------------------------------------------------

    def submit(self, batch: Batch, stream: Any) -> _Work:
        """Begins work on a batch of ``stream``."""
        self._start()
        rows = len(batch.ids)
        step = rows if self._whole else -(-rows // self._workers)
        chunks = []
        for begin in range(0, rows, step):
            self._tasks += 1
            chunks.append(_Chunk(self._tasks, begin, min(begin + step, rows)))
        work = _Work(batch, Exported(batch, self.shared), stream, chunks)
        self._queue.append(work)
        self._send_waiting()
        return work

    def wait(self, work: _Work, seconds: float) -> bool:
        """Whether the work is done, at the latest after ``seconds``; messages are dealt with.

        Raises:
            WorkerError: a worker died.
            TimeoutError: a worker hangs.
        """
        crew, end = self._start(), time.monotonic() + seconds
        self._send_waiting()
        while True:
            left = 0.0 if work.done else max(0.0, end - time.monotonic())
            found = crew.receive(left)
            for worker, message in found:
                self._heed(worker, message)
            if found:
                self._send_waiting()
            if work.done or time.monotonic() >= end:
                return work.done

    def finish(self, work: _Work) -> tuple[Any, Batch]:
        """The batch that done work gives, and the batch it was without columns; raises what the
        user's function raised."""
        first = self._queue.popleft()
        assert first is work, "batches are finished in order"
        self._send_waiting()
        for chunk in work.chunks:
            if chunk.failure is not None:
                _raise(work, chunk, chunk.failure)
        plain = work.batch.without_columns()
        columns = self._columns(work)
        for slot in work.charged:
            slot.leave_budget()
        return (plain.with_columns(columns) if isinstance(columns, Mapping) else columns), plain

    def drop(self, work: _Work) -> None:
        """Its result is not wanted; what a worker has begun of it is finished unseen."""
        if work in self._queue:
            self._queue.remove(work)

    def close(self) -> None:
        """Ends the processes; batches that were delivered keep their memory."""
        self._stop()
        self.shared = None

    def _stop(self) -> None:
        self._queue.clear()
        self._sent.clear()
        self._load = [0] * self._workers
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    # --- the other way: tasks to workers, their answers -------------------------------------------

    def _start(self) -> Crew:
        if self._crew is not None and not self._crew.running:  # after an error
            self._stop()
        if self._crew is None:
            if self._program is None:
                self._program = make_program(self._functions)
            self._crew = Crew(
                self._workers, self._program, self.shared, self._timeout, self._describe
            )
        return self._crew

    def _send_waiting(self) -> None:
        for work in self._queue:
            if work.places is None and not self._lay_out(work):
                return
            for chunk in work.chunks:
                if chunk.worker is None and not self._send(work, chunk):
                    return
                if chunk.asked and not self._grant(work, chunk):
                    return

    def _take(self, work: _Work, size: int) -> Any:
        """Shared memory for results of ``work``; None: later."""
        if work is not self._queue[0]:
            slot = work.stream.take_shared(size)
            if slot is not None:
                work.charged.append(slot)
            return slot
        slot = self.shared.take(size)
        if slot is None:
            raise LimitError(
                f"take {size:,} bytes for the results of worker processes: their memory of "
                f"{self.shared.size:,} bytes is full; keep fewer batches"
            )
        return slot

    def _lay_out(self, work: _Work) -> bool:
        """Gives the batch's columns their places, as far as the last batch tells them."""
        rows, size = work.chunks[-1].end, 0
        places: dict[str, Placed] = {}
        for name, (kind, row_bytes) in self._kinds.items():
            places[name] = Placed(kind, row_bytes, size)
            size = align(size + rows * row_bytes)
        if size:
            work.slot = self._take(work, size)
            if work.slot is None:
                return False
            for place in places.values():
                place.offset += work.slot.offset
        work.places = places
        return True

    def _send(self, work: _Work, chunk: _Chunk) -> bool:
        assert self._crew is not None
        assert work.places is not None
        size = 0
        if self._room_bytes:
            rows = chunk.end - chunk.begin
            size = int(rows * self._room_bytes * _ROOM_SHARE) + _ROOM_SPARE_BYTES
            chunk.room = self._take(work, size)
            if chunk.room is None:
                return False
        chunk.worker = min(range(self._workers), key=self._load.__getitem__)
        self._load[chunk.worker] += chunk.end - chunk.begin
        self._sent[chunk.number] = (work, chunk)
        self._crew.send(
            chunk.worker,
            {
                "task": chunk.number,
                "batch": work.exported.form,
                "rows": [chunk.begin, chunk.end],
                "seeds": list(self.seeds),
                "places": {n: [p.kind, p.row_bytes, p.offset] for n, p in work.places.items()},
                "room": [chunk.room.offset if chunk.room is not None else 0, size],
            },
        )
        return True

    def _grant(self, work: _Work, chunk: _Chunk) -> bool:
        assert self._crew is not None
        assert chunk.worker is not None
        slot = self._take(work, chunk.asked)
        if slot is None:
            return False
        chunk.room, chunk.asked = slot, 0
        self._crew.send(chunk.worker, {"grant": slot.offset})
        return True

    def _heed(self, worker: int, message: dict[str, Any]) -> None:
        number = message.get("done") or message.get("ask") or message["task"]
        work, chunk = self._sent[number]
        if "ask" in message:
            chunk.asked = message["bytes"]
            if work not in self._queue:  # dropped; the worker waits all the same
                chunk.room = self.shared.take(chunk.asked)
                chunk.asked = 0
                assert self._crew is not None
                self._crew.send(worker, {"grant": chunk.room.offset})
            return
        del self._sent[number]
        self._load[worker] -= chunk.end - chunk.begin
        if "failed" in message:
            chunk.failure = message
            return
        chunk.form = message["form"]
        self._room_bytes = max(self._room_bytes, message["bytes"] / (chunk.end - chunk.begin))

    # --- results ----------------------------------------------------------------------------------

    def _columns(self, work: _Work) -> Any:
        rooms = [None if chunk.room is None else chunk.room.array for chunk in work.chunks]
        forms = [chunk.form or {} for chunk in work.chunks]
        if self._whole:
            return decode(forms[0]["collated"], rooms[0])
        parts = [
            Part(chunk.begin, chunk.end, form, room)
            for chunk, form, room in zip(work.chunks, forms, rooms, strict=True)
        ]
        memory = None if work.slot is None else work.slot.array
        # Places count from the memory's begin, the slot's array from its own.
        own = {
            name: Placed(place.kind, place.row_bytes, place.offset - work.slot.offset)
            for name, place in (work.places or {}).items()
        }
        columns, kinds = unpack(parts, own, memory, work.keys)
        if kinds != self._kinds:
            self._kinds, self._room_bytes = kinds, 0.0
        return columns

    def _describe(self, task: int, row: int) -> str:
        found = self._sent.get(task)
        return "transform" if found is None else _describe(*found, row)


def _describe(work: _Work, chunk: _Chunk, row: int) -> str:
    if chunk.begin <= row < chunk.end:
        return describe_row(work.batch, row)
    return (
        f"collate rows {chunk.begin} to {chunk.end} of the batch at epoch {work.batch.epoch} "
        f"position {work.batch.position}"
    )


def _raise(work: _Work, chunk: _Chunk, failure: dict[str, Any]) -> None:
    """What the user's function raised, as it raised it where that can be brought over."""
    row = chunk.end if failure["row"] is None else failure["row"]
    where = f"{_describe(work, chunk, row)} in worker {chunk.worker}"
    text = f"{where}:\n{failure['failed'].rstrip()}"
    if failure["exception"] is None:
        raise WorkerError(text)
    fault: BaseException = pickle.loads(bytes.fromhex(failure["exception"]))
    if not isinstance(fault, Exception):  # a transform's SystemExit does not end the trainer
        raise WorkerError(text)
    fault.add_note(text)
    raise no_stop_iteration(fault) if isinstance(fault, StopIteration) else fault
