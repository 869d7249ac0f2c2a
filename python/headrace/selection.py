# SPDX-License-Identifier: Apache-2.0
"""Subsets of a data set: which samples take part, as one bit each; splits and folds by hash.

The order of a loader over a subset runs over the subset alone (docs/ordering.md, "Subsets").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.errors import OptionError

__all__ = ["both", "fold", "selection_of", "split"]

Words = npt.NDArray[np.uint64]

_PARTS = 1 << 32  # shares of a split are cut at this precision


def selection_of(which: npt.ArrayLike, samples: int) -> _core.Selection:
    """The selection of a bool array [samples], or of sample numbers.

    Raises:
        OptionError: another length, a number outside, or nothing selected.
    """
    array = np.asarray(which)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise OptionError(
            f"select samples: {array.dtype} of shape {array.shape} is neither bool [{samples}] nor "
            "a list of sample numbers"
        )
    if array.dtype.kind != "b":
        array = _mask_of(array, samples)
    elif len(array) != samples:
        raise OptionError(f"select samples: bool [{len(array)}], the data set has {samples:,}")
    if not array.any():
        raise OptionError(f"select samples: none of the {samples:,} samples is selected")
    return _core.Selection(_words_of(array), samples)


def _mask_of(numbers: npt.NDArray[Any], samples: int) -> npt.NDArray[np.bool_]:
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= samples):
        outside = numbers.min() if numbers.min() < 0 else numbers.max()
        raise OptionError(f"select samples: number {outside}, the data set has {samples:,}")
    mask = np.zeros(samples, np.bool_)
    mask[numbers.astype(np.int64)] = True
    return mask


def _words_of(mask: npt.NDArray[np.bool_]) -> Words:
    packed = np.packbits(mask, bitorder="little")
    return np.concatenate([packed, np.zeros(-len(packed) % 8, np.uint8)]).view(np.uint64)


def both(first: _core.Selection | None, second: _core.Selection) -> _core.Selection:
    """Samples of the data set that are in both."""
    if first is None:
        return second
    words = first.words & second.words
    if not words.any():
        raise OptionError("select samples: no sample is in both selections")
    return _core.Selection(words, first.samples)


def _groups(groups: npt.ArrayLike | None, samples: int) -> npt.NDArray[np.uint64] | None:
    """Whole numbers as they are; other values (names) by their place among the sorted ones."""
    if groups is None:
        return None
    array = np.asarray(groups)
    if array.shape != (samples,):
        raise OptionError(
            f"split: groups of shape {array.shape}, one for each of {samples:,} samples"
        )
    if array.dtype.kind not in "iu":
        array = np.unique(array, return_inverse=True)[1]
    return np.ascontiguousarray(array, np.uint64)


def _part(
    samples: int, groups: npt.NDArray[np.uint64] | None, seed: int, begin: int, end: int, of: int
) -> Words:
    if groups is None:
        return _core.hash_fold(samples, seed, begin, end, of)
    return _core.hash_fold_of_groups(groups, seed, begin, end, of)


def split(
    samples: int, shares: Mapping[str, float], seed: int, groups: npt.ArrayLike | None
) -> dict[str, _core.Selection]:
    """Disjoint selections by a hash of the sample's (or its group's) number; the shares add up to
    at most 1."""
    if (
        not shares
        or any(not 0 < share <= 1 for share in shares.values())
        or sum(shares.values()) > 1 + 1e-9
    ):
        raise OptionError(f"split: shares {dict(shares)} are not above 0 and together at most 1")
    ids = _groups(groups, samples)
    parts, below = {}, 0.0
    for name, share in shares.items():
        begin, end = round(below * _PARTS), min(_PARTS, round((below + share) * _PARTS))
        parts[name] = _not_empty(
            f"split: part {name!r}", _part(samples, ids, seed, begin, end, _PARTS), samples
        )
        below += share
    return parts


def fold(
    samples: int, number: int, of: int, seed: int, groups: npt.ArrayLike | None
) -> tuple[_core.Selection, _core.Selection]:
    """(the rest, fold ``number``) of ``of`` folds."""
    if of < 2 or not 0 <= number < of:
        raise OptionError(
            f"fold: number {number} of {of}: folds are numbered 0 .. {of - 1}, at least 2"
        )
    ids = _groups(groups, samples)
    inside = _part(samples, ids, seed, number, number + 1, of)
    everything = _words_of(np.ones(samples, np.bool_))
    return (
        _not_empty(f"fold: all but fold {number}", everything & ~inside, samples),
        _not_empty(f"fold: fold {number}", inside, samples),
    )


def _not_empty(what: str, words: Words, samples: int) -> _core.Selection:
    if not words.any():
        raise OptionError(f"{what} of {samples:,} samples is empty")
    return _core.Selection(words, samples)
