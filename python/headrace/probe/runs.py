# SPDX-License-Identifier: Apache-2.0
"""A run of range reads as the core's measuring client answers it, and what may be spent on runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["CUT", "FAILED", "OK", "THROTTLED", "Budget", "Floats", "Run"]

# How a read ended, as the core numbers it (0: it was not sent).
OK, THROTTLED, FAILED, CUT = 1, 2, 3, 4

Floats = npt.NDArray[np.float64]


@dataclass
class Budget:
    """Time and bytes that may be spent; what a step asks for is cut to what is left."""

    seconds: float
    nbytes: int
    gets_max: int = 1_000_000
    clock: Callable[[], float] = time.monotonic
    begun: float = field(init=False)
    bytes_left: int = field(init=False)
    gets: int = 0
    cut: list[str] = field(default_factory=list)  # steps that were cut short, in words

    def __post_init__(self) -> None:
        self.begun, self.bytes_left = self.clock(), self.nbytes

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.begun + self.seconds - self.clock())

    @property
    def bytes_spent(self) -> int:
        return self.nbytes - self.bytes_left


@dataclass(frozen=True)
class Run:
    """Answers of a run, in the order in which the reads were sent; seconds from its start."""

    in_flight: int
    sent: Floats
    done: Floats
    first_byte: Floats
    nbytes: Floats
    end: npt.NDArray[np.uint8]
    begin: npt.NDArray[np.uint64]
    failure: str
    send_seconds: float

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.end == OK)

    def settled(self) -> npt.NDArray[np.bool_]:
        """Whole, and not the first on a connection: those also wait for it to open."""
        return self.whole & (np.arange(len(self.end)) >= self.in_flight)

    def weight(self) -> tuple[int, int]:
        """How much can be read off it."""
        return int(self.settled().sum()), int(self.whole.sum())

    def share(self, end: int) -> float:
        answered = int(np.isin(self.end, (OK, THROTTLED, FAILED)).sum())
        return float((self.end == end).sum()) / answered if answered else 0.0

    def rates(self) -> tuple[float, float]:
        """(MB/s, GET/s) while all places were busy: from when each has had an answer to the last
        answer before sending ended."""
        last = self.send_seconds if (self.end == 0).any() else float(self.sent.max(initial=0.0))
        done = np.sort(self.done[self.whole & (self.done <= last)])
        if len(done) < self.in_flight + 2:
            done = np.sort(self.done[self.whole])  # too short a run: all of it
        skip = min(self.in_flight, max(1, len(done) // 2))
        if len(done) < skip + 1 or done[-1] <= done[skip - 1]:
            return 0.0, 0.0
        rate = (len(done) - skip) / float(done[-1] - done[skip - 1])
        return rate * float(self.nbytes[self.whole].mean()) / 1e6, rate
