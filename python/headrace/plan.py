# SPDX-License-Identifier: Apache-2.0
"""Plan: what a loader will do, decided once its rank is known: batch, order, and the arithmetic of
epochs.

Fixed until a state is loaded. The numbers that a state brings replace the options'
(:class:`Choice`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace.cursor import Cursor, Position
from headrace.errors import OptionError
from headrace.loader_options import LoaderOptions
from headrace.ranks import Ranks, find_ranks

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["Choice", "Plan", "make_plan", "read_state"]

log = logging.getLogger("headrace")


@dataclass(frozen=True)
class Choice:
    """What a state fixes: from the options at first, from the state once one is loaded."""

    seed: int
    shuffle: str
    remainder: str
    block: int | None
    lanes: int | None
    index: str = ""

    @classmethod
    def of(cls, options: LoaderOptions) -> Choice:
        return cls(options.seed, options.shuffle, options.remainder, options.block, options.lanes)


@dataclass(frozen=True)
class Plan:
    dataset: Dataset
    ranks: Ranks
    cursor: Cursor
    choice: Choice  # with block and lanes
    order_hash: str
    index: str
    reasons: tuple[str, ...]
    requests: int  # an epoch, by all ranks
    quality: tuple[tuple[int, float | None], ...]  # (m, safe bound of D(m) or None)

    @property
    def batch(self) -> int:
        """Samples of a batch over all ranks."""
        return self.cursor.batch

    def cost_and_quality(self) -> list[str]:
        """Two lines for people: requests an epoch, and how near the order is to a true shuffle."""
        least = -(-self.cursor.samples // (self.choice.block or 1))
        requests = f"about {self.requests:,} an epoch (floor {least:,}: one a block)"
        if self.choice.shuffle == "none":
            quality = "n/a: no shuffle"
        else:
            quality = ", ".join(
                f"D({m}) " + ("n/a: epoch too short" if bound is None else f"≤ {bound:.2f}")
                for m, bound in self.quality
            )
            if any(bound is not None for _, bound in self.quality):
                quality += " on data sorted by class (1 = a true shuffle)"
        return [f"  requests  {requests}", f"  shuffle quality  {quality}"]

    def state_text(self, at: Position, agreement: str = "") -> str:
        """The state as JSON text."""
        return _core.make_state(
            order_hash=self.order_hash,
            index=self.choice.index or self.index,
            seed=self.choice.seed,
            at=at,
            block=self.choice.block or 1,
            lanes=self.choice.lanes or 1,
            shuffle=self.choice.shuffle,
            remainder=self.choice.remainder,
            filter=self.dataset.filter_hash,
            agreement=agreement,
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of each source's order; random decoding and transforms follow them."""
        return (self.choice.seed,)

    def stream_sources(self, options: LoaderOptions) -> list[dict[str, Any]]:
        """What the core's stream reads, and in which order."""
        return [
            {
                "dataset": self.dataset.core,
                "seed": self.choice.seed,
                "shuffle": self.choice.shuffle,
                "block": self.choice.block,
                "lanes": self.choice.lanes,
                "fields": options.fields if options.given & {"decode", "columns"} else [],
                "selection": self.dataset.selection,
                "draws": [],
                "draws_epoch": 0,
            }
        ]

    def stream_options(self, at: Position, epochs: int, batches_max: int) -> dict[str, Any]:
        """What the core's stream needs to know of this pass and this rank."""
        return {
            "mixture": None,
            "start": at,
            "epochs": epochs,
            "batches_max": batches_max,
            "rank": self.ranks.rank,
            "world": self.ranks.world_size,
            "batch": self.batch // self.ranks.world_size,
            "remainder": self.choice.remainder,
        }


def make_plan(dataset: Dataset, options: LoaderOptions, choice: Choice) -> Plan:
    """Finds the ranks, then batch, block and lanes.

    Raises:
        OptionError: the global batch does not divide by the ranks, or is larger than the data set.
    """
    ranks = find_ranks(options.rank, options.world_size, options.mesh)
    batch = options.global_batch_size or (options.batch_size or 1) * ranks.world_size
    if batch % ranks.world_size:
        raise OptionError(
            f"make loader: global_batch_size={batch} is not a multiple of the "
            f"{ranks.world_size} ranks (from {ranks.source})"
        )
    chosen = dataset.choose(
        batch=batch,
        world_size=ranks.world_size,
        memory=options.memory,
        shuffle=choice.shuffle,
        block=choice.block,
        lanes=choice.lanes,
    )
    cursor = Cursor(
        samples=len(dataset),
        batch=batch,
        rank=ranks.rank,
        world=ranks.world_size,
        remainder=choice.remainder,
        epoch_size=options.epoch_size,
    )
    cursor.batches_per_epoch()  # says now what does not fit together
    return Plan(
        dataset=dataset,
        ranks=ranks,
        cursor=cursor,
        choice=replace(choice, block=chosen["block"], lanes=chosen["lanes"]),
        order_hash=dataset.order_hash,
        index=dataset.index_name,
        reasons=tuple(chosen["reasons"]),
        requests=chosen["requests"],
        quality=tuple((m, chosen[f"d{m}"]) for m in (1, 4, 32)),
    )


def read_state(
    dataset: Dataset, options: LoaderOptions, now: Choice, state: Mapping[str, Any]
) -> tuple[Choice, Position]:
    """What a state says. It replaces what the loader was made with; a warning names what differs.

    Raises:
        MismatchError: the state is of another data set, or of another version of the order.
        OptionError: not a state.
    """
    if not isinstance(state, Mapping) or "headrace" not in state:
        raise OptionError(
            f"load_state_dict: {type(state).__name__} without a 'headrace' entry is not a "
            "loader's state; pass what state_dict() returned"
        )
    found = _core.read_state(
        json.dumps(dict(state)), dataset.order_hash, len(dataset), dataset.filter_hash
    )
    for name in ("seed", "block", "lanes", "shuffle", "remainder"):
        mine = getattr(now, name)
        if name in options.given and mine != found[name]:
            log.warning("load_state_dict: the state's %s=%s replaces %s", name, found[name], mine)
    choice = Choice(**{name: found[name] for name in Choice.__dataclass_fields__})
    return choice, found["at"]
