# SPDX-License-Identifier: Apache-2.0
"""The sample order of docs/ordering.md, written for reading: plain integers, no cleverness, slow.

Why it exists: it is the second implementation of the specification. The C++ one (src/plan) is
compared with it over random worlds (tests/golden/*.json, written by make_golden.py), and it was not
derived from the C++ code. It does no I/O. Integers first, then orders, then the batches of a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

M64 = (1 << 64) - 1
G = 0x9E3779B97F4A7C15
(
    TAG_BLOCKS,
    TAG_INSIDE,
    TAG_MIXTURE,
    TAG_SAMPLE,
    TAG_STREAM,
    TAG_SAMPLER,
    TAG_TAIL,
    TAG_MIXTURE_SEED,
) = range(1, 9)
PERMUTATION_TABLE_MAX = 65_536
BLOCK_MAX = 65_536


# ---------------------------------------------------------------- integers


def mix64(x: int) -> int:
    """SplitMix64's finaliser."""
    x &= M64
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & M64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & M64
    return x ^ (x >> 31)


def key(seed: int, epoch: int, tag: int, extra: int) -> int:
    k = mix64(seed + G)
    k = mix64(k + G + epoch)
    k = mix64(k + G + tag)
    return mix64(k + G + extra)


def stream(k: int) -> Iterator[int]:
    t = 0
    while True:
        t += 1
        yield mix64(k + t * G)


def bounded(draws: Iterator[int], m: int) -> int:
    """Uniform in 0..m-1 (Lemire's rejection)."""
    while True:
        product = next(draws) * m
        hi, lo = product >> 64, product & M64
        if not (lo < m and lo < (2**64 - m) % m):
            return hi


def shuffled(n: int, k: int) -> list[int]:
    draws = stream(k)
    a = list(range(n))
    for i in range(n - 1, 0, -1):
        j = bounded(draws, i + 1)
        a[i], a[j] = a[j], a[i]
    return a


def permutation(n: int, k: int) -> Callable[[int], int]:
    """A uniform permutation of 0..n-1 with random access."""
    if n <= PERMUTATION_TABLE_MAX:
        return shuffled(n, k).__getitem__
    h = ((n - 1).bit_length() + 1) // 2
    mask = (1 << h) - 1

    def at(x: int) -> int:
        while True:
            left, right = x >> h, x & mask
            for i in range(8):
                left, right = right, left ^ (mix64(right ^ mix64(k + (i + 1) * G)) & mask)
            x = left << h | right
            if x < n:
                return x

    return at


def spread(i: int, n: int, k: int) -> int:
    """A stratified permutation of 0..n-1: aligned runs of 2^a indices visit 2^a subtrees."""
    node, stack, v = 1, [], 0
    while n > 1:
        h = mix64(k + node * G)
        x = None
        if n % 2 == 1:
            x = mix64(h) * n >> 64
            if i == n - 1:
                v = x
                break
            n -= 1
        side = (i ^ mix64(h + (i // 2 + 1) * G)) % 2
        i //= 2
        n //= 2
        stack.append((side * n, x))
        node = 2 * node + side
    for shift, x in reversed(stack):
        v += shift
        if x is not None and v >= x:
            v += 1
    return v


# ---------------------------------------------------------------- the order


def _run_begin(u: int, n: int, runs: int) -> int:
    return u * (n // runs) + min(u, n % runs)


def _inside(
    seed: int, epoch: int, block: int, ring: int, lo: int, hi: int, i: int, is_ring: bool
) -> int:
    """Offset in the block of the i-th delivered sample of its segment [lo, hi)."""
    k = key(seed, epoch, TAG_INSIDE, block)
    place = lo + shuffled(hi - lo, k)[i]
    if not is_ring:
        return place
    rho = mix64(k) * ring >> 64
    return (place + rho) % ring


@dataclass(frozen=True)
class Place:
    """The i-th sample delivered of the part [lo, hi) of a block's ring."""

    block: int
    lo: int
    hi: int
    i: int


class Order:
    """Blocks of equal length (docs/ordering.md, "The order")."""

    def __init__(
        self,
        counts: list[int],
        seed: int,
        epoch: int,
        block: int,
        lanes: int,
        shuffle: str = "stratified",
    ):
        self.counts, self.seed, self.epoch, self.shuffle = counts, seed & M64, epoch, shuffle
        self.n = sum(counts)
        assert self.n >= 1
        assert 1 <= block <= BLOCK_MAX
        assert lanes >= 1
        if shuffle == "global":
            block = 1
        self.lanes = min(lanes, self.n)
        self.block = min(block, self.n // self.lanes)
        c = self.block
        first, full, rest = 0, [], []
        for count in counts:
            for j in range(count // c):
                full.append(list(range(first + j * c, first + j * c + c)))
            rest += range(first + count - count % c, first + count)
            first += count
        self.blocks = full + [rest[a : a + c] for a in range(0, len(rest), c)]
        self.f = self.n // c
        k = key(self.seed, epoch, TAG_BLOCKS, 0)
        by_lot = permutation(self.f, k) if shuffle in ("block", "global") else None
        self.deal = by_lot or (lambda i: spread(i, self.f, k))
        self.rows = self.f // self.lanes
        self.main = self.rows * c * self.lanes
        # The tail: one entry a sample, as (block, offset in the block's delivery ring).
        tail_blocks = [self.beta(i) for i in range(self.rows * self.lanes, len(self.blocks))]
        self.tape = [(b, o) for b in tail_blocks for o in range(len(self.blocks[b]))]
        assert len(self.tape) == self.n - self.main
        self.runs = min(self.lanes, len(self.tape))
        self.run_of_lane = (
            permutation(self.runs, key(self.seed, epoch, TAG_TAIL, 0)) if self.tape else None
        )

    def size(self) -> int:
        return self.n

    def beta(self, k: int) -> int:
        return self.deal(k) if k < self.f else self.f

    def place(self, p: int) -> Place:
        c, lanes = self.block, self.lanes
        if p < self.main:
            r, j = divmod(p, lanes)
            off = j * c // lanes
            x = (r + self.rows * c - off) % (self.rows * c)
            t, i = divmod(x, c)
            b = self.beta(t * lanes + j)
            if t == self.rows - 1 and off > 0:
                return (
                    Place(b, c - off, c, i - (c - off)) if i >= c - off else Place(b, 0, c - off, i)
                )
            return Place(b, 0, c, i)
        n, runs = len(self.tape), self.runs
        r, j = divmod(p - self.main, runs)
        run = self.run_of_lane(j) if r < n // runs else j
        begin, end = _run_begin(run, n, runs), _run_begin(run + 1, n, runs)
        b, offset = self.tape[begin + r]
        mine = [o for (other, o) in self.tape[begin:end] if other == b]
        return Place(b, mine[0], mine[-1] + 1, offset - mine[0])

    def at(self, p: int) -> int:
        assert 0 <= p < self.n
        if self.shuffle == "none":
            return p
        s = self.place(p)
        samples = self.blocks[s.block]
        return samples[
            _inside(self.seed, self.epoch, s.block, len(samples), s.lo, s.hi, s.i, s.block < self.f)
        ]

    def all(self) -> list[int]:
        return [self.at(p) for p in range(self.n)]


class UnitOrder:
    """Units of unequal length (docs/ordering.md, "Unequal units")."""

    def __init__(
        self, counts: list[int], seed: int, epoch: int, lanes: int, shuffle: str = "stratified"
    ):
        self.counts, self.seed, self.epoch, self.shuffle = counts, seed & M64, epoch, shuffle
        self.n = sum(counts)
        units = len(counts)
        assert self.n >= 1
        assert lanes >= 1
        self.lanes = min(lanes, units)
        rows = units // self.lanes
        k = key(self.seed, epoch, TAG_BLOCKS, 0)
        table = permutation(units, k) if shuffle == "block" else None
        beta = [table(i) if table else spread(i, units, k) for i in range(units)]
        dealt = [beta[t * self.lanes + j] for j in range(self.lanes) for t in range(rows)] + beta[
            rows * self.lanes :
        ]
        self.tape = [(u, o) for u in dealt for o in range(counts[u])]
        self.first = [sum(counts[:u]) for u in range(units)]

    def size(self) -> int:
        return self.n

    def at(self, p: int) -> int:
        assert 0 <= p < self.n
        if self.shuffle == "none":
            return p
        r, run = divmod(p, self.lanes)
        begin, end = _run_begin(run, self.n, self.lanes), _run_begin(run + 1, self.n, self.lanes)
        unit, offset = self.tape[begin + r]
        mine = [o for (other, o) in self.tape[begin:end] if other == unit]
        lo, hi = mine[0], mine[-1] + 1
        return self.first[unit] + _inside(
            self.seed, self.epoch, unit, self.counts[unit], lo, hi, offset - lo, is_ring=True
        )

    def all(self) -> list[int]:
        return [self.at(p) for p in range(self.n)]


# ---------------------------------------------------------------- batches of a rank


@dataclass(frozen=True)
class State:
    epoch: int
    position: int
    drop: int


Row = tuple[int, int, bool]  # epoch, position, valid


def start_of_epoch(n: int, b: int, remainder: str, epoch: int) -> State:
    d = n % b if remainder == "drop" else 0
    return State(epoch, d, d)


def next_batch(
    n: int, b: int, world: int, remainder: str, at: State
) -> tuple[list[list[Row]], State] | None:
    """The rows of every rank's next batch and the state after it; None: the epoch is over."""
    if at.position in (0, at.drop):  # nothing of the epoch was delivered: D is chosen for this b
        at = start_of_epoch(n, b, remainder, at.epoch)
    left = n - at.position
    if remainder == "drop" and left < b:
        return None
    taken = b if remainder in ("drop", "wrap") else min(b, left)
    counts = [at.epoch * n + at.position + i for i in range(taken)]
    ranks: list[list[Row]] = [[] for _ in range(world)]
    for running in counts:
        ranks[running % world].append((running // n, running % n, True))
    if remainder == "pad":
        for rank, rows in enumerate(ranks):
            epoch = range(at.epoch * n + at.drop, (at.epoch + 1) * n)
            own = [r for r in epoch if r % world == rank] or list(epoch)
            missing = b // world - len(rows)
            rows += [(at.epoch, own[i % len(own)] % n, False) for i in range(missing)]
    end = at.epoch * n + at.position + taken
    if remainder == "wrap":
        return ranks, State(end // n, end % n, at.drop if end // n == at.epoch else 0)
    left -= taken
    if left == 0 or (remainder == "drop" and left < b):
        return ranks, start_of_epoch(n, b, remainder, at.epoch + 1)
    return ranks, State(at.epoch, at.position + taken, at.drop)
