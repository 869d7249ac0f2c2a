# SPDX-License-Identifier: Apache-2.0
"""The data sets and the memory of the order study: label columns only, no bytes.

Every system orders the same stored samples: N of a nominal size in shards of 64 MiB. No system here
looks at labels, so one order of sample numbers serves all four data sets.
"""

from __future__ import annotations

import numpy as np

SAMPLES = 1_281_167
SAMPLE_BYTES = 115_000
SHARD_SAMPLES = (64 << 20) // SAMPLE_BYTES  # 583
JOB_BYTES = 1_000_000_000  # for the whole job, whatever the number of ranks
BATCH = 256
WINDOWS = (1, 4, 16, 32, 64)
DATA_SETS = ("class-sorted", "source-grouped", "video-like", "pre-shuffled")


def shard_counts(samples: int = SAMPLES, each: int = SHARD_SAMPLES) -> list[int]:
    counts = [each] * (samples // each)
    return counts + ([samples % each] if samples % each else [])


def _runs(sizes: np.ndarray, samples: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)[:samples].astype(np.uint32)


def class_sizes(samples: int, classes: int = 1000) -> np.ndarray:
    """ImageNet's shape: most classes of one size, the last tenth smaller."""
    weights = np.where(np.arange(classes) < 0.895 * classes, 1300.0, 1120.0)
    sizes = np.floor(weights / weights.sum() * samples).astype(int)
    sizes[: samples - sizes.sum()] += 1
    return sizes


def source_sizes(samples: int, sources: int = 200) -> np.ndarray:
    """Zipf-sized sources, one after another in an order by lot."""
    weights = 1 / np.arange(1, sources + 1)
    sizes = np.floor(weights / weights.sum() * samples).astype(int)
    sizes[0] += samples - sizes.sum()
    return np.random.default_rng(7).permutation(sizes)


def clip_sizes(samples: int) -> np.ndarray:
    """Clips of 30 to 300 frames that are all alike: a clip is a group of its own."""
    sizes = np.random.default_rng(11).integers(30, 301, size=samples // 30 + 1)
    clips = int(np.searchsorted(np.cumsum(sizes), samples)) + 1
    sizes = sizes[:clips]
    sizes[-1] -= sizes.sum() - samples
    return sizes


def labels(data_set: str, samples: int = SAMPLES) -> np.ndarray:
    """Label of each sample in stored order, uint32 [samples]."""
    by_class = _runs(class_sizes(samples, min(1000, max(2, samples // 32))), samples)
    if data_set == "class-sorted":
        return by_class
    if data_set == "source-grouped":
        return _runs(source_sizes(samples), samples)
    if data_set == "video-like":
        return _runs(clip_sizes(samples), samples)
    if data_set == "pre-shuffled":
        return np.random.default_rng(13).permutation(by_class)
    raise ValueError(f"no data set {data_set!r}; there are {', '.join(DATA_SETS)}")


def unit_counts(samples: int = SAMPLES, least: int = 4, most: int = 14) -> list[int]:
    """Row groups of 4 to 14 samples: about 1 MB, none like the next."""
    sizes = np.random.default_rng(17).integers(least, most + 1, size=samples // least + 1)
    units = int(np.searchsorted(np.cumsum(sizes), samples)) + 1
    sizes = sizes[:units]
    sizes[-1] -= sizes.sum() - samples
    return [int(n) for n in sizes]
