# SPDX-License-Identifier: Apache-2.0
"""Plan: what a loader will do, decided once its rank is known: batch, order, and the arithmetic of
epochs.

A loader has a :class:`Planner` (of one data set here, of a mixture in mixture_plan.py), which makes
its plan and reads states. A plan is fixed until a state is loaded; the numbers that a state brings
replace the options' (:class:`Choice`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from headrace import _core
from headrace.batch import Batch
from headrace.cursor import START, Cursor, Position
from headrace.errors import MismatchError, OptionError
from headrace.loader_options import LoaderOptions, check_options
from headrace.options import format_size
from headrace.quality import meter_of
from headrace.ranks import Ranks, find_ranks
from headrace.weights import Timeline, draws_of

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["Choice", "DatasetPlanner", "JobPlan", "Plan", "Planner", "find_batch"]

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


class JobCursor(Protocol):
    """Arithmetic on positions; see :class:`headrace.cursor.Cursor`."""

    def start(self, at: Any) -> Any: ...
    def batches_per_epoch(self) -> int: ...
    def batches_left(self, at: Any) -> int: ...
    def epoch(self, at: Any) -> int: ...
    def position(self, at: Any) -> int: ...
    def seek(self, at: Any, epoch: int) -> Any: ...
    def next_start(self, at: Any) -> Any: ...
    def step(self, at: Any) -> int: ...


class JobPlan(Protocol):
    @property
    def ranks(self) -> Ranks: ...
    @property
    def cursor(self) -> JobCursor: ...
    @property
    def batch(self) -> int:
        """Samples of a batch over all ranks."""

    @property
    def remainder(self) -> str: ...
    @property
    def restarts(self) -> bool:
        """A new pass is the first epoch again (no shuffle)."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of each source's order; random decoding and transforms follow them."""

    def state_text(self, at: Any, agreement: str = "") -> str: ...
    def agreement(self, at: Any) -> tuple[str, str]:
        """What the ranks must have in common, and its hash in hex."""

    def stream_sources(self, at: Any) -> list[dict[str, Any]]: ...
    def stream_options(self, at: Any, epochs: int, batches_max: int) -> dict[str, Any]: ...
    def describe(self, at: Any) -> str: ...


class Planner(Protocol):
    options: LoaderOptions

    @property
    def start(self) -> Any:
        """The position of a new job."""

    def make(self) -> JobPlan: ...
    def load(self, state: Mapping[str, Any]) -> Any:
        """The position of a state, whose numbers replace the options'."""

    def update_weights(self, step: int, weights: Any) -> str:
        """From ``step`` on; gives the new weights' name, to compare."""

    @property
    def sinks(self) -> list[Callable[[Batch, Any], None]]:
        """See each batch and the position after it, before the trainer does."""

    def stats(self) -> dict[str, Any]:
        """What the sinks found out, for ``loader.stats()``."""


def find_batch(options: LoaderOptions) -> tuple[Ranks, int]:
    """This job's ranks, and the samples of a batch over all of them.

    Raises:
        OptionError: the global batch does not divide by the ranks.
    """
    ranks = find_ranks(options.rank, options.world_size, options.mesh)
    batch = options.global_batch_size or (options.batch_size or 1) * ranks.world_size
    if batch % ranks.world_size:
        raise OptionError(
            f"make loader: global_batch_size={batch} is not a multiple of the "
            f"{ranks.world_size} ranks (from {ranks.source})"
        )
    return ranks, batch


@dataclass(frozen=True)
class Plan:
    """Of one data set."""

    dataset: Dataset
    options: LoaderOptions
    ranks: Ranks
    cursor: Cursor
    choice: Choice  # with block and lanes
    draws: Timeline[_core.Draws] | None  # samples are drawn by weight
    order_hash: str
    index: str
    reasons: tuple[str, ...]
    requests: int  # an epoch, by all ranks
    quality: tuple[tuple[int, float | None], ...]  # (m, safe bound of D(m) or None)

    @property
    def batch(self) -> int:
        return self.cursor.batch

    @property
    def remainder(self) -> str:
        return self.choice.remainder

    @property
    def restarts(self) -> bool:
        return self.choice.shuffle == "none"

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.choice.seed,)

    def describe(self, at: Position) -> str:
        """What ``print(loader)`` shows."""
        ranks, choice, memory = self.ranks, self.choice, self.options.memory
        batches = self.cursor.batches_per_epoch()
        order = (
            f"{choice.shuffle}, seed {choice.seed}, block {choice.block}, lanes {choice.lanes}"
            if self.draws is None
            else f"drawn by weight with replacement, seed {choice.seed}"
        )
        lines = [
            f"loader over {self.dataset.url}",
            f"  rank      {ranks.rank} of {ranks.world_size} (from {ranks.source})",
            f"  batch     {self.batch} ({self.batch // ranks.world_size} a rank), {batches:,} "
            f"batches an epoch, remainder {choice.remainder}",
            f"  order     {order}",
            *self.cost_and_quality(),
            f"  memory    {format_size(memory) if memory else 'not stated'}",
            f"  position  epoch {at[0]}, position {at[1]:,}",
        ]
        return "\n".join(lines + [f"  because   {reason}" for reason in self.reasons])

    def cost_and_quality(self) -> list[str]:
        """Two lines for people: requests an epoch, and how near the order is to a true shuffle."""
        if self.draws is not None:
            return [f"  requests  about {self.requests:,} an epoch: one a draw"]
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
            **self._sampler(self.cursor.step(at)),
        )

    def _sampler(self, step: int) -> dict[str, Any]:
        if self.draws is None:
            return {}
        return {"sampler": self.draws.at(step).hash, "weights_step": self.draws.since(step)}

    def agreement(self, at: Position) -> tuple[str, str]:
        state = self.state_text(at)
        return _core.agreement_text(state, self.batch), _core.agreement_hex(state, self.batch)

    def stream_sources(self, at: Position) -> list[dict[str, Any]]:
        """What the core's stream reads, and in which order."""
        options = self.options
        return [
            {
                "dataset": self.dataset.core,
                "seed": self.choice.seed,
                "shuffle": self.choice.shuffle,
                "block": self.choice.block,
                "lanes": self.choice.lanes,
                "fields": options.fields if options.given & {"decode", "columns"} else [],
                "selection": None if self.draws is not None else self.dataset.selection,
                "draws": self._draws(at),
                "draws_epoch": 0 if self.draws is None else self.cursor.samples,
            }
        ]

    def _draws(self, at: Position) -> list[tuple[int, int, _core.Draws]]:
        """(epoch, position, draws from there on), for the core."""
        if self.draws is None:
            return []
        step = self.cursor.step(at)
        found = [(0, 0, self.draws.at(step))]
        for later, draws in self.draws.after(step):
            epoch, position, _ = self.cursor.position_of_step(later)
            found.append((epoch, position, draws))
        return found

    def stream_options(self, at: Position, epochs: int, batches_max: int) -> dict[str, Any]:
        """What the core's stream needs to know of this pass and this rank."""
        step = self.cursor.step(at)
        end = None if self.draws is None else self.draws.known_until(step)
        if end is not None:
            batches_max = min(batches_max or end - step, end - step)
        return {
            "mixture": None,
            "start": at,
            "epochs": epochs,
            "batches_max": batches_max,
            "share": (0, 1),
            "rank": self.ranks.rank,
            "world": self.ranks.world_size,
            "batch": self.batch // self.ranks.world_size,
            "remainder": self.choice.remainder,
        }


class DatasetPlanner:
    """Plans of a loader over one data set."""

    start: Position = START

    def __init__(self, dataset: Dataset, given: Mapping[str, Any]) -> None:
        self._dataset = dataset
        self.options = options = check_options(given, dataset.fields)
        self._choice = Choice.of(options)
        self._draws: Timeline[_core.Draws] | None = None
        self._set_draws()
        self._meter = meter_of(dataset, options)

    def _set_draws(self) -> None:
        options, dataset, seed = self.options, self._dataset, self._choice.seed
        if options.weights is None:
            return
        self._draws = Timeline(
            options.weights,
            options.weights_every,
            lambda given: draws_of(given, len(dataset), seed, subset=dataset.selection),
        )
        # A draw may be any sample: nothing is gained by blocks.
        self._choice = replace(self._choice, shuffle="global", block=1, lanes=1)

    def make(self) -> Plan:
        """Finds the ranks, then batch, block and lanes.

        Raises:
            OptionError: the global batch does not divide by the ranks, or is larger than the data
                set.
        """
        dataset, options, choice = self._dataset, self.options, self._choice
        ranks, batch = find_batch(options)
        chosen = dataset.choose(
            batch=batch,
            world_size=ranks.world_size,
            memory=options.memory,
            shuffle=choice.shuffle,
            block=choice.block,
            lanes=choice.lanes,
            pre_shuffled=options.pre_shuffled,
            fields=[field["field"] for field in options.fields],
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
        if self._meter is not None:
            self._meter.plan(chosen["block"], chosen["lanes"])
        return Plan(
            dataset=dataset,
            options=options,
            ranks=ranks,
            cursor=cursor,
            choice=replace(choice, block=chosen["block"], lanes=chosen["lanes"]),
            draws=self._draws,
            order_hash=dataset.order_hash,
            index=dataset.index_name,
            reasons=() if self._draws is not None else tuple(chosen["reasons"]),
            requests=chosen["requests"],
            quality=tuple((m, chosen[f"d{m}"]) for m in (1, 4, 32)),
        )

    def load(self, state: Mapping[str, Any]) -> Position:
        """What a state says replaces what the loader was made with; a warning names what differs.

        Raises:
            MismatchError: the state is of another data set, or of another version of the order.
            OptionError: not a state.
        """
        dataset, given = self._dataset, self.options.given
        found = read_state(state, dataset)
        for name in ("seed", "block", "lanes", "shuffle", "remainder"):
            mine = getattr(self._choice, name)
            if name in given and mine != found[name]:
                log.warning(
                    "load_state_dict: the state's %s=%s replaces %s", name, found[name], mine
                )
        self._choice = Choice(**{name: found[name] for name in Choice.__dataclass_fields__})
        self._set_draws()
        at: Position = found["at"]
        self._check_weights(at, found["sampler"])
        return at

    def _check_weights(self, at: Position, sampler: str) -> None:
        """A state's draws go on only with the weights that it was made with."""
        mine = ""
        if self._draws is not None:
            mine = self._draws.at(self.make().cursor.step(at)).hash
        if mine != sampler:
            raise MismatchError(
                f"load_state_dict: the state's weights are {sampler or 'none'}, this loader's "
                f"{mine or 'none'}; give the loader the weights= that the state was made with, "
                "then change them with update_weights()"
            )

    def update_weights(self, step: int, weights: Any) -> str:
        if self._draws is None:
            raise OptionError("update_weights: this loader was made without weights=")
        return self._draws.set(step, weights).hash

    @property
    def sinks(self) -> list[Callable[[Batch, Any], None]]:
        return [self._meter.see] if self._meter is not None else []

    def stats(self) -> dict[str, Any]:
        """How well this rank's batches were mixed; None without ``labels=``."""
        if self._meter is None:
            return {"d1": None, "d4": None, "d32": None, "block_pairs": None}
        return dict(self._meter.stats())


def read_state(state: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """The numbers of a state, after the checks against the data set."""
    if not isinstance(state, Mapping) or "headrace" not in state:
        raise OptionError(
            f"load_state_dict: {type(state).__name__} without a 'headrace' entry is not a "
            "loader's state; pass what state_dict() returned"
        )
    return _core.read_state(
        json.dumps(dict(state)), dataset.order_hash, len(dataset), dataset.filter_hash
    )
