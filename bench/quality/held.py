# SPDX-License-Identifier: Apache-2.0
"""What an order has to hold: arithmetic over the order itself, not a measurement of a process.

Bytes in flight and what a library holds beyond that (prefetched batches, caches) come on top.
"""

from __future__ import annotations

import numpy as np


def blocks_of_samples(counts: list[int], block: int) -> np.ndarray:
    """The block of each sample: full blocks of each shard, then the shards' rests one after another
    (docs/ordering.md, "Blocks")."""
    sizes = np.array(counts)
    shard = np.repeat(np.arange(len(sizes)), sizes)
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    full = sizes // block
    found = (np.cumsum(full) - full)[shard] + inside // block
    rest = inside >= (full * block)[shard]
    found[rest] = full.sum() + np.arange(np.count_nonzero(rest)) // block
    return found


def _times(
    order: np.ndarray, unit_of: np.ndarray, wraps: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each unit, or (where lanes wrap) each part that is used at one end of the epoch: when it
    is first and last used, and how many of its samples are."""
    units = unit_of[order].astype(np.int64)
    now = np.arange(len(order))
    first = np.full(int(unit_of.max()) + 1, len(order))
    np.minimum.at(first, units, now)
    part = units * 2 + (wraps & (now - first[units] > len(order) // 2))
    _, begin, number, count = np.unique(
        part, return_index=True, return_inverse=True, return_counts=True
    )
    end = np.zeros(len(begin), np.int64)
    np.maximum.at(end, number, now)
    return begin, end, count


def peak_by_sample(order: np.ndarray, unit_of: np.ndarray, wraps: bool = False) -> int:
    """Most samples held at once: a unit comes whole at its first use, each sample goes when it is
    delivered. `wraps`: a block may be read twice, one part at the epoch's start, one at its end."""
    begin, _, count = _times(order, unit_of, wraps)
    come = np.bincount(begin, weights=count, minlength=len(order))
    return int((np.cumsum(come) - np.arange(len(order))).max())


def peak_by_unit(order: np.ndarray, unit_of: np.ndarray, wraps: bool = False) -> int:
    """Most samples held at once where a unit can only be dropped whole, after its last use."""
    begin, end, count = _times(order, unit_of, wraps)
    change = np.bincount(begin, weights=count, minlength=len(order) + 1)
    change -= np.bincount(end + 1, weights=count, minlength=len(order) + 1)
    return int(np.cumsum(change).max())
