# SPDX-License-Identifier: Apache-2.0
"""How a batch comes to a device: one mover for each kind of memory.

- :class:`TorchMover` (mode A): torch allocates on the consumer's stream, the core copies on its
  own. Users may keep tensors for ever and need no ``record_stream``.
- :class:`DlpackMover` (mode B): memory of the core's own, handed out by DLPack.
- :class:`RingMover` (mode C, device_ring.py): slots at fixed addresses.
- :class:`PlainMover`: what torch does by itself (the CPU, devices that are not CUDA).

A batch is begun (its copy is on the way) before the consumer asks for it and ended when it is
handed over: the consumer's stream then waits for the copy, the host does not.
"""

from __future__ import annotations

import atexit
import importlib
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.batch import Batch, to_torch
from headrace.errors import Error
from headrace.ragged import Ragged

if TYPE_CHECKING:
    from headrace.device import Placement

__all__ = ["DlpackMover", "Mover", "PlainMover", "TorchMover", "make_mover"]

log = logging.getLogger("headrace")

# Page-locked memory for large samples at most; the loader's memory= is what it holds at a time.
_EXTENT_BYTES = 16 << 30
_ALIGNMENT = 256  # of columns in one block; what DLPack asks for


class Mover(Protocol):
    """Brings batches to one device, in order."""

    depth: int  # batches begun before the first is ended

    def stream_options(self) -> dict[str, Any]:
        """What the core's stream is to be told: where its batches lie."""

    def ready(self) -> bool:
        """Whether begin() would not wait."""

    def begin(self, batch: Any) -> Any:
        """Sends a batch on its way; it is not used any more but for which rows it has."""

    def end(self, moving: Any) -> Any:
        """The batch on the device."""

    def drop(self, moving: Any) -> None:
        """A batch that was begun is not wanted: its memory goes when nothing writes to it."""

    def stats(self) -> dict[str, int]: ...


def make_mover(placement: Placement) -> Mover:
    """The mover of a checked placement.

    Raises:
        UnsupportedError: a GPU that torch does not own is not there (see docs/gpu.md).
    """
    if not placement.place.startswith("cuda"):
        return PlainMover(placement.place)
    ordinal = placement.ordinal()
    try:
        cuda = _core.Cuda(ordinal)
    except Error as fault:
        if placement.arrays != "torch" or placement.device.ring is not None:
            raise
        log.warning("%s; batches are copied by torch, from pageable memory", fault)
        return PlainMover(f"cuda:{ordinal}")
    # Before the interpreter is taken down: arrays may be dropped after that, and are safe to be.
    atexit.unregister(_core.stop_cuda)
    atexit.register(_core.stop_cuda)
    if placement.device.ring is not None:
        from headrace.device_ring import RingMover

        return RingMover(cuda, placement)
    if placement.arrays == "torch":
        return TorchMover(cuda, placement)
    return DlpackMover(cuda, placement)


class PlainMover:
    """torch moves the columns when they are handed over."""

    depth = 1

    def __init__(self, place: str) -> None:
        self._place = place

    def stream_options(self) -> dict[str, Any]:
        return {}

    def ready(self) -> bool:
        return True

    def begin(self, batch: Any) -> Any:
        if not isinstance(batch, Batch):
            return batch
        return batch.with_columns(
            {name: to_torch(column, self._place) for name, column in batch.items()}
        )

    def end(self, moving: Any) -> Any:
        return moving

    def drop(self, moving: Any) -> None:
        pass

    def stats(self) -> dict[str, int]:
        return {}


class Moving:
    """A batch on its way: its columns on the device and the copy that fills them."""

    __slots__ = ("batch", "columns", "copy")

    def __init__(self, batch: Batch, columns: dict[str, Any], copy: _core.Copy) -> None:
        self.batch = batch
        self.columns = columns
        self.copy = copy


class CudaMover:
    """What modes A, B and C share: which columns go, and what must live until a copy is done."""

    def __init__(self, cuda: _core.Cuda, placement: Placement) -> None:
        self._cuda = cuda
        self._placement = placement
        self.depth = placement.device.depth
        self._pinned = cuda.pinned(_EXTENT_BYTES if placement.device.direct else 0)
        # Sources that the core does not keep alive itself (a transform's arrays).
        self._landing: deque[tuple[_core.Copy, list[Any]]] = deque()
        self._convert: Callable[[Any], Any] = _unchanged  # to the user's kind of array

    def stream_options(self) -> dict[str, Any]:
        return {"pinned": self._pinned}

    def ready(self) -> bool:
        return True

    def begin(self, batch: Any) -> Any:
        if not isinstance(batch, Batch):
            return batch
        self._forget_landed()
        host = batch.host
        sources: list[Any] = []
        columns = {name: _stage(column, sources, host) for name, column in batch.items()}
        # What stays on the host must not hold a page-locked slot.
        rest = batch.without_columns() if host is not None else batch.with_columns({})
        label = f"epoch {batch.epoch} position {batch.position}"
        copy, arrays = self._send(sources, host, label)
        if host is None:
            self._landing.append((copy, sources))
        filled = {name: _filled(column, arrays) for name, column in columns.items()}
        return Moving(rest, filled, copy)

    def _send(
        self, sources: list[Any], host: _core.HostBatch | None, label: str
    ) -> tuple[_core.Copy, list[Any]]:
        """Starts the copy; the arrays that it fills, one for each source."""
        raise NotImplementedError

    def _submit(
        self,
        sources: list[Any],
        addresses: list[int],
        after: list[int],
        host: _core.HostBatch | None,
        blocks: list[_core.DeviceBlock],
    ) -> _core.Copy:
        parts, loose = [], []
        for source, address in zip(sources, addresses, strict=True):
            if isinstance(source, _LooseSource):
                loose.append((source.column, address))
            else:
                parts.append((source, address))
        return self._cuda.submit(parts, after, host, self._pinned, blocks, loose)

    def end(self, moving: Any) -> Any:
        if not isinstance(moving, Moving):
            return moving
        return moving.batch.with_columns(
            {name: _each(column, self._convert) for name, column in moving.columns.items()}
        )

    def drop(self, moving: Any) -> None:
        if isinstance(moving, Moving):
            with suppress(Error):  # nobody wants it any more
                moving.copy.wait()

    def _forget_landed(self) -> None:
        while self._landing and self._landing[0][0].done:
            self._landing.popleft()

    def stats(self) -> dict[str, int]:
        """Of the device: all loaders on it."""
        counted = self._cuda.stats()
        return {
            "device_bytes": counted["bytes"],
            "device_copies": counted["copies"],
            "device_unpinned_bytes": counted["unpinned_bytes"],
            "device_copy_nanos": counted["nanos"],
            "pinned_bytes": self._pinned.pinned,
        }


class TorchMemory:
    """torch's own allocator and streams on one device. (Tests put host tensors in its place.)"""

    def __init__(self, ordinal: int) -> None:
        import torch

        self._torch = torch
        self._device = torch.device("cuda", ordinal)
        self._dtypes: dict[Any, Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """A tensor whose memory may still be read by what is queued on the current stream."""
        known = self._dtypes.get(dtype)
        if known is None:
            known = self._dtypes[dtype] = self._torch.from_numpy(np.empty(0, dtype)).dtype
        return self._torch.empty(shape, dtype=known, device=self._device)

    def stream(self) -> int:
        """The current stream of the device: its handle."""
        return int(self._torch.cuda.current_stream(self._device).cuda_stream)


class TorchMover(CudaMover):
    """Mode A."""

    def __init__(self, cuda: _core.Cuda, placement: Placement) -> None:
        super().__init__(cuda, placement)
        self._memory = TorchMemory(cuda.ordinal)

    def _send(
        self, sources: list[Any], host: _core.HostBatch | None, label: str
    ) -> tuple[_core.Copy, list[Any]]:
        tensors = [self._memory.empty(source.shape, source.dtype) for source in sources]
        addresses = [tensor.data_ptr() for tensor in tensors]
        return self._submit(sources, addresses, [self._memory.stream()], host, []), tensors

    def end(self, moving: Any) -> Any:
        if isinstance(moving, Moving):
            moving.copy.make_wait(self._memory.stream())
        return super().end(moving)


class DlpackMover(CudaMover):
    """Mode B."""

    def __init__(self, cuda: _core.Cuda, placement: Placement) -> None:
        super().__init__(cuda, placement)
        self._convert = converter(placement.arrays)

    def _send(
        self, sources: list[Any], host: _core.HostBatch | None, label: str
    ) -> tuple[_core.Copy, list[Any]]:
        blocks = [self._cuda.take(source.nbytes) for source in sources]
        copy = self._submit(sources, [block.address for block in blocks], [], host, blocks)
        return copy, [
            block.array(copy, 0, source.shape, str(source.dtype))
            for source, block in zip(sources, blocks, strict=True)
        ]


def _unchanged(array: Any) -> Any:
    return array


_TAKES = {"jax": "jax.dlpack", "cupy": "cupy", "torch": "torch"}


def converter(arrays: str) -> Callable[[Any], Any]:
    """The function that makes a framework's array of a DeviceArray: its from_dlpack."""
    if arrays == "dlpack":
        return _unchanged
    take: Callable[[Any], Any] = importlib.import_module(_TAKES[arrays]).from_dlpack
    return take


class _Source:
    """The place of a column, or of a part of one, among a batch's sources."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class _LooseSource:
    """Rows that lie where they were received; the copy gathers them."""

    __slots__ = ("column", "dtype", "nbytes", "shape")

    def __init__(self, column: _core.LooseColumn) -> None:
        self.column = column
        self.dtype = np.dtype(column.dtype)
        self.nbytes = column.nbytes
        self.shape = column.shape


class _RaggedSource:
    """The same of a Ragged: its shapes stay on the host."""

    __slots__ = ("kind", "offsets", "shapes", "values")

    def __init__(self, values: int, offsets: int, kind: str, shapes: Any) -> None:
        self.values = values
        self.offsets = offsets
        self.kind = kind
        self.shapes = shapes


def _stage(column: Any, sources: list[Any], host: Any) -> Any:
    """A _Source or _RaggedSource in the place of what goes to the device, whose arrays are added to
    ``sources``. Text, JSON and what is no array stay."""
    if isinstance(column, Ragged):
        if column.kind in ("text", "json"):
            if host is None:
                return column
            return Ragged(column.values.copy(), column.offsets.copy(), column.kind)
        shapes = None if column.shapes is None else np.array(column.shapes)
        rows = column.loose_rows if host is not None else None
        if rows is None:
            sources.append(np.ascontiguousarray(column.values))
        else:
            sources.append(_LooseSource(rows))
        sources.append(np.ascontiguousarray(column.offsets))
        return _RaggedSource(len(sources) - 2, len(sources) - 1, column.kind, shapes)
    if type(column).__module__.startswith("torch") and hasattr(column, "numpy"):
        if column.device.type != "cpu":
            return column  # the transform brought it where it wants it
        column = column.numpy()
    if isinstance(column, _core.LooseColumn):
        sources.append(_LooseSource(column))
        return _Source(len(sources) - 1)
    if isinstance(column, np.ndarray):
        if column.dtype.kind not in "biuf":
            return column
        sources.append(np.ascontiguousarray(column))
        return _Source(len(sources) - 1)
    return column


def _filled(column: Any, arrays: list[Any]) -> Any:
    if isinstance(column, _Source):
        return arrays[column.index]
    if isinstance(column, _RaggedSource):
        values, offsets = arrays[column.values], arrays[column.offsets]
        return Ragged(values, offsets, column.kind, column.shapes)
    return column


def _each(column: Any, change: Callable[[Any], Any]) -> Any:
    """``change`` of each array on the device; the rest as it is."""
    if isinstance(column, Ragged):
        if column.kind in ("text", "json"):
            return column
        return Ragged(change(column.values), change(column.offsets), column.kind, column.shapes)
    return column if isinstance(column, np.ndarray) else change(column)
