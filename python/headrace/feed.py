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
from typing import Any

from headrace import _core
from headrace._log import flush_log
from headrace.batch import Batch, to_torch
from headrace.cursor import Position
from headrace.ragged import Ragged
from headrace.transform import BatchTransformer

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
        device: Any = None,
        sinks: Sequence[Callable[[Batch, Position], None]] = (),
    ) -> None:
        """``sinks`` see each batch, as the core made it, just before it is handed over."""
        self._sinks = sinks
        if transformer is not None and transformer.shared is not None:
            options = {**options, "shared": transformer.shared}
        self._stream = _core.Stream(sources, options)
        self._transformer = transformer
        self._batch_transform = batch_transform
        self._device = device
        self._waiting: deque[tuple[Position, Any]] = deque()
        self._ended = False
        self._transform_nanos = 0

    def next(self) -> tuple[Any, Position] | None:
        """The next batch and the state after it; None at the end."""
        if self._transformer is None:
            pulled = self._pull(block=True)
            if pulled is None:
                return None
            batch, after = pulled
            return self._finish(batch, batch, after), after
        return self._next_transformed(self._transformer)

    def _next_transformed(self, transformer: BatchTransformer) -> tuple[Any, Position] | None:
        while self._refill(transformer):
            after, work = self._waiting[0]
            begin = time.perf_counter_ns()
            try:
                done = transformer.wait(work, _WAIT_SECONDS)
            finally:
                self._transform_nanos += time.perf_counter_ns() - begin
                flush_log()
            if done:
                self._waiting.popleft()
                batch, made = transformer.finish(work)
                return self._finish(batch, made, after), after
        return None

    def _refill(self, transformer: BatchTransformer) -> bool:
        """Puts what the core has into the transformer's hands; waits where it has nothing. False:
        the end."""
        while len(self._waiting) < transformer.depth:
            pulled = self._pull(block=not self._waiting)
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
        if self._device is not None and isinstance(batch, Batch):
            batch = batch.with_columns(
                {name: to_torch(column, self._device) for name, column in batch.items()}
            )
        if self._batch_transform is not None:
            batch = self._batch_transform(batch)
        for sink in self._sinks:
            sink(made, after)
        return batch

    def stats(self) -> dict[str, int]:
        counters = self._stream.stats()
        counters["wait_transform_nanos"] = self._transform_nanos
        counters["consumer_nanos"] = max(0, counters["consumer_nanos"] - self._transform_nanos)
        return counters

    def close(self) -> None:
        self._ended = True
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
    for row, number, key, shard, cause in batch.skipped:
        log.warning("skipped sample %d (%s in %s) of row %d: %s", number, key, shard, row, cause)
    return batch, item["after"]
