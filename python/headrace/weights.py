# SPDX-License-Identifier: Apache-2.0
"""Weights: of samples that are drawn with replacement, and of a mixture's sources; fixed, changed
at a step, or a function of the step.

What a weight means is docs/ordering.md, "Weighted sampling" and "Mixtures".
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.errors import OptionError

__all__ = [
    "Timeline",
    "WeightRuns",
    "class_weights",
    "draws_of",
    "name_id",
    "source_weights",
]

T = TypeVar("T")

# Changes that one stream is told ahead; a function of the step is evaluated so far.
_AHEAD = 32
# A column with fewer runs of equal weights than this share of its samples is kept as runs.
_RUNS_SHARE = 1 / 8


class WeightRuns:
    """Weights of runs of samples in stored order, for data that is stored by class: O(1) memory for
    each class.

    Args:
        counts: samples of each run; together all samples of the data set.
        weights: of each sample of the run; or, with ``of_run=True``, of the run as a whole.
    """

    def __init__(
        self, counts: npt.ArrayLike, weights: npt.ArrayLike, *, of_run: bool = False
    ) -> None:
        sizes, values = np.asarray(counts, np.int64), np.asarray(weights, np.float64)
        if sizes.ndim != 1 or sizes.shape != values.shape or not len(sizes) or (sizes < 1).any():
            raise OptionError(
                f"make WeightRuns: counts {list(sizes.shape)} and weights {list(values.shape)} are "
                "not one count above 0 and one weight for each run"
            )
        self.samples = int(sizes.sum())
        self.first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.uint64)
        self.weights = (values / sizes if of_run else values).astype(np.float32)


def class_weights(
    labels: npt.ArrayLike, weights: str | Mapping[Any, float] = "balanced"
) -> npt.NDArray[np.float32]:
    """A weight for each sample, float32 [N], from the class of each.

    Args:
        labels: [N], whole numbers or names.
        weights: ``"balanced"`` draws every class equally often; a mapping says how often each class
            is drawn, in proportion (a class that it leaves out: never).

    Raises:
        OptionError: a class that no sample has.
    """
    classes, places, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if weights == "balanced":
        shares = np.ones(len(classes))
    elif isinstance(weights, Mapping):
        absent = [name for name in weights if name not in classes]
        if absent:
            raise OptionError(f"class_weights: no sample has class {absent[0]!r}")
        shares = np.array([float(weights.get(name, 0)) for name in classes.tolist()])
    else:
        raise OptionError(f'class_weights: {weights!r} is neither "balanced" nor a mapping')
    column: npt.NDArray[np.float32] = (shares / counts).astype(np.float32)[places]
    return column


def draws_of(
    weights: WeightRuns | npt.ArrayLike,
    samples: int,
    seed: int,
    *,
    subset: _core.Selection | None = None,
) -> _core.Draws:
    """The draws of ``weights``, one for each of ``samples`` (of the subset, where there is one).

    A memory-mapped float32 column (``np.load(path, mmap_mode="r")``) stays on disk.

    Raises:
        OptionError: another number of weights, or weights that make no sense.
    """
    if isinstance(weights, WeightRuns):
        if subset is not None:
            raise OptionError("weights=WeightRuns over a subset: give a weight for each sample")
        _check_length(weights.samples, samples)
        return _core.draws_of_runs(weights.first, weights.weights.tolist(), samples, seed)
    column: Any = np.asanyarray(weights)
    if column.ndim != 1 or column.dtype.kind not in "fiu":
        raise OptionError(f"weights: {column.dtype} of shape {column.shape}: not a number a sample")
    _check_length(len(column), samples)
    if subset is not None:
        whole = np.zeros(subset.samples, np.float32)
        whole[subset.select(np.arange(samples))] = column
        return _draws_of_column(whole, seed)
    # A view into a mapping has its parent's file and offset: only the mapping itself will do.
    mapped = isinstance(column, np.memmap) and not isinstance(column.base, np.memmap)
    if mapped and column.dtype == np.float32 and column.flags.c_contiguous:
        return _core.draws_of_file(str(column.filename), column.offset, samples, seed)
    return _draws_of_column(np.ascontiguousarray(column, np.float32), seed)


def _draws_of_column(column: npt.NDArray[np.float32], seed: int) -> _core.Draws:
    first = np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1]).astype(np.uint64)
    if len(first) > len(column) * _RUNS_SHARE:
        return _core.draws_of_array(column, seed)
    return _core.draws_of_runs(first, column[first].tolist(), len(column), seed)


def _check_length(have: int, samples: int) -> None:
    if have != samples:
        raise OptionError(f"weights: {have:,} weights, the data set has {samples:,} samples")


def name_id(name: str) -> int:
    """The number that stands for a source's name in its seed."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


class Timeline(Generic[T]):
    """Which weights hold from which step on.

    Args:
        given: weights; or a function of the step, evaluated at multiples of ``every``.
        make: weights as a user gives them -> what the core needs.
    """

    def __init__(self, given: Any, every: int, make: Callable[[Any], T]) -> None:
        self._make = make
        self._every = every
        self._function = given if callable(given) else None
        self._steps: list[int] = []
        self._values: list[T] = []
        if self._function is None:
            self.set(0, given)

    def set(self, step: int, weights: Any) -> T:
        """From ``step`` on, until a later change."""
        if self._function is not None and step > 0:
            raise OptionError(
                "update_weights: the weights are a function of the step; change the function"
            )
        value = self._make(weights)
        place = bisect_right(self._steps, step)
        if place and self._steps[place - 1] == step:
            self._values[place - 1] = value
        else:
            self._steps.insert(place, step)
            self._values.insert(place, value)
        return value

    def _know(self, step: int) -> None:
        """Evaluates the function for the changes from before ``step`` to those ahead of it."""
        if self._function is None:
            return
        first = step // self._every
        wanted = [n * self._every for n in range(first, first + _AHEAD + 1)]
        known = dict(zip(self._steps, self._values, strict=True))
        made = [known[at] if at in known else self._make(self._function(at)) for at in wanted]
        self._steps, self._values = wanted, made

    def at(self, step: int) -> T:
        """What holds at ``step``."""
        self._know(step)
        return self._values[bisect_right(self._steps, step) - 1]

    def since(self, step: int) -> int:
        """The step from which on what holds at ``step`` has held."""
        self._know(step)
        return self._steps[bisect_right(self._steps, step) - 1]

    def changes_at(self, step: int) -> bool:
        self._know(step)
        return step in self._steps

    def after(self, step: int) -> list[tuple[int, T]]:
        """The changes after ``step`` that are known."""
        self._know(step)
        place = bisect_right(self._steps, step)
        return list(zip(self._steps[place:], self._values[place:], strict=True))

    def known_until(self, step: int) -> int | None:
        """A step up to which ``after(step)`` is complete; None: for ever."""
        if self._function is None:
            return None
        return (step // self._every + _AHEAD + 1) * self._every


def source_weights(
    given: Any, names: Sequence[str], sizes: Sequence[int], temperature: float | None
) -> list[int]:
    """The core's integer weights of a mixture's sources.

    Args:
        given: a mapping of names to numbers (left out: 0), a sequence, ``"size"`` or None; without
            numbers the sizes count, to the power 1 / ``temperature``.
    """
    if given is None or (isinstance(given, str) and given == "size"):
        shares = _core.weights_by_temperature(list(sizes), temperature or 1.0)
    elif isinstance(given, str):
        raise OptionError(f'mix: weights={given!r} is not "size", a mapping or a list of numbers')
    elif temperature is not None:
        raise OptionError("mix: temperature= is for weights by size; give it or weights=, not both")
    elif isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise OptionError(f"mix: weights for {unknown[0]!r}, which is none of {list(names)}")
        shares = [float(given.get(name, 0.0)) for name in names]
    else:
        shares = [float(weight) for weight in given]
        if len(shares) != len(names):
            raise OptionError(f"mix: {len(shares)} weights for {len(names)} sources")
    return _core.mixture_weights(shares)
