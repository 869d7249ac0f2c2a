# SPDX-License-Identifier: Apache-2.0
"""What the order is made over: shards, or units where samples are decoded many at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headrace import parquet  # noqa: F401  (gives the core its decoder)

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["by_units", "order_counts", "schema_of"]


def by_units(dataset: Dataset) -> bool:
    """Samples are decoded many at a time (row groups, runs of pages), so that the order deals with
    units (docs/ordering.md, "Unequal units")."""
    return dataset.core.unit_counts() is not None


def schema_of(dataset: Dataset) -> dict[str, str]:
    """The type of each field, as Arrow spells it; empty where samples are not decoded in units."""
    return dict(json.loads(dataset.core.schema_json)) if by_units(dataset) else {}


def order_counts(dataset: Dataset, shuffle: str) -> tuple[npt.NDArray[np.uint64], bool]:
    """Samples that take part of each shard or unit, and whether they are units."""
    units = None if shuffle == "global" else dataset.core.unit_counts()
    if units is None:
        return dataset.counts, False
    part = dataset.selection
    return (units if part is None else part.counts(units)), True
