# SPDX-License-Identifier: Apache-2.0
"""What was delivered: every sample once, and how well it was shuffled.

The design effect D(m) over windows of w = m * batch rows: sum over classes of
(n_k - w q_k)^2 / (w q_k), averaged over windows, divided by its value for a true shuffle,
(K - 1)(N - w) / (N - 1). 1 is a true shuffle, more is worse: a batch of b is worth b / D.
"""

from __future__ import annotations

import numpy as np


def lost_and_repeated(ids: np.ndarray, samples: int) -> tuple[int, int]:
    """Samples of 0..samples-1 that never came, and deliveries beyond the first."""
    if len(ids) and (ids.min() < 0 or ids.max() >= samples):
        raise ValueError(f"a delivered sample number is not below {samples}")
    counts = np.bincount(ids, minlength=samples)
    return int(np.count_nonzero(counts == 0)), int(np.sum(np.maximum(counts - 1, 0)))


def design_effect(labels: np.ndarray, batch: int, batches: int) -> float | None:
    """D over windows of `batches` batches; None where a window is over half of the epoch."""
    rows, window = len(labels), batch * batches
    if 2 * window > rows:
        return None
    classes = np.bincount(labels)
    classes = classes[classes > 0]
    numbers = np.unique(labels, return_inverse=True)[1]
    expected = window * classes / rows
    effects = []
    for begin in range(0, rows - window + 1, window):
        seen = np.bincount(numbers[begin : begin + window], minlength=len(classes))
        effects.append(float(np.sum((seen - expected) ** 2 / expected)))
    true_shuffle = (len(classes) - 1) * (rows - window) / (rows - 1)
    return float(np.mean(effects)) / true_shuffle
