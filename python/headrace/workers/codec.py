# SPDX-License-Identifier: Apache-2.0
"""Any Python value as a *form*, JSON that says what it is and where its bytes lie, and back.

Arrays, tensors, bytes and text lie in memory that both processes map; dicts, lists, tuples, numbers
and None are in the form itself. What Python has besides (dataclasses, sets, images) is pickled into
the memory, its arrays apart: those processes run the same program and trust each other.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from headrace.ragged import Ragged
from headrace.workers.shared import align, view

__all__ = ["Room", "decode", "encode", "is_tensor", "tensor_bytes", "tensor_over"]

# Longer text goes through memory: messages stay small.
_INLINE_CHARACTERS = 256
# Whole numbers that every JSON reader would keep are not the limit here, Python's are exact; but a
# number of thousands of digits does not belong in a message.
_INLINE_BITS = 1024


class Room:
    """Lays out what is to be written, then writes it to one piece of memory."""

    def __init__(self) -> None:
        self.bytes = 0
        self._writes: list[tuple[int, Callable[[Any, int], None]]] = []

    def add(self, size: int, write: Callable[[Any, int], None]) -> int:
        """Where the next ``size`` bytes will be, from the room's begin; ``write`` is called with
        the memory and their offset in it."""
        offset = align(self.bytes)
        self.bytes = offset + size
        if size:
            self._writes.append((offset, write))
        return offset

    def write(self, memory: Any, begin: int) -> None:
        for offset, write in self._writes:
            write(memory, begin + offset)


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def tensor_bytes(tensor: Any) -> Any:
    """A CPU tensor's elements as a uint8 array.

    Raises:
        TypeError: a tensor that is elsewhere, or has no elements in memory.
    """
    import torch

    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        raise TypeError(
            f"a worker process cannot hand over a {tensor.layout} tensor of {tensor.dtype} on "
            f"{tensor.device}: return a dense CPU tensor; device= of the loader moves it"
        )
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous().as_subclass(torch.Tensor)
    return plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)


def tensor_over(array: Any, dtype: str, shape: list[int]) -> Any:
    """The tensor of a torch dtype's name over a uint8 array."""
    import torch

    kind = getattr(torch, dtype)
    if not array.size:
        return torch.empty(shape, dtype=kind)
    return torch.from_numpy(array).view(kind).reshape(shape)


def _array(array: Any, room: Room) -> list[Any]:
    def write(memory: Any, offset: int) -> None:
        view(memory, [array.dtype.str, array.shape, offset])[...] = array

    return [array.dtype.str, list(array.shape), room.add(array.nbytes, write)]


def _bytes(stored: bytes | bytearray | memoryview, room: Room) -> list[int]:
    def write(memory: Any, offset: int) -> None:
        view(memory, ["|u1", [len(stored)], offset])[...] = np.frombuffer(stored, np.uint8)

    return [room.add(len(stored), write), len(stored)]


def encode(value: Any, room: Room) -> list[Any]:
    """The form of ``value``; what it needs of memory is added to ``room``."""
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return ["=", value]
    if kind is int and value.bit_length() <= _INLINE_BITS:
        return ["=", value]
    if kind is str:
        return _text(value, room)
    if kind is bytes:
        return ["bytes", *_bytes(value, room)]
    if kind is np.ndarray and not value.dtype.hasobject and value.dtype.names is None:
        return ["array", _array(value, room)]
    if isinstance(value, np.generic) and not value.dtype.hasobject and value.dtype.names is None:
        return ["scalar", _array(np.asarray(value), room)]
    if kind is dict:
        return ["dict", [[encode(k, room), encode(v, room)] for k, v in value.items()]]
    if kind is list or kind is tuple:
        return [kind.__name__, [encode(item, room) for item in value]]
    if kind is Ragged:
        parts = (value.values, value.offsets, value.shapes)
        return ["ragged", value.kind, [encode(part, room) for part in parts]]
    if is_tensor(value):
        stored = _array(tensor_bytes(value), room)
        return ["tensor", str(value.dtype).removeprefix("torch."), list(value.shape), stored]
    return _pickled(value, room)


def _text(value: str, room: Room) -> list[Any]:
    if len(value) <= _INLINE_CHARACTERS:
        return ["=", value]
    return ["text", *_bytes(value.encode("utf-8", "surrogatepass"), room)]


def _pickled(value: Any, room: Room) -> list[Any]:
    apart: list[pickle.PickleBuffer] = []
    stored = pickle.dumps(value, protocol=5, buffer_callback=apart.append)
    return ["pickle", _bytes(stored, room), [_bytes(buffer.raw(), room) for buffer in apart]]


def decode(form: list[Any], memory: Any, begin: int = 0) -> Any:
    """The value of a form; arrays are views of ``memory``, where the room begins at ``begin``."""
    kind, *rest = form
    if kind == "=":
        return rest[0]
    if kind in ("list", "tuple"):
        items = [decode(item, memory, begin) for item in rest[0]]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {decode(k, memory, begin): decode(v, memory, begin) for k, v in rest[0]}
    if kind == "ragged":
        values, offsets, shapes = (decode(part, memory, begin) for part in rest[1])
        return Ragged(values, offsets, rest[0], shapes)

    def array(given: list[Any]) -> Any:
        return view(memory, [given[0], given[1], begin + given[2]])

    def stored(given: list[int]) -> Any:
        return view(memory, ["|u1", [given[1]], begin + given[0]])

    if kind == "array":
        return array(rest[0])
    if kind == "scalar":
        return array(rest[0])[()]
    if kind == "tensor":
        return tensor_over(array(rest[2]), rest[0], rest[1])
    if kind == "bytes":
        return stored(rest).tobytes()
    if kind == "text":
        return stored(rest).tobytes().decode("utf-8", "surrogatepass")
    assert kind == "pickle", kind
    return pickle.loads(stored(rest[0]).tobytes(), buffers=[stored(part) for part in rest[1]])
