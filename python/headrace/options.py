# SPDX-License-Identifier: Apache-2.0
"""Checking of options: all faults are reported together, and an unknown name suggests the nearest
known one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from headrace.errors import OptionError

_UNITS = {
    "": 1,
    "b": 1,
    "k": 1 << 10, "kib": 1 << 10, "kb": 1000,
    "m": 1 << 20, "mib": 1 << 20, "mb": 1000**2,
    "g": 1 << 30, "gib": 1 << 30, "gb": 1000**3,
    "t": 1 << 40, "tib": 1 << 40, "tb": 1000**4,
}  # fmt: skip
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")


def parse_size(value: int | float | str) -> int:
    """Bytes from ``"2GiB"``, ``"500 MB"``, ``"64k"`` (binary, as in torch and Slurm) or a plain
    number.

    Raises:
        ValueError: not a size, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a size; write bytes as a number, or a text like '2GiB'")
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError(f"{value!r} is negative; a size is at least 0")
        return int(value)
    match = _SIZE.match(value)
    if match is None or match.group(2).lower() not in _UNITS:
        raise ValueError(f"{value!r} is not a size; write for example '512MiB' or '2GiB'")
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])


def format_size(size: int | float) -> str:
    """``"1.5 GiB"``: for people, never parsed again."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def nearest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


class Faults:
    """Collects what is wrong with a call, so that the user sees everything at once."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._faults: list[str] = []

    def add(self, fault: str) -> None:
        self._faults.append(fault)

    def unknown(self, given: Mapping[str, object], known: Iterable[str]) -> None:
        """One fault for each name in ``given``: none of them is an option."""
        names = list(known)
        for name in given:
            self.add(f"unknown option '{name}'{nearest(name, names)}")

    def size(self, name: str, value: int | float | str | None) -> int | None:
        if value is None:
            return None
        try:
            return parse_size(value)
        except ValueError as fault:
            self.add(f"{name}: {fault}")
            return None

    def count(self, name: str, value: object, *, least: int = 0) -> int | None:
        """A whole number of at least ``least``; None stays None."""
        if value is None:
            return None
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            self.add(f"{name}={value!r} is not a whole number")
            return None
        number = int(value.__index__())
        if number < least:
            self.add(f"{name}={number} is less than {least}")
            return None
        return number

    def choice(self, name: str, value: object, known: Iterable[object]) -> None:
        names = list(known)
        if value not in names:
            shown = ", ".join(repr(item) for item in names)
            hint = (
                nearest(value, [n for n in names if isinstance(n, str)])
                if isinstance(value, str)
                else ""
            )
            self.add(f"{name}={value!r} is not one of {shown}{hint}")

    def raise_any(self) -> None:
        """Raises :class:`OptionError` with every fault that was added; does nothing when there is
        none."""
        if not self._faults:
            return
        if len(self._faults) == 1:
            raise OptionError(f"{self._action}: {self._faults[0]}")
        lines = "".join(f"\n  - {fault}" for fault in self._faults)
        raise OptionError(f"{self._action}: {len(self._faults)} faults:{lines}")
