# SPDX-License-Identifier: Apache-2.0
"""Python functions on samples: cutting a batch into sample dicts, running them on threads, packing
the results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from headrace.batch import Batch
from headrace.device_threads import quiet_own_thread
from headrace.errors import OptionError
from headrace.ragged import Ragged
from headrace.randomness import sample_randomness

if TYPE_CHECKING:
    from headrace.loader_options import LoaderOptions

__all__ = ["Sample", "Transformer", "collate", "column_of", "default_threads", "make_transformer"]

Sample = dict[str, Any]

# Python functions that hold the GIL gain nothing from more threads, those that do not (numpy,
# Pillow, zlib) stop gaining about here; the core's own workers need the other half of the cores.
_THREADS_MAX = 8


def default_threads() -> int:
    return max(1, min(_THREADS_MAX, len(os.sched_getaffinity(0)) // 2))


def collate(rows: Sequence[Any]) -> Any:
    """Sample dicts to columns, by the values of the first row; tuples to a tuple of columns.

    Arrays and numbers of one shape are stacked, arrays of differing shapes, bytes and str become
    Ragged, torch tensors of one shape are stacked, everything else stays a list.

    Raises:
        OptionError: rows with different keys, or that are neither dicts nor tuples.
    """
    if isinstance(rows[0], tuple):
        return _collate_tuples(rows)
    for row in rows:
        if not isinstance(row, Mapping):
            raise OptionError(
                f"collate: transform gave {type(row).__name__} for a sample; return a dict of "
                "columns (or a tuple of values for every sample), or give collate="
            )
    names = [name for name in rows[0] if not name.startswith("__")]
    columns: dict[str, Any] = {}
    for name in names:
        try:
            values = [row[name] for row in rows]
        except KeyError:
            missing = next(row for row in rows if name not in row)
            raise OptionError(
                f"collate: transform gave no {name!r} for sample {missing.get('__key__', '?')}, "
                f"but for {rows[0].get('__key__', '?')}; return the same names for every sample"
            ) from None
        columns[name] = column_of(values)
    return columns


def _collate_tuples(rows: Sequence[Any]) -> tuple[Any, ...]:
    for row in rows:
        if not isinstance(row, tuple) or len(row) != len(rows[0]):
            size = f" of {len(row)} values" if isinstance(row, tuple) else ""
            raise OptionError(
                f"collate: transform gave a {type(row).__name__}{size} for a sample, but a tuple "
                f"of {len(rows[0])} for the first; return the same for every sample"
            )
    return tuple(column_of(list(values)) for values in zip(*rows, strict=True))


def column_of(values: list[Any]) -> Any:
    """A column out of what the transform gave for each row."""
    first = values[0]
    if isinstance(first, bool | int | float | np.generic):
        return np.asarray(values)
    if isinstance(first, bytes | str):
        return Ragged.from_rows(values)
    if isinstance(first, np.ndarray):
        same = all(value.shape == first.shape for value in values)
        return np.stack(values) if same else Ragged.from_rows(values)
    torch = sys.modules.get("torch")
    tensors = torch is not None and all(isinstance(value, torch.Tensor) for value in values)
    if tensors and all(value.shape == first.shape for value in values):
        return torch.stack(values)  # type: ignore[union-attr]
    return values


def rows_of(batch: Batch, begin: int, end: int) -> Iterator[Sample]:
    """Rows [begin, end) as dicts; arrays are views into the batch.

    One after another: a row's bytes are a copy, which is in the caches when it is used, and whose
    memory serves for the next (74 us a row of 115 KB where 32 of them were made at once).
    """
    columns = [("__key__", batch.sample_keys), *batch.items()]
    for i in range(begin, end):
        yield {name: column[i] for name, column in columns}


class BatchTransformer(Protocol):
    """Batches in, transformed batches out, in order; on threads or in processes."""

    seeds: Sequence[int]  # of each source's order
    depth: int  # batches in hand
    shared: Any  # memory that batches must lie in, or None

    def submit(self, batch: Batch, stream: Any) -> Any:
        """Starts work on a batch of ``stream``."""

    def wait(self, work: Any, seconds: float) -> bool:
        """Whether the work is done, at the latest after ``seconds``."""

    def finish(self, work: Any) -> tuple[Any, Batch]:
        """What done work gives, and the batch it was (its columns may be gone)."""

    def drop(self, work: Any) -> None:
        """Its result is not wanted."""

    def close(self) -> None: ...


def make_transformer(
    options: LoaderOptions, seeds: Sequence[int], made: BatchTransformer | None
) -> BatchTransformer | None:
    """For a loader's next pass: ``made`` is that of its last one."""
    if options.transform is None:
        return None
    if made is not None:
        made.seeds = seeds
        return made
    if not options.workers:
        device = None if options.device is None else options.device.device
        first = quiet_own_thread(device)
        return Transformer(options.transform, options.collate, seeds, default_threads(), first)
    from headrace.workers.transformer import WorkerTransformer

    return WorkerTransformer(
        options.transform, options.collate, seeds, options.workers, options.worker_timeout
    )


class Transformer:
    """Runs ``transform`` over the rows of batches on its own threads."""

    # One batch being finished, one being worked on.
    depth = 2
    shared = None

    def __init__(
        self,
        transform: Callable[[Sample], Any],
        collate_rows: Callable[[Sequence[Any]], Any] | None,
        seeds: Sequence[int],
        threads: int,
        first: Callable[[], None] | None = None,
    ) -> None:
        """``first`` is what each thread calls first."""
        self.seeds = seeds
        self._transform = transform
        self._collate = collate_rows or collate
        self._threads = threads
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="headrace-transform", initializer=first
        )

    def submit(self, batch: Batch, stream: Any = None) -> _Work:
        """Starts work on a batch, cut into one run of rows a thread."""
        rows = len(batch.ids)
        step = max(1, -(-rows // self._threads))
        return batch, [
            self._pool.submit(self._run, batch, begin, min(begin + step, rows), self.seeds)
            for begin in range(0, rows, step)
        ]

    def _run(self, batch: Batch, begin: int, end: int, seeds: Sequence[int]) -> list[Any]:
        done = []
        for i, sample in enumerate(rows_of(batch, begin, end), begin):
            seed = seeds[0 if batch.sources is None else int(batch.sources[i])]
            try:
                with sample_randomness(seed, int(batch.epochs[i]), int(batch.ids[i])):
                    done.append(self._transform(sample))
            except BaseException as fault:
                fault.add_note(describe_row(batch, i))
                raise
        return done

    def wait(self, work: _Work, seconds: float) -> bool:
        return not wait(work[1], seconds).not_done

    def finish(self, work: _Work) -> tuple[Any, Batch]:
        """The batch that the work gives; raises what the user's function raised."""
        batch, parts = work
        try:
            rows = [row for part in parts for row in part.result()]
            columns = self._collate(rows)
        except StopIteration as fault:
            raise no_stop_iteration(fault) from fault
        return (batch.with_columns(columns) if isinstance(columns, Mapping) else columns), batch

    def drop(self, work: _Work) -> None:
        for part in work[1]:
            part.cancel()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


_Work = tuple[Batch, list[Future[list[Any]]]]


def describe_row(batch: Batch, row: int) -> str:
    """Which sample a transform was given, for errors."""
    return (
        f"transform sample {batch.sample_keys[row]!r} (number {int(batch.ids[row])}, row {row} of "
        f"the batch at epoch {batch.epoch} position {batch.position})"
    )


def no_stop_iteration(fault: StopIteration) -> RuntimeError:
    """A StopIteration out of a transform would end the trainer's loop as if all was well."""
    made = RuntimeError(f"transform raised StopIteration({fault})")
    for note in getattr(fault, "__notes__", ()):
        made.add_note(note)
    return made
