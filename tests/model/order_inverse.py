# SPDX-License-Identifier: Apache-2.0
"""The inverse of the order: at which position does a sample stand? From docs/ordering.md alone.

Why it exists: ``order.at(position_of(sample)) == sample`` for samples drawn at random shows that an
order of 10^10 samples reaches them, each at one position, without walking through it. It shares the
integers with order_model.py and nothing with the C++ code.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

from order_model import (
    PERMUTATION_TABLE_MAX,
    TAG_BLOCKS,
    TAG_INSIDE,
    TAG_TAIL,
    G,
    key,
    mix64,
    permutation,
    shuffled,
    spread,
)


def spread_inverse(v: int, n: int, k: int) -> int:
    """The i with spread(i, n, k) == v."""

    def down(v: int, n: int, node: int) -> int:
        if n == 1:
            return 0
        h = mix64(k + node * G)
        if n % 2 == 1:
            x = mix64(h) * n >> 64
            if v == x:
                return n - 1
            v -= v > x
            n -= 1
        side = int(v >= n // 2)
        half = down(v - side * (n // 2), n // 2, 2 * node + side)
        return 2 * half + (side ^ (mix64(h + (half + 1) * G) & 1))

    return down(v, n, 1)


@lru_cache(8)
def _places(n: int, k: int) -> dict[int, int]:
    return {v: i for i, v in enumerate(shuffled(n, k))}


def permutation_inverse(v: int, n: int, k: int) -> int:
    """The i with permutation(n, k)(i) == v."""
    if n <= PERMUTATION_TABLE_MAX:
        return _places(n, k)[v]
    h = ((n - 1).bit_length() + 1) // 2
    mask = (1 << h) - 1
    x = v
    while True:
        left, right = x >> h, x & mask
        for i in reversed(range(8)):
            left, right = right ^ (mix64(left ^ mix64(k + (i + 1) * G)) & mask), left
        x = left << h | right
        if x < n:
            return x


def _cut(n: int, runs: int, u: int) -> int:
    return u * (n // runs) + min(u, n % runs)


def _run_at(n: int, runs: int, place: int) -> int:
    """The run of a tape of n places that holds the place."""
    long = n % runs * (n // runs + 1)  # places of the longer runs
    if place < long:
        return place // (n // runs + 1)
    return n % runs + (place - long) // (n // runs)


class Inverse:
    """position_of for one epoch of a data set of equal blocks."""

    def __init__(
        self, counts: list[int], seed: int, epoch: int, block: int, lanes: int, shuffle: str
    ):
        self.seed, self.epoch, self.shuffle = seed, epoch, shuffle
        self.n = sum(counts)
        self.lanes = min(lanes, self.n)
        c = self.c = min(1 if shuffle == "global" else block, self.n // self.lanes)
        self.first = [0, *accumulate(counts)]
        self.full = [0, *accumulate(n // c for n in counts)]  # full blocks before each shard
        self.rest = [0, *accumulate(n % c for n in counts)]  # samples of the rest
        self.f = self.n // c
        self.rows = self.f // self.lanes
        self.main = self.rows * c * self.lanes
        self.tail = self.n - self.main
        self.runs = min(self.lanes, self.tail)
        self.key = key(seed, epoch, TAG_BLOCKS, 0)

    def block_of(self, sample: int) -> tuple[int, int]:
        """Block and offset in it, as stored."""
        shard = bisect_right(self.first, sample) - 1
        row, c = sample - self.first[shard], self.c
        full = self.full[shard + 1] - self.full[shard]
        if row < full * c:
            return self.full[shard] + row // c, row % c
        place = self.rest[shard] + row - full * c
        return self.full[-1] + place // c, place % c

    def turn_of(self, block: int) -> int:
        if block == self.f:  # the short one
            return block
        inverse = spread_inverse if self.shuffle == "stratified" else permutation_inverse
        return inverse(block, self.f, self.key)

    def delivered(self, block: int, place: int, lo: int, hi: int) -> int:
        """When, in the segment [lo, hi) of the ring, its place is delivered."""
        return shuffled(hi - lo, key(self.seed, self.epoch, TAG_INSIDE, block)).index(place - lo)

    def position_of(self, sample: int) -> int:
        if self.shuffle == "none":
            return sample
        block, offset = self.block_of(sample)
        c, turn = self.c, self.turn_of(block)
        if block < self.f:
            rho = mix64(key(self.seed, self.epoch, TAG_INSIDE, block)) * c >> 64
            place = (offset - rho) % c
        else:
            place = offset
        if turn < self.rows * self.lanes:
            return self.main_position(block, turn, place)
        base = (turn - self.rows * self.lanes) * c  # on the tape
        run = _run_at(self.tail, self.runs, base + place)
        begin, end = _cut(self.tail, self.runs, run), _cut(self.tail, self.runs, run + 1)
        size = c if block < self.f else self.n % c
        lo, hi = max(0, begin - base), min(size, end - base)
        r = base + lo + self.delivered(block, place, lo, hi) - begin
        lane = run
        if r < self.tail // self.runs:
            k = key(self.seed, self.epoch, TAG_TAIL, 0)
            lane = permutation_inverse(run, self.runs, k)
        return self.main + r * self.runs + lane

    def main_position(self, block: int, turn: int, place: int) -> int:
        c = self.c
        row, lane = divmod(turn, self.lanes)
        off = lane * c // self.lanes
        lo, hi = 0, c
        if row == self.rows - 1 and off > 0:
            lo, hi = (c - off, c) if place >= c - off else (0, c - off)
        x = row * c + lo + self.delivered(block, place, lo, hi)
        return (x + off) % (self.rows * c) * self.lanes + lane


class UnitInverse:
    """position_of for one epoch of units of unequal length."""

    def __init__(self, counts: list[int], seed: int, epoch: int, lanes: int, shuffle: str):
        self.counts, self.seed, self.epoch, self.shuffle = counts, seed, epoch, shuffle
        self.n, units = sum(counts), len(counts)
        self.lanes = min(lanes, units)
        rows, k = units // self.lanes, key(seed, epoch, TAG_BLOCKS, 0)
        table = permutation(units, k) if shuffle == "block" else None
        beta = [table(i) if table else spread(i, units, k) for i in range(units)]
        dealt = [beta[t * self.lanes + j] for j in range(self.lanes) for t in range(rows)]
        dealt += beta[rows * self.lanes :]
        begins = [0, *accumulate(counts[unit] for unit in dealt)]
        self.base = dict(zip(dealt, begins))
        self.first = [0, *accumulate(counts)]

    def position_of(self, sample: int) -> int:
        if self.shuffle == "none":
            return sample
        unit = bisect_right(self.first, sample) - 1
        size, base = self.counts[unit], self.base[unit]
        k = key(self.seed, self.epoch, TAG_INSIDE, unit)
        place = (sample - self.first[unit] - (mix64(k) * size >> 64)) % size
        run = _run_at(self.n, self.lanes, base + place)
        begin, end = _cut(self.n, self.lanes, run), _cut(self.n, self.lanes, run + 1)
        lo, hi = max(0, begin - base), min(size, end - base)
        i = shuffled(hi - lo, k).index(place - lo)
        return (base + lo + i - begin) * self.lanes + run
