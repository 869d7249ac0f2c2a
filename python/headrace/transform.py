# SPDX-License-Identifier: Apache-2.0
"""Python functions on samples: cutting a batch into sample dicts, running them on threads, packing
the results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from headrace.batch import Batch
from headrace.errors import OptionError
from headrace.ragged import Ragged
from headrace.randomness import sample_randomness

__all__ = ["Sample", "Transformer", "collate", "default_threads"]

Sample = dict[str, Any]

# Python functions that hold the GIL gain nothing from more threads, those that do not (numpy,
# Pillow, zlib) stop gaining about here; the core's own workers need the other half of the cores.
_THREADS_MAX = 8


def default_threads() -> int:
    return max(1, min(_THREADS_MAX, len(os.sched_getaffinity(0)) // 2))


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sample dicts to columns, by the values of the first row.

    Arrays and numbers of one shape are stacked, arrays of differing shapes, bytes and str become
    Ragged, torch tensors of one shape are stacked, everything else stays a list.

    Raises:
        OptionError: rows with different keys.
    """
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
        columns[name] = _column(values)
    return columns


def _column(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, bool | int | float | np.generic):
        return np.asarray(values)
    if isinstance(first, bytes | str):
        return Ragged.from_rows(values)
    if isinstance(first, np.ndarray):
        same = all(value.shape == first.shape for value in values)
        return np.stack(values) if same else Ragged.from_rows(values)
    if type(first).__module__.partition(".")[0] == "torch" and hasattr(first, "shape"):
        import torch

        if all(value.shape == first.shape for value in values):
            return torch.stack(values)
    return values


def rows_of(batch: Batch, begin: int, end: int) -> list[Sample]:
    """Rows [begin, end) as dicts; arrays are views into the batch."""
    keys = batch.sample_keys[begin:end]
    columns = {name: column[begin:end] for name, column in batch.items()}
    return [
        {"__key__": keys[i], **{name: column[i] for name, column in columns.items()}}
        for i in range(end - begin)
    ]


class Transformer:
    """Runs ``transform`` over the rows of batches on its own threads."""

    def __init__(
        self,
        transform: Callable[[Sample], Sample],
        collate_rows: Callable[[Sequence[Sample]], Any] | None,
        seeds: Sequence[int],
        threads: int,
    ) -> None:
        self._transform = transform
        self._collate = collate_rows or collate
        self._seeds = seeds  # of each source's order
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headrace-transform")

    def submit(self, batch: Batch) -> list[Future[list[Sample]]]:
        """Starts work on a batch, cut into one run of rows a thread."""
        rows = len(batch.ids)
        step = max(1, -(-rows // self._threads))
        return [
            self._pool.submit(self._run, batch, begin, min(begin + step, rows))
            for begin in range(0, rows, step)
        ]

    def _run(self, batch: Batch, begin: int, end: int) -> list[Sample]:
        done = []
        for i, sample in enumerate(rows_of(batch, begin, end), begin):
            seed = self._seeds[0 if batch.sources is None else int(batch.sources[i])]
            with sample_randomness(seed, int(batch.epochs[i]), int(batch.ids[i])):
                done.append(self._transform(sample))
        return done

    def finish(self, batch: Batch, work: Sequence[Future[list[Sample]]]) -> Any:
        """The batch that the submitted work gives; raises what the user's function raised."""
        rows = [row for part in work for row in part.result()]
        columns = self._collate(rows)
        return batch.with_columns(columns) if isinstance(columns, Mapping) else columns

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
