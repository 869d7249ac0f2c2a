# SPDX-License-Identifier: Apache-2.0
"""Columns whose rows have different lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from headrace import _core

__all__ = ["Ragged"]

_KINDS = ("bytes", "text", "json", "array")


class Ragged:
    """Rows of different lengths in one array: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    Nothing is copied or decoded until a row is asked for. Large ``bytes`` of a batch lie where they
    were received, each row by itself: :meth:`view` and ``[i]`` take them from there, and the first
    use of ``values`` copies them into one array (which later batches then bring with them).

    Attributes:
        offsets: int64 [B + 1], in elements of ``values``.
        kind: ``"bytes"``, ``"text"`` (UTF-8), ``"json"`` (UTF-8) or ``"array"``.
        shapes: int64 [B, ndim], the shape of each row of an ``"array"``; None for one-dimensional
            rows.
    """

    __slots__ = ("_values", "kind", "offsets", "shapes")

    def __init__(
        self,
        values: npt.NDArray[Any] | _core.LooseColumn,
        offsets: npt.NDArray[np.int64],
        kind: str = "bytes",
        shapes: npt.NDArray[np.int64] | None = None,
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"make Ragged: kind={kind!r} is not one of {', '.join(_KINDS)}")
        if len(offsets) < 1:
            raise ValueError(
                "make Ragged: offsets is empty; it has one more element than there are rows"
            )
        self._values: Any = values
        self.offsets = offsets
        self.kind = kind
        self.shapes = shapes

    @property
    def values(self) -> Any:
        """All rows one after another; uint8 for bytes, text and json, else the rows' element
        type."""
        if isinstance(self._values, _core.LooseColumn):
            self._values = self._values.join()
        return self._values

    @property
    def loose_rows(self) -> _core.LooseColumn | None:
        """The rows where they were received; None when they lie in ``values``."""
        return self._values if isinstance(self._values, _core.LooseColumn) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return Ragged, (self.values, self.offsets, self.kind, self.shapes)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes held: values, offsets and shapes."""
        shapes = 0 if self.shapes is None else int(self.shapes.nbytes)
        return int(self._values.nbytes) + int(self.offsets.nbytes) + shapes

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Elements of each row, int64 [B]."""
        return np.diff(self.offsets)

    def view(self, row: int) -> memoryview:
        """The stored bytes of one row without a copy, writable; it keeps the batch's memory.

        Raises:
            TypeError: rows of arrays; ``[row]`` gives those without a copy.
        """
        index = self._index(row)
        if self.kind == "array":
            raise TypeError("view of a Ragged of arrays: [row] gives an array without a copy")
        if isinstance(self._values, _core.LooseColumn):
            return self._values.view(index)
        part: Any = self._values[self.offsets[index] : self.offsets[index + 1]]
        stored: Any = part if isinstance(part, np.ndarray) else part.cpu().numpy()
        return memoryview(stored)

    def views(self) -> list[memoryview]:
        """Every row, as :meth:`view` gives it."""
        if isinstance(self._values, _core.LooseColumn):
            return self._values.views()
        return [self.view(row) for row in range(len(self))]

    def _index(self, row: int) -> int:
        index = row + len(self) if row < 0 else row
        if not 0 <= index < len(self):
            raise IndexError(f"row {row} of a Ragged with {len(self)} rows")
        return index

    @overload
    def __getitem__(self, row: int) -> Any: ...
    @overload
    def __getitem__(self, row: slice) -> list[Any]: ...
    def __getitem__(self, row: int | slice) -> Any:
        """One row: bytes, str, the parsed JSON value, or an array that shares memory with
        ``values``."""
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        index = self._index(row)
        if isinstance(self._values, _core.LooseColumn):
            return bytes(self._values.view(index))
        part = self.values[self.offsets[index] : self.offsets[index + 1]]
        if self.kind == "array":
            return part if self.shapes is None else part.reshape(tuple(self.shapes[index]))
        stored = (part if isinstance(part, np.ndarray) else part.cpu().numpy()).tobytes()
        if self.kind == "text":
            return stored.decode("utf-8", "surrogateescape")  # names are anybody's bytes
        return json.loads(stored) if self.kind == "json" else stored

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def to_list(self) -> list[Any]:
        """Every row, as ``[i]`` gives it."""
        return list(self)

    @classmethod
    def from_rows(cls, rows: Sequence[Any]) -> Ragged:
        """Packs rows of one type: bytes, str or arrays of one dtype and number of dimensions.

        Raises:
            ValueError: rows of different types, dtypes or numbers of dimensions.
        """
        if all(isinstance(row, bytes | str) for row in rows):
            kind = "text" if rows and isinstance(rows[0], str) else "bytes"
            if any(isinstance(row, str) != (kind == "text") for row in rows):
                raise ValueError("make Ragged: bytes and str in one column")
            stored = [row.encode() if isinstance(row, str) else row for row in rows]
            values = np.frombuffer(b"".join(stored), np.uint8).copy()
            return cls(values, _offsets([len(row) for row in stored]), kind)
        arrays = [np.asarray(row) for row in rows]
        first = arrays[0]
        for array in arrays:
            if array.dtype != first.dtype or array.ndim != first.ndim:
                raise ValueError(
                    f"make Ragged: a row is {array.dtype} with {array.ndim} dimensions, "
                    f"the first is {first.dtype} with {first.ndim}"
                )
        values = np.concatenate([array.reshape(-1) for array in arrays])
        shapes = None if first.ndim == 1 else np.array([a.shape for a in arrays], np.int64)
        return cls(values, _offsets([array.size for array in arrays]), "array", shapes)

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {self.kind}, {self._values.dtype}, {self.nbytes:,} bytes)"


def _offsets(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
