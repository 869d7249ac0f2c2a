# SPDX-License-Identifier: Apache-2.0
"""Feed: one run of the core's batch stream, with the user's Python functions applied, in order.

Knows nothing of epochs and passes (that is loader.py): it starts at a position and gives (batch,
position after it) until the stream ends or is closed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace._log import flush_log
from headrace.batch import Batch
from headrace.cursor import Position
from headrace.ragged import Ragged
from headrace.transform import BatchTransformer

if TYPE_CHECKING:
    from headrace.device import Placement
    from headrace.device_movers import Mover

__all__ = ["Feed"]

log = logging.getLogger("headrace")

# The core's wait returns at least this often, so that Ctrl-C and log lines get through.
_WAIT_SECONDS = 0.05


class Feed:
    def __init__(
        self,
        sources: list[dict[str, Any]],
        options: dict[str, Any],
        *,
        transformer: BatchTransformer | None = None,
        batch_transform: Callable[[Any], Any] | None = None,
        device: Placement | None = None,
        sinks: Sequence[Callable[[Batch, Position], None]] = (),
    ) -> None:
        """``sinks`` see each batch, as the core made it, just before it is handed over."""
        self._sinks = sinks
        if transformer is not None and transformer.shared is not None:
            options = {**options, "shared": transformer.shared}
        self._mover = None if device is None else device.mover()
        if self._mover is not None and transformer is None:
            options = {**options, **self._mover.stream_options()}
        self._stream = _core.Stream(sources, options)
        if device is not None:
            device.quiet_threads()
        self._transformer = transformer
        self._batch_transform = batch_transform
        self._moving: deque[tuple[Any, Batch, Position]] = deque()
        self._fault: Exception | None = None
        self._waiting: deque[tuple[Position, Any]] = deque()
        self._ended = False
        self._transform_nanos = 0

    def next(self) -> tuple[Any, Position] | None:
        """The next batch and the state after it; None at the end."""
        mover = self._mover
        if mover is None:
            found = self._next_made(block=True)
            return None if found is None else (self._finish(*found), found[2])
        self._begin_ahead(mover)
        if not self._moving:
            fault, self._fault = self._fault, None
            if fault is not None:
                raise fault
            return None
        moving, made, after = self._moving.popleft()
        return self._finish(mover.end(moving), made, after), after

    def _begin_ahead(self, mover: Mover) -> None:
        """Puts batches on their way to the device; waits only for the one that is asked for."""
        while len(self._moving) < mover.depth and self._fault is None:
            first = not self._moving
            if not first and not mover.ready():
                break
            try:
                found = self._next_made(block=first)
            except Exception as fault:
                if first:
                    raise
                self._fault = fault  # comes behind the batches that are on their way
                break
            if found is None:
                break
            batch, made, after = found
            moving = mover.begin(batch)
            if made.host is not None:
                made = made.without_columns()  # its memory goes when the copy is done
            self._moving.append((moving, made, after))

    def _next_made(self, *, block: bool) -> tuple[Any, Batch, Position] | None:
        """A batch as the user's functions made it, and as the core did; None at the end or, without
        ``block``, when none is ready."""
        if self._transformer is None:
            pulled = self._pull(block=block)
            return None if pulled is None else (pulled[0], *pulled)
        return self._next_transformed(self._transformer, block)

    def _next_transformed(
        self, transformer: BatchTransformer, block: bool
    ) -> tuple[Any, Batch, Position] | None:
        while self._refill(transformer, block):
            after, work = self._waiting[0]
            begin = time.perf_counter_ns()
            try:
                done = transformer.wait(work, _WAIT_SECONDS if block else 0.0)
            finally:
                self._transform_nanos += time.perf_counter_ns() - begin
                flush_log()
            if done:
                self._waiting.popleft()
                return *transformer.finish(work), after
            if not block:
                break
        return None

    def _refill(self, transformer: BatchTransformer, block: bool = True) -> bool:
        """Puts what the core has into the transformer's hands; waits where it has nothing. False:
        the end."""
        while len(self._waiting) < transformer.depth:
            pulled = self._pull(block=block and not self._waiting)
            if pulled is None:
                break
            batch, after = pulled
            self._waiting.append((after, transformer.submit(batch, self._stream)))
        return bool(self._waiting)

    def _pull(self, *, block: bool) -> tuple[Batch, Position] | None:
        """A batch of the core; None when it ended or, without ``block``, when none is ready."""
        while not self._ended:
            try:
                item = self._stream.next(_WAIT_SECONDS if block else 0.0)
            finally:
                flush_log()
            if item is None:
                self._ended = True
            elif item is not False:
                return _make_batch(item)
            elif not block:
                return None
        return None

    def _finish(self, batch: Any, made: Batch, after: Position) -> Any:
        if self._batch_transform is not None:
            batch = self._batch_transform(batch)
        for sink in self._sinks:
            sink(made, after)
        return batch

    def stats(self) -> dict[str, int]:
        counters = self._stream.stats()
        counters["wait_transform_nanos"] = self._transform_nanos
        counters["consumer_nanos"] = max(0, counters["consumer_nanos"] - self._transform_nanos)
        if self._mover is not None:
            counters.update(self._mover.stats())
        return counters

    def close(self) -> None:
        self._ended = True
        while self._moving and self._mover is not None:
            self._mover.drop(self._moving.pop()[0])
        while self._waiting and self._transformer is not None:
            self._transformer.drop(self._waiting.pop()[1])
        self._stream.close()


def _make_batch(item: Mapping[str, Any]) -> tuple[Batch, Position]:
    columns = {
        name: column if not isinstance(column, tuple) else Ragged(*column)
        for name, column in item["columns"]
    }
    batch = Batch(
        columns,
        ids=item["ids"],
        sample_keys=Ragged(*item["keys"]),
        epochs=item["epochs"],
        sources=item["sources"],
        valid=item["valid"],
        epoch=item["epoch"],
        position=item["position"],
        skipped=item["skipped"],
    )
    batch.host = item.get("host")
    for row, number, key, shard, cause in batch.skipped:
        log.warning("skipped sample %d (%s in %s) of row %d: %s", number, key, shard, row, cause)
    return batch, item["after"]
