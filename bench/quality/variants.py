# SPDX-License-Identifier: Apache-2.0
"""Orders that headrace does not have: variations of version 1, one at a time, in numpy.

For docs/decisions/002-order-version-2.md. They are built for whole epochs and from numpy's lots, so
they say what an order would be worth, not how it would be computed at one position; that stands in
the note. A store here is one run of N = F * c samples. `version_1` is the plain case: its figures
must be those of hr.Order (test_variants.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Literal

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
Tail = Literal["permuted runs", "spread runs", "whole blocks", "840ths", "last row"]


def mix64(x: np.ndarray) -> np.ndarray:
    x = x ^ (x >> np.uint64(30))
    x = x * np.uint64(0xBF58476D1CE4E5B9)
    x = x ^ (x >> np.uint64(27))
    x = x * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def spread(n: int, key: int) -> np.ndarray:
    """docs/ordering.md's stratified permutation of 0..n-1, all of it."""
    one = np.uint64(1)
    with np.errstate(over="ignore"):
        index, node = np.arange(n, dtype=np.uint64), np.ones(n, np.uint64)
        last = np.full(n, -1, np.int64)  # the element of a draw that left the tree early
        alive = np.ones(n, bool)
        steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        while n > 1:
            hashed = mix64(np.uint64(key) + node * GOLDEN)
            taken = np.full(len(index), n, np.int64)  # nothing is as large as n
            if n % 2:
                high = mix64(hashed) >> np.uint64(32)  # uniform enough for a simulation
                taken = ((high * np.uint64(n)) >> np.uint64(32)).astype(np.int64)
                ends = alive & (index == np.uint64(n - 1))
                last[ends] = taken[ends]
                alive &= ~ends
                n -= 1
            side = (index ^ mix64(hashed + (index // np.uint64(2) + one) * GOLDEN)) & one
            index, n = index // np.uint64(2), n // 2
            steps.append((side.astype(np.int64) * n, taken, alive.copy()))
            node = np.uint64(2) * node + side
    value = np.where(last >= 0, last, 0)
    for shift, taken, still in reversed(steps):
        moved = value + shift
        value = np.where(still, moved + (moved >= taken), value)
    return value


def rows_of(dealt: np.ndarray, c: int) -> np.ndarray:
    """Positions [T * c, L] of blocks dealt as [T, L], lanes staggered: block * c + place in it."""
    rows, lanes = dealt.shape
    off = np.arange(lanes) * c // lanes
    x = (np.arange(rows * c)[:, None] + rows * c - off) % (rows * c)
    return dealt[x // c, np.arange(lanes)] * c + x % c


def tail_runs(blocks: int, c: int, lanes: int, how: Tail) -> int:
    """How many runs the tail is cut into."""
    if how in ("whole blocks", "last row"):
        return blocks
    if how == "840ths":  # as near to whole blocks as every rank count up to 8 can own alone
        return max(r for r in range(1, blocks + 1) if r % 840 == 0 or 840 % r == 0)
    return min(lanes, blocks * c)


def tail_of(blocks: np.ndarray, c: int, lanes: int, how: Tail, lot: np.random.Generator):
    """The blocks that no row of L holds, as (block * c + place) in order of delivery."""
    tape = (blocks[:, None] * c + np.arange(c)).ravel()
    if len(tape) == 0:
        return tape
    if how == "last row":  # as the main part, with k lanes and one row
        return rows_of(blocks[None, :], c).ravel()
    runs = tail_runs(len(blocks), c, lanes, how)
    begins = np.array([u * (len(tape) // runs) + min(u, len(tape) % runs) for u in range(runs)])
    by_lane = (
        spread(runs, int(lot.integers(2**63))) if how == "spread runs" else lot.permutation(runs)
    )
    rounds = len(tape) // runs
    full = tape[begins[by_lane] + np.arange(rounds)[:, None]].ravel()
    longer = np.arange(len(tape) % runs)
    return np.concatenate([full, tape[begins[longer] + rounds]])


def order(
    samples: int,
    c: int,
    lanes: int,
    seed: int,
    *,
    deal: Literal["spread", "random"] = "spread",
    mix: Literal["", "rows", "lanes", "eighths"] = "",
    tail: Tail = "permuted runs",
    turn: int = 0,
) -> tuple[np.ndarray, int]:
    """Sample numbers of an epoch, and how many of them are the tail.

    Args:
        mix: which lane gets which block of a row: by lot, anew for each row or once for all; or
            "eighths": in every 840 lanes those of a rank of 8 get neighbours of the deal.
        turn: the grid of blocks begins at this sample; the store is a ring.
    """
    lot = np.random.default_rng([seed, 23])
    blocks = samples // c
    rows = blocks // lanes
    key = int(lot.integers(2**63))
    beta = spread(blocks, key) if deal == "spread" else lot.permutation(blocks)
    dealt = beta[: rows * lanes].reshape(rows, lanes)
    if mix == "rows":
        dealt = lot.permuted(dealt, axis=1)
    if mix == "lanes":
        dealt = dealt[:, lot.permutation(lanes)]
    if mix == "eighths":
        lane = np.arange(lanes)
        dealt = dealt[:, lane // 840 * 840 + lane % 8 * 105 + lane % 840 // 8]
    main = rows_of(dealt, c).ravel()
    end = tail_of(beta[rows * lanes :], c, lanes, tail, lot)
    inside = np.argsort(lot.random((blocks, c)), axis=1).astype(np.int32)
    places = np.concatenate([main, end])
    ids = places // c * c + inside[places // c, places % c]
    return (ids + turn) % (blocks * c), len(end)


def halves(samples: int, half: int, lanes: int, delay: int, seed: int) -> np.ndarray:
    """Two-level blocks: one of 2 * half samples is read at once, its second half is delivered by
    another lane, `delay` rows after the first half has ended."""
    lot = np.random.default_rng([seed, 31])
    pairs = lanes // 2
    blocks = samples // (2 * half)
    rows = blocks // pairs
    dealt = spread(blocks, int(lot.integers(2**63)))[: rows * pairs].reshape(rows, pairs)
    both = np.empty((rows, lanes), np.int64)
    both[:, ::2] = 2 * dealt
    both[:, 1::2] = 2 * np.roll(dealt, 1 + delay, axis=0) + 1
    inside = np.argsort(lot.random((blocks, 2 * half)), axis=1)
    places = rows_of(both, half).ravel()
    return places // (2 * half) * (2 * half) + inside[places // (2 * half), places % (2 * half)]


Deal = Callable[[np.ndarray, np.ndarray, int], list[list[int]]]


def lanes_as_dealt(beta: np.ndarray, sizes: np.ndarray, lanes: int) -> list[list[int]]:
    """Unit t * L + j to lane j."""
    return [list(beta[j::lanes]) for j in range(lanes)]


def balanced(group: int) -> Deal:
    """In each row, and among each `group` neighbouring lanes, the largest unit goes to the lane
    that is shortest so far."""

    def deal(beta: np.ndarray, sizes: np.ndarray, lanes: int) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(lanes)]
        length = np.zeros(lanes, np.int64)
        for row_begin in range(0, len(beta), lanes):
            row = beta[row_begin : row_begin + lanes]
            for begin in range(0, len(row), group):
                units = row[begin : begin + group]
                units = units[np.argsort(-sizes[units], kind="stable")]
                shortest = begin + np.argsort(length[begin : begin + len(units)], kind="stable")
                for lane, unit in zip(shortest, units, strict=True):
                    found[lane].append(int(unit))
                length[shortest] += sizes[units]
        return found

    return deal


def first_free(beta: np.ndarray, sizes: np.ndarray, lanes: int) -> list[list[int]]:
    """Units in the order of the deal, one to each lane and then each to the lane that comes to its
    end first; lanes begin one after another over a mean unit, as units_by_lane staggers them."""
    found: list[list[int]] = [[int(unit)] for unit in beta[:lanes]]
    free = [
        (int(lane * sizes.mean() / lanes) + int(sizes[unit]), lane)
        for lane, unit in enumerate(beta[:lanes])
    ]
    heapq.heapify(free)
    for unit in beta[lanes:]:
        when, lane = free[0]
        found[lane].append(int(unit))
        heapq.heapreplace(free, (when + int(sizes[unit]), lane))
    return found


def units_by_lane(
    sizes: np.ndarray, lanes: int, seed: int, deal: Deal, *, level: bool = False
) -> np.ndarray:
    """Units of unequal size, whole in their lanes; lanes end when they are empty.

    Args:
        level: all lanes end with the shortest; what is left is one tape, cut into equal runs.
    """
    lot = np.random.default_rng([seed, 29])
    beta = spread(len(sizes), int(lot.integers(2**63)))
    first = np.cumsum(sizes) - sizes
    tapes = []
    for lane, units in enumerate(deal(beta, sizes, lanes)):
        mine = np.concatenate([first[u] + lot.permutation(int(sizes[u])) for u in units])
        tapes.append(np.roll(mine, int(lane * sizes.mean() / lanes)))
    shortest = min(map(len, tapes))
    if level:
        left = np.concatenate([tape[shortest:] for tape in tapes])
        runs = [left[run] for run in np.array_split(np.arange(len(left)), lanes)]
        tapes = [tape[:shortest] for tape in tapes]
        return np.concatenate([in_turn(tapes), in_turn([runs[i] for i in lot.permutation(lanes)])])
    return in_turn(tapes)


def in_turn(tapes: list[np.ndarray]) -> np.ndarray:
    """One of each tape in turn, until all are empty."""
    lane_of = np.repeat(np.arange(len(tapes)), [len(tape) for tape in tapes])
    round_of = np.concatenate([np.arange(len(tape)) for tape in tapes])
    return np.concatenate(tapes)[np.lexsort((lane_of, round_of))]


def _pairs(cells: np.ndarray) -> float:
    counts = np.unique(cells, return_counts=True)[1].astype(float)
    return float(np.sum(counts * (counts - 1))) / 2


def met_again(one: np.ndarray, other: np.ndarray, window: int, samples: int) -> float:
    """Pairs that share a window in both epochs, against chance."""
    place = [np.full(samples, -1, np.int64) for _ in range(2)]
    for where, ids in zip(place, (one, other), strict=True):
        whole = ids[: len(ids) // window * window]
        where[whole] = np.arange(len(whole)) // window
    both = (place[0] >= 0) & (place[1] >= 0)
    first, second = place[0][both], place[1][both]
    chance = _pairs(first) * _pairs(second) / (len(first) * (len(first) - 1) / 2)
    return _pairs(first * (second.max() + 1) + second) / chance


def same_label_pairs(labels: np.ndarray, batch: int) -> float:
    """Pairs of one label in a batch, mean."""
    whole = labels[: len(labels) // batch * batch].astype(np.int64).reshape(-1, batch)
    key = whole + np.arange(len(whole))[:, None] * (int(labels.max()) + 1)
    return _pairs(key) / len(whole)
