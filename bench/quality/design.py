# SPDX-License-Identifier: Apache-2.0
"""D(m) of rows against the whole data set, and the bound that needs no labels (docs/ordering.md,
"Quality").

For the rows of all ranks this is bench/quality.py's figure. One rank's rows are judged against the
whole data set too, not against that rank's own share: a rank that sees other classes than its
neighbours is not balanced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def design_effect(seen: np.ndarray, classes: np.ndarray, window: int) -> float | None:
    """D over whole windows of `window` rows.

    Args:
        seen: label of each row in order of delivery.
        classes: samples of each class in the whole data set.
        window: rows; None is returned where it is over half of the rows.
    """
    if 2 * window > len(seen):
        return None
    samples, width = int(classes.sum()), len(classes)
    there = classes > 0
    weight = np.zeros(width)
    weight[there] = samples / (window * classes[there])
    effects = []
    for begin in range(0, len(seen) - window + 1, window):
        counts = np.bincount(seen[begin : begin + window], minlength=width).astype(float)
        # sum of (n - e)^2 / e = sum of n^2 / e - w, since the n and the e both add up to w
        effects.append(float(np.dot(counts * counts, weight)) - window)
    true_shuffle = (np.count_nonzero(there) - 1) * (samples - window) / (samples - 1)
    return float(np.mean(effects)) / true_shuffle


def bound(block: float, lanes: int, batch: int, batches: int, rho: float = 1.0) -> float:
    """The safe bound of D(batches) for blocks of `block` samples."""
    x = batches * batch / lanes
    if x <= 1:
        return 1.0
    return 1 + 2 * rho * sum((1 - k / x) * max(0.0, 1 - k / block) for k in range(1, math.ceil(x)))


def size_biased(counts: Sequence[int]) -> float:
    """Mean size of the unit that a sample belongs to."""
    sizes = np.array(counts, float)
    return float(np.sum(sizes**2) / np.sum(sizes))
