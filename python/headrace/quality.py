# SPDX-License-Identifier: Apache-2.0
"""How well delivered batches are mixed, measured while they go by (docs/ordering.md, "Quality").

Over what one rank delivers: for it, a true shuffle draws w = m x (its rows of a batch) samples out
of all. Per batch it costs the rows and not the classes; memory is a few numbers a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.errors import OptionError
from headrace.units import by_units

if TYPE_CHECKING:
    from headrace.batch import Batch
    from headrace.dataset import Dataset
    from headrace.loader_options import LoaderOptions

__all__ = ["BlockPairs", "ClassBalance", "Meter", "class_numbers", "meter_of"]

_WINDOWS_MIN = 2  # a figure is shown once so many windows are complete

Classes = npt.NDArray[np.int64]


def class_numbers(labels: npt.ArrayLike, samples: int) -> Classes:
    """Classes as numbers from 0, int64 [samples]; other values are numbered in sorted order.

    Raises:
        ValueError: not one label a sample.
    """
    array = np.asarray(labels)
    if array.shape != (samples,):
        raise ValueError(f"labels of shape {array.shape} for {samples:,} samples")
    if array.dtype.kind in "biu" and array.size and array.min() >= 0 and array.max() < 2 * samples:
        return array.astype(np.int64)
    if array.dtype.kind not in "biuUSO":
        raise ValueError(f"labels of type {array.dtype} are no classes: whole numbers or texts are")
    return np.unique(array, return_inverse=True)[1].astype(np.int64).reshape(-1)


class Meter:
    """What ``loader.stats()`` says of the batches of one rank, where ``labels=`` were given.

    Raises:
        ValueError: not one label for each sample of the data set, or of the subset.
    """

    def __init__(self, dataset: Dataset, labels: npt.ArrayLike) -> None:
        numbers = class_numbers(labels, len(dataset))
        if dataset.selection is not None:  # batch.ids are the whole data set's numbers
            classes = np.full(dataset.core.samples, -1, np.int64)
            classes[dataset.numbers(np.arange(len(dataset)))] = numbers
            numbers = classes
        self._balance = ClassBalance(numbers)
        self._dataset = dataset
        self._pairs: BlockPairs | None = None

    def plan(self, block: int, lanes: int) -> None:
        """The order's block and lanes; a subset's blocks are not told from its samples' numbers."""
        if by_units(self._dataset):
            return  # blocks are units of many lengths
        if self._pairs is None and self._dataset.selection is None:
            samples = len(self._dataset)
            in_use = max(1, min(block, samples // max(1, min(lanes, samples))))
            self._pairs = BlockPairs(self._dataset.counts, in_use)

    def see(self, batch: Batch, after: Any) -> None:
        """A batch, before the trainer gets it."""
        ids = batch.ids[batch.valid]
        self._balance.add(ids, batch.epoch)
        if self._pairs is not None:
            self._pairs.add(ids)

    def stats(self) -> dict[str, float | None]:
        """``d1``, ``d4``, ``d32``, and ``block_pairs`` a batch."""
        found: dict[str, float | None] = {f"d{m}": d for m, d in self._balance.effects().items()}
        return {**found, "block_pairs": self._pairs.mean() if self._pairs is not None else None}


def meter_of(dataset: Dataset, options: LoaderOptions) -> Meter | None:
    """None without ``labels=``.

    Raises:
        OptionError: labels that do not fit.
    """
    if options.labels is None:
        return None
    try:
        if options.weights is not None:
            raise ValueError("samples drawn by weight have no order to be measured")
        return Meter(dataset, options.labels)
    except ValueError as fault:
        raise OptionError(f"make loader: labels=: {fault}") from fault


class ClassBalance:
    """D(m) of consecutive batches: 1 is a true shuffle, less is better balanced.

    Args:
        labels: class of each sample by its number in the whole data set; -1: takes no part.
        windows: the m; windows begin anew with each epoch.
    """

    def __init__(self, labels: Classes, windows: Sequence[int] = (1, 4, 32)) -> None:
        self._labels = labels
        self._sizes = np.bincount(labels[labels >= 0]).astype(np.float64)
        self._samples = float(self._sizes.sum())
        self._classes = int((self._sizes > 0).sum())
        self._windows = {m: _Window(m, len(self._sizes)) for m in windows}
        self._epoch = -1

    def add(self, ids: npt.NDArray[np.int64], epoch: int) -> None:
        """The samples of a batch, without rows that only fill up."""
        if epoch != self._epoch:
            self._epoch = epoch
            for window in self._windows.values():
                window.clear()
        classes, counts = np.unique(self._labels[ids], return_counts=True)
        for window in self._windows.values():
            done = window.add(classes, counts.astype(np.float64), self._sizes, self._samples)
            if done is not None and self._classes > 1 and 2 * done[1] <= self._samples:
                chi_square, rows = done
                shuffled = (self._classes - 1) * (self._samples - rows) / (self._samples - 1)
                window.sum += chi_square / shuffled
                window.complete += 1

    def effects(self) -> dict[int, float | None]:
        """D(m) by m; None until two windows are complete, and where they are half an epoch."""
        return {
            m: window.sum / window.complete if window.complete >= _WINDOWS_MIN else None
            for m, window in self._windows.items()
        }


class _Window:
    """Class counts of up to ``length`` batches. With w rows and q the share of a class, the sum of
    (n - w q)^2 / (w q) is sum(n^2 / q) / w - w: only classes that came cost time."""

    def __init__(self, length: int, classes: int) -> None:
        self._length = length
        self._counts = np.zeros(classes, np.float64)
        self._touched: list[Classes] = []
        self._squares = self._rows = 0.0
        self.sum, self.complete = 0.0, 0

    def add(
        self,
        classes: Classes,
        counts: npt.NDArray[np.float64],
        sizes: npt.NDArray[np.float64],
        samples: float,
    ) -> tuple[float, float] | None:
        """(chi-square, rows) where this batch completes the window."""
        before = self._counts[classes]
        self._squares += float((counts * (2 * before + counts) / sizes[classes]).sum())
        self._counts[classes] = before + counts
        self._rows += float(counts.sum())
        self._touched.append(classes)
        if len(self._touched) < self._length:
            return None
        rows, squares = self._rows, self._squares
        self.clear()
        return (squares * samples / rows - rows, rows) if rows else None

    def clear(self) -> None:
        for classes in self._touched:
            self._counts[classes] = 0
        self._touched.clear()
        self._squares = self._rows = 0.0


class BlockPairs:
    """Pairs of samples of one block in a batch, on average.

    Args:
        counts: samples of each shard.
        block: samples of a block.
    """

    def __init__(self, counts: npt.NDArray[Any], block: int) -> None:
        sizes = np.asarray(counts, np.int64)
        self._block = block
        self._ends = np.cumsum(sizes)
        self._begins = self._ends - sizes
        self._full = np.cumsum(sizes // block) - sizes // block  # blocks before each shard
        self._rest = np.cumsum(sizes % block) - sizes % block  # left-over samples before each
        self._blocks = int((sizes // block).sum())
        self._pairs, self._batches = 0, 0

    def block_of(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The block of each sample, numbered as docs/ordering.md, "The order", says."""
        shard = np.searchsorted(self._ends, ids, side="right")
        inside = ids - self._begins[shard]
        full = (np.append(self._ends, 0)[shard] - self._begins[shard]) // self._block * self._block
        rest = self._blocks + (self._rest[shard] + inside - full) // self._block
        found: npt.NDArray[np.int64] = np.where(
            inside < full, self._full[shard] + inside // self._block, rest
        )
        return found

    def add(self, ids: npt.NDArray[np.int64]) -> None:
        counts = np.unique(self.block_of(ids), return_counts=True)[1]
        self._pairs += int((counts * (counts - 1) // 2).sum())
        self._batches += 1

    def mean(self) -> float | None:
        return self._pairs / self._batches if self._batches else None
