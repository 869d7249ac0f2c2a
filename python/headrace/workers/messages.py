# SPDX-License-Identifier: Apache-2.0
"""Messages between a loader's process and its workers: JSON in frames on a Unix socket.

They say where things are and are small; bytes of samples are in shared memory. Nothing is
unpickled here.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

__all__ = ["Frames", "frame"]

_HEAD = struct.Struct("<I")  # bytes of the JSON text that follows
_READ_BYTES = 1 << 16


def frame(message: dict[str, Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    return _HEAD.pack(len(body)) + body


class Frames:
    """Cuts what a socket gives into messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def read(self, *, wait: bool) -> bool:
        """Takes in what is there; with ``wait``, at least a byte. False: the other end is gone."""
        try:
            got = self._connection.recv(_READ_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._buffer += got
        return bool(got)

    def complete(self) -> Iterator[dict[str, Any]]:
        """The messages that have wholly come."""
        while len(self._buffer) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._buffer)
            if len(self._buffer) < _HEAD.size + size:
                return
            message = json.loads(bytes(self._buffer[_HEAD.size : _HEAD.size + size]))
            del self._buffer[: _HEAD.size + size]
            yield message
