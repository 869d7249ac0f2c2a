# SPDX-License-Identifier: Apache-2.0
"""The iterator that ``iter(loader)`` gives."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.loader import Loader

__all__ = ["Pass"]


class Pass(Iterator[Any]):
    """One pass; dropping it half-way stops the work that was done for it."""

    __slots__ = ("__weakref__", "_loader", "_number")

    def __init__(self, loader: Loader, number: int) -> None:
        self._loader = loader
        self._number = number
        weakref.finalize(self, loader._abandoned, number).atexit = False

    def __next__(self) -> Any:
        return self._loader._advance(self._number)
