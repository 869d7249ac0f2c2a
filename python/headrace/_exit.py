# SPDX-License-Identifier: Apache-2.0
"""Stops loaders that are still open when the interpreter exits, before its threads' world is taken
down."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol


class Closable(Protocol):
    def close(self) -> None: ...


_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_at_exit(thing: Closable) -> None:
    if not _open:
        atexit.unregister(_close_all)
        atexit.register(_close_all)
    _open.add(thing)


def _close_all() -> None:
    for thing in list(_open):
        thing.close()
