# SPDX-License-Identifier: Apache-2.0
"""How well the stream order shuffles: the table of docs/ordering.md, "Stream order", Quality.

    python tests/model/stream_quality.py

The deal of shards is the specification's; draws are numpy's, which changes no statistic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from order_model import TAG_STREAM, key, shuffled

Numbers = npt.NDArray[np.int64]
CLASSES, BATCH, WINDOWS = 1000, 256, (1, 4, 16, 32, 64)


def one_stream(stored: Numbers, slots: int, rng: np.random.Generator) -> Numbers:
    held = list(stored[:slots])
    out = np.empty_like(stored)
    for t, u in enumerate(rng.random(len(stored))):
        slot = int(u * len(held))
        out[t] = held[slot]
        if slots + t < len(stored):
            held[slot] = stored[slots + t]
        else:
            held[slot] = held[-1]
            held.pop()
    return out


def order(shards: int, each: int, streams: int, slots: int, seed: int) -> Numbers:
    """One epoch over equal shards, by sample number."""
    deal = shuffled(shards, key(seed, 0, TAG_STREAM, 0))
    rng = np.random.default_rng(seed)
    rows = [
        one_stream(
            np.concatenate([deal[k] * each + np.arange(each) for k in range(s, shards, streams)]),
            slots,
            rng,
        )
        for s in range(streams)
    ]
    full = min(map(len, rows))
    rest = [row[r] for r in range(full, max(map(len, rows))) for row in rows if r < len(row)]
    rounds = np.array([row[:full] for row in rows]).T.ravel()
    return np.concatenate([rounds, np.array(rest, np.int64)])


def design_effect(labels: Numbers, window: int) -> float:
    total = len(labels)
    share = np.bincount(labels, minlength=CLASSES) / total
    expected = window * share
    found = []
    for begin in range(0, total - window + 1, window):
        have = np.bincount(labels[begin : begin + window], minlength=CLASSES)
        found.append((((have - expected) ** 2) / expected).sum())
    return float(np.mean(found) / ((CLASSES - 1) * (total - window) / (total - 1)))


def main() -> None:
    worlds: list[tuple[Any, ...]] = [(1024, 1251, 420, 8), (1024, 1251, 420, 30)]
    worlds += [(16, 80_072, 16, 52), (16, 80_072, 16, 211), (16, 80_072, 16, 800)]
    for shards, each, streams, slots in worlds:
        found, total = order(shards, each, streams, slots, 1), shards * each
        assert len(np.unique(found)) == total
        clips = np.random.default_rng(0).integers(0, CLASSES, total // 64 + 1).repeat(64)
        for name, labels in (
            ("sorted", found * CLASSES // total),
            ("clips of 64", clips[found]),
        ):
            figures = [round(design_effect(labels, m * BATCH), 2) for m in WINDOWS]
            print(f"{shards} shards, P={streams}, W={slots}, {name}: {figures}")


if __name__ == "__main__":
    main()
