# SPDX-License-Identifier: Apache-2.0
"""Arrays in shared memory by their offset: what a message can say of them, and views of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.batch import Batch
from headrace.errors import LimitError
from headrace.ragged import Ragged

__all__ = ["ALIGNMENT", "Exported", "align", "import_batch", "view"]

ALIGNMENT = 64  # a cache line, and what SIMD code likes; as in the core's slots

Form = list[Any]  # [dtype, shape, offset]


def align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def view(memory: Any, form: Form) -> npt.NDArray[Any]:
    """The array of ``form`` in ``memory``, anything with a buffer; shares its bytes."""
    dtype, shape, offset = form
    return np.ndarray(tuple(shape), np.dtype(dtype), buffer=memory, offset=offset)


class Exported:
    """A batch of the core as workers find it: ``form`` for messages, and what keeps it there."""

    def __init__(self, batch: Batch, shared: _core.SharedMemory) -> None:
        self._shared = shared
        self._held: list[Any] = [batch]
        self.form: dict[str, Any] = {
            "columns": [[name, self._column(column)] for name, column in batch.items()],
            "ids": self._array(batch.ids),
            "keys": self._column(batch.sample_keys),
            "epochs": self._array(batch.epochs),
            "sources": None if batch.sources is None else self._array(batch.sources),
            "valid": self._array(batch.valid),
            "epoch": batch.epoch,
            "position": batch.position,
        }

    def _array(self, array: npt.NDArray[Any]) -> Form:
        offset = 0
        if array.nbytes:
            address = array.__array_interface__["data"][0]
            offset = address - self._shared.address
            inside = 0 <= offset <= self._shared.size - array.nbytes
            if not inside or not array.flags.c_contiguous:
                offset = self._copy(array)
        return [array.dtype.str, list(array.shape), offset]

    def _copy(self, array: npt.NDArray[Any]) -> int:
        """Of what did not come from a core's slot."""
        slot = self._shared.take(array.nbytes)
        if slot is None:
            raise LimitError(
                f"hand a column of {array.nbytes:,} bytes to worker processes: their memory of "
                f"{self._shared.size:,} bytes is full; keep fewer batches"
            )
        self._held.append(slot)
        memory = slot.array
        np.ndarray(array.shape, array.dtype, buffer=memory)[...] = array
        return int(memory.__array_interface__["data"][0]) - self._shared.address

    def _column(self, column: Any) -> list[Any]:
        if not isinstance(column, Ragged):
            return ["array", self._array(column)]
        shapes = None if column.shapes is None else self._array(column.shapes)
        return [column.kind, self._array(column.values), self._array(column.offsets), shapes]


def import_batch(memory: Any, form: dict[str, Any]) -> Batch:
    """In a worker: the batch of an :class:`Exported`'s form, as views."""

    def column(given: list[Any]) -> Any:
        kind, values, *rest = given
        if kind == "array" and not rest:
            return view(memory, values)
        offsets, shapes = rest
        return Ragged(
            view(memory, values),
            view(memory, offsets),
            kind,
            None if shapes is None else view(memory, shapes),
        )

    return Batch(
        {name: column(given) for name, given in form["columns"]},
        ids=view(memory, form["ids"]),
        sample_keys=column(form["keys"]),
        epochs=view(memory, form["epochs"]),
        sources=None if form["sources"] is None else view(memory, form["sources"]),
        valid=view(memory, form["valid"]),
        epoch=form["epoch"],
        position=form["position"],
    )
