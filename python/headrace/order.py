# SPDX-License-Identifier: Apache-2.0
"""``hr.Order``: which sample stands at which position of an epoch, for anyone who wants to audit a
run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.errors import OptionError
from headrace.options import nearest

__all__ = ["Order", "Shuffle", "shuffle_name"]

Shuffle: TypeAlias = 'bool | Literal["stratified", "block", "global", "none"]'
_NAMES = ("stratified", "block", "global", "none")


def shuffle_name(shuffle: Any) -> str:
    """The core's word for ``True`` ("stratified"), ``False`` ("none") or one of the names."""
    if shuffle is True:
        return "stratified"
    if shuffle is False:
        return "none"
    if shuffle in _NAMES:
        return str(shuffle)
    hint = nearest(shuffle, _NAMES) if isinstance(shuffle, str) else ""
    raise OptionError(
        f"shuffle={shuffle!r} is not True, False or one of {', '.join(map(repr, _NAMES))}{hint}"
    )


class Order(Sequence[int]):
    """The order of one epoch: position -> sample number, a pure function of its arguments.

    Sample numbers follow the stored order: shard after shard. The specification is
    docs/ordering.md; it is frozen, so an order can be computed again years later.

    Args:
        counts: samples of each shard, in the data set's order; [S] whole numbers.
        seed: taken modulo 2^64.
        epoch: from 0.
        block: samples of a block (what is read at once), at most 65,536.
        lanes: blocks that are open at a time.
        shuffle: True or ``"stratified"``, ``"block"``, ``"global"`` (a true shuffle), or False.
        units: ``counts`` are units that can only be read whole (row groups, compressed shards).
    """

    __slots__ = ("_core", "epoch", "seed", "shuffle")

    def __init__(
        self,
        counts: Sequence[int] | npt.NDArray[Any],
        *,
        seed: int = 0,
        epoch: int = 0,
        block: int = 1,
        lanes: int = 1,
        shuffle: Shuffle = True,
        units: bool = False,
    ) -> None:
        array = np.asarray(counts)
        if (
            array.ndim != 1
            or array.dtype.kind not in "iu"
            or (array.dtype.kind == "i" and (array < 0).any())
        ):
            raise OptionError("make Order: counts is not a list of whole numbers >= 0, one a shard")
        self.seed = seed % 2**64
        self.epoch = epoch
        self.shuffle = shuffle_name(shuffle)
        self._core = _core.Order(
            np.ascontiguousarray(array, np.uint64),
            seed=self.seed,
            epoch=epoch,
            block=block,
            lanes=lanes,
            shuffle=self.shuffle,
            units=units,
        )

    def at(self, position: int) -> int:
        """The sample number at ``position`` (0 .. len - 1); IndexError outside."""
        return self._core.at(position)

    def at_many(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The sample numbers at many positions, int64; much faster than ``at`` for runs of
        positions."""
        array = np.asarray(positions)
        found = self._core.at_many(np.ascontiguousarray(array.reshape(-1), np.int64))
        return found.reshape(array.shape)

    def __len__(self) -> int:
        return len(self._core)

    @overload
    def __getitem__(self, position: int) -> int: ...
    @overload
    def __getitem__(self, position: slice) -> list[int]: ...
    def __getitem__(self, position: int | slice) -> int | list[int]:
        if isinstance(position, slice):
            found: list[int] = self.at_many(range(*position.indices(len(self)))).tolist()
            return found
        return self.at(position + len(self) if position < 0 else position)

    def __iter__(self) -> Iterator[int]:
        chunk = 65_536  # keeps memory flat on data sets of billions
        for begin in range(0, len(self), chunk):
            yield from self.at_many(np.arange(begin, min(begin + chunk, len(self)))).tolist()

    @property
    def block(self) -> int:
        """Samples of a block, as used: at most ``len / lanes``."""
        return self._core.block

    @property
    def lanes(self) -> int:
        """Lanes, as used: at most ``len``."""
        return self._core.lanes

    @property
    def blocks(self) -> int:
        return self._core.blocks

    def design_effect(
        self, labels: npt.ArrayLike, *, batch: int, windows: Sequence[int] = (1, 4, 32)
    ) -> dict[int, float | None]:
        """How well batches are mixed: 1 is a true shuffle, less is better balanced, more is worse.

        D(m) compares the class counts of m consecutive batches with those of a true shuffle
        (docs/ordering.md, "Quality").

        Args:
            labels: class of each sample in stored order, [N] whole numbers from 0.
            batch: samples of a batch over all ranks.
            windows: the m to compute; None where m batches are more than half an epoch.
        """
        array = np.ascontiguousarray(labels, np.uint32)
        found = self._core.design_effect(array, batch, list(windows))
        return dict(zip(windows, found, strict=True))

    def __repr__(self) -> str:
        return (
            f"Order({len(self):,} samples, seed={self.seed}, epoch={self.epoch}, "
            f"block={self.block}, lanes={self.lanes}, shuffle={self.shuffle!r})"
        )
