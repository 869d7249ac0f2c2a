# SPDX-License-Identifier: Apache-2.0
"""Block length and lanes of a loader's order, when the user gave none (docs/ordering.md,
"Defaults")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace import _core
from headrace.options import Faults, format_size
from headrace.units import by_units, order_counts

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["choose_order"]


def choose_order(
    dataset: Dataset,
    *,
    batch: int,
    world_size: int,
    memory: int | float | str | None,
    shuffle: str,
    block: int | None = None,
    lanes: int | None = None,
    pre_shuffled: bool = False,
    fields: Sequence[str] = (),
) -> dict[str, Any]:
    """Block length and lanes for a global batch, what they cost and give, and the reasons.

    ``requests``: range requests of an epoch by all ranks, when each segment is read once.
    ``d1``, ``d4``, ``d32``: safe bounds of D(m), None where the epoch is too short for one.
    """
    faults = Faults("choose block and lanes")
    stated = faults.size("memory", memory)
    faults.raise_any()
    if by_units(dataset) and shuffle != "global":
        return choose_units(
            dataset,
            batch=batch,
            world_size=world_size,
            memory=stated or 0,
            shuffle=shuffle,
            lanes=lanes,
            fields=fields,
        )
    chosen = _core.choose_defaults(
        samples=len(dataset),
        sample_bytes=max(1.0, dataset.core.sample_bytes / max(1, dataset.core.samples)),
        batch=batch,
        world=world_size,
        memory_bytes=stated or 0,
        shuffle=shuffle,
        pre_shuffled=pre_shuffled,
        index_stride=dataset.core.stride,
        block=block or 0,
        lanes=lanes or 0,
    )
    chosen["requests"] = _core.gets_per_epoch(
        dataset.counts, chosen["block"], chosen["lanes"], shuffle
    )
    return chosen


_MEMORY_STATED = 1 << 30  # a rank's, where none is stated: as in docs/ordering.md, "Defaults"
_LANES_MULTIPLE = 840  # 1..8 ranks: each unit then has one reader, but where runs meet
_BLOCK_MAX = 65_536


def choose_units(
    dataset: Dataset,
    *,
    batch: int,
    world_size: int,
    memory: int,
    shuffle: str,
    lanes: int | None,
    fields: Sequence[str],
) -> dict[str, Any]:
    """Lanes for data that are decoded in units, which are held whole: half of the memory for them,
    the rest for units on their way and batches. ``block`` is the mean unit: the order does not use
    it, the bounds of D do."""
    counts, _ = order_counts(dataset, shuffle)
    units = int(np.count_nonzero(counts))
    total, largest = dataset.core.unit_bytes(list(fields))
    mean = max(1, total // max(1, len(counts)))
    room = (memory or _MEMORY_STATED) * world_size // 2
    # Units of very different sizes: the largest ones may meet.
    fit = max(1, room // max(mean, largest // 2))
    step = next((s for s in _steps(world_size) if s <= min(fit, units)), 1)
    chosen = lanes or max(1, min(fit, units) // step * step)
    used = min(chosen, units)
    samples = len(dataset)
    block = min(_BLOCK_MAX, max(1, samples // max(1, units)))
    reasons = [
        f"units of {mean:,} bytes decoded in the mean, {largest:,} at most: {fit:,} of them fit in "
        f"half of {format_size((memory or _MEMORY_STATED) * world_size)}",
    ]
    if used < batch:
        reasons.append(
            f"a batch of {batch} has samples of {used} units only: more memory=, fewer columns, or "
            "files with smaller row groups or a page index make it better"
        )
    if used % world_size:
        reasons.append(f"{used} lanes and {world_size} ranks: units are read by several ranks")
    return {
        "block": block,
        "lanes": chosen,
        "memory_bytes": used * mean,
        "block_bytes": mean,
        "rows": units // used,
        "keep_all": False,
        "sharing": world_size // math.gcd(world_size, used),
        "reasons": reasons,
        "requests": units + used,
        **{
            f"d{m}": _core.design_effect_bound(samples, block, used, batch, m)
            if shuffle != "none"
            else None
            for m in (1, 4, 32)
        },
    }


def _steps(world_size: int) -> list[int]:
    """What lanes should be a multiple of, best first."""
    return [math.lcm(_LANES_MULTIPLE, world_size), world_size]
