# SPDX-License-Identifier: Apache-2.0
"""One batch: a mapping from column names to arrays, and beside it which samples these are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.errors import UnsupportedError
from headrace.options import nearest
from headrace.ragged import Ragged

if TYPE_CHECKING:
    import torch

__all__ = ["Batch"]


class Batch(Mapping[str, Any]):
    """Columns by name: numpy arrays [B, ...], or torch tensors when a device was asked for, or
    :class:`Ragged`.

    Iteration, ``len``, ``keys()`` and ``items()`` see the columns only.

    Attributes:
        ids: int64 [B], the samples' numbers in stored order.
        sample_keys: Ragged text of B rows, the samples' keys.
        epochs: int64 [B], the epoch of each row's sample (of a mixture: of its source's).
        sources: of a mixture: int32 [B], which of its sources (in the order they were given) each
            row is from; ``ids`` are numbers in that source. None otherwise.
        valid: bool [B]; False for a row that only fills up (padding, or a bad sample that was
            skipped).
        epoch: the epoch of the first row.
        position: the order position of the first row of the whole (all ranks') batch.
        skipped: (row, sample number, key, shard, cause) of each bad sample that was left out.
    """

    __slots__ = (
        "_columns",
        "epoch",
        "epochs",
        "host",
        "ids",
        "position",
        "sample_keys",
        "skipped",
        "sources",
        "valid",
    )

    def __init__(
        self,
        columns: Mapping[str, Any],
        *,
        ids: npt.NDArray[np.int64],
        sample_keys: Ragged,
        valid: npt.NDArray[np.bool_],
        epoch: int,
        position: int,
        skipped: Sequence[tuple[int, int, str, str, str]] = (),
        epochs: npt.NDArray[np.int64] | None = None,
        sources: npt.NDArray[np.int32] | None = None,
    ) -> None:
        self._columns = dict(columns)
        self.ids = ids
        self.sample_keys = sample_keys
        self.valid = valid
        self.epoch = epoch
        self.position = position
        self.skipped = tuple(skipped)
        self.epochs = np.full(len(ids), epoch, np.int64) if epochs is None else epochs
        self.sources = sources
        self.host: Any = None  # keeps the columns' memory while a GPU copies it

    def __getitem__(self, name: str) -> Any:
        try:
            return self._columns[name]
        except KeyError:
            known = ", ".join(self._columns)
            raise KeyError(
                f"no column {name!r}{nearest(name, self._columns)}; this batch has {known}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns; the number of rows is ``len(batch.ids)``."""
        return len(self._columns)

    def with_columns(self, columns: Mapping[str, Any]) -> Batch:
        """The same rows with other columns."""
        return Batch(
            columns,
            ids=self.ids,
            sample_keys=self.sample_keys,
            valid=self.valid,
            epoch=self.epoch,
            position=self.position,
            skipped=self.skipped,
            epochs=self.epochs,
            sources=self.sources,
        )

    def without_columns(self) -> Batch:
        """Which rows these are, in memory of its own: holds nothing of this batch."""
        keys = self.sample_keys
        return Batch(
            {},
            ids=self.ids.copy(),
            sample_keys=Ragged(keys.values.copy(), keys.offsets.copy(), keys.kind),
            valid=self.valid.copy(),
            epoch=self.epoch,
            position=self.position,
            skipped=self.skipped,
            epochs=self.epochs.copy(),
            sources=None if self.sources is None else self.sources.copy(),
        )

    def to(self, device: str | torch.device, *, non_blocking: bool = True) -> Batch:
        """The batch with torch tensors on ``device``; on the CPU they share memory with the numpy
        arrays.

        Ragged columns of numbers become a Ragged of tensors, text and JSON stay as they are.
        """
        return self.with_columns(
            {name: to_torch(column, device, non_blocking) for name, column in self.items()}
        )

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}: {_describe(column)}" for name, column in self.items())
        return (
            f"Batch({len(self.ids)} rows at epoch {self.epoch} position {self.position}; {columns})"
        )


def to_torch(column: Any, device: str | torch.device, non_blocking: bool = True) -> Any:
    """A column as a tensor on ``device``; what torch cannot hold is returned unchanged."""
    import torch

    if isinstance(column, torch.Tensor):
        return column.to(device, non_blocking=non_blocking)
    if isinstance(column, Ragged):
        if column.kind in ("text", "json"):
            return column
        return Ragged(
            to_torch(column.values, device, non_blocking),
            to_torch(column.offsets, device, non_blocking),
            column.kind,
            column.shapes,
        )
    if isinstance(column, np.ndarray):
        if column.dtype.kind not in "biufc":
            return column
        try:
            return torch.from_numpy(column).to(device, non_blocking=non_blocking)
        except TypeError as fault:
            raise UnsupportedError(
                f"convert a column of dtype {column.dtype} to torch: {fault}; decode another dtype"
            ) from fault
    return column


def _describe(column: Any) -> str:
    if isinstance(column, Ragged):
        return f"ragged {column.kind}"
    if hasattr(column, "dtype") and hasattr(column, "shape"):
        return f"{column.dtype}{list(column.shape)}"
    return type(column).__name__
