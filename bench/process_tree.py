# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a process and everything below it, sampled from /proc while it runs.

RSS summed over processes counts shared pages once per process; PSS divides them. Both are given,
because loaders with worker processes differ by what they share.
"""

from __future__ import annotations

import threading
from pathlib import Path

_PAGE = 4096
_RSS_SECONDS = 0.05
_PSS_EVERY = 8  # reading smaps_rollup walks page tables: a few ms for 1 GB


def tree(pid: int) -> list[int]:
    """The process and its living descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
        except OSError:
            continue  # it ended between two lines
    return found


def rss_bytes(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            continue
    return total


def pss_bytes(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


class MemoryWatch:
    """Samples until it is left; `rss_peak` and `pss_peak` in bytes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.rss_peak = self.pss_peak = 0

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        turn = 0
        while not self._stop.wait(_RSS_SECONDS):
            pids = tree(self._pid)
            self.rss_peak = max(self.rss_peak, rss_bytes(pids))
            if turn % _PSS_EVERY == 0:
                self.pss_peak = max(self.pss_peak, pss_bytes(pids))
            turn += 1
