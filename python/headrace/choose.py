# SPDX-License-Identifier: Apache-2.0
"""Block length and lanes of a loader's order, when the user gave none (docs/ordering.md,
"Defaults")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace.options import Faults

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
) -> dict[str, Any]:
    """Block length and lanes for a global batch, what they cost and give, and the reasons.

    ``requests``: range requests of an epoch by all ranks, when each segment is read once.
    ``d1``, ``d4``, ``d32``: safe bounds of D(m), None where the epoch is too short for one.
    """
    faults = Faults("choose block and lanes")
    stated = faults.size("memory", memory)
    faults.raise_any()
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
