# SPDX-License-Identifier: Apache-2.0
"""The first-free deal of decision 002 with random access: which unit, and which sample of its
delivery, stands at a position. Plain Python, to show that a position needs no walk.

Tables are made once an epoch, in O(U log L): for each lane its units and their prefix sums. A
place is found by one division and one binary search; at the level end by two.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class FirstFree:
    """Units dealt in the order `beta`: one to each lane, then each to the lane that comes to its
    end first (of two, to the lower).

    Args:
        sizes: samples of each unit, each at least 1.
        beta: the deal, a permutation of the units.
        lanes: at most the number of units.
        tail: the lane order of the level end, a permutation of the lanes.
    """

    def __init__(
        self, sizes: Sequence[int], beta: Sequence[int], lanes: int, tail: Sequence[int]
    ) -> None:
        total = sum(sizes)
        self.lanes, self.tail = lanes, tail
        self.off = [lane * total // (len(sizes) * lanes) for lane in range(lanes)]
        self.units: list[list[int]] = [[unit] for unit in beta[:lanes]]
        free = [(self.off[j] + sizes[mine[0]], j) for j, mine in enumerate(self.units)]
        heapq.heapify(free)
        for unit in beta[lanes:]:
            when, lane = free[0]
            self.units[lane].append(unit)
            heapq.heapreplace(free, (when + sizes[unit], lane))
        self.ends = [list(accumulate(sizes[unit] for unit in mine)) for mine in self.units]
        self.shortest = min(ends[-1] for ends in self.ends)
        self.main = self.shortest * lanes
        self.left = list(accumulate(ends[-1] - self.shortest for ends in self.ends))

    def _in_lane(self, lane: int, turn: int) -> tuple[int, int]:
        ends = self.ends[lane]
        x = (turn - self.off[lane]) % ends[-1]
        at = bisect_right(ends, x)
        return self.units[lane][at], x - (ends[at - 1] if at else 0)

    def place(self, position: int) -> tuple[int, int]:
        """(unit, ordinal of the sample in the unit's ring)."""
        if position < self.main:
            turn, lane = divmod(position, self.lanes)
            return self._in_lane(lane, turn)
        left = self.left[-1]
        runs = min(self.lanes, left)
        turn, j = divmod(position - self.main, runs)
        whole = turn < left // runs
        run = [u for u in self.tail if u < runs][j] if whole else j
        x = run * (left // runs) + min(run, left % runs) + turn  # on the tape of what is left
        lane = bisect_right(self.left, x)
        return self._in_lane(lane, self.shortest + x - (self.left[lane - 1] if lane else 0))
