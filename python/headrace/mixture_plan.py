# SPDX-License-Identifier: Apache-2.0
"""What a loader over a mixture will do: the counterpart of plan.py and cursor.py.

A position is the core's MixturePoint as a dict: epoch, position, units, steps, sources (epoch,
position of each) and the weights in force.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headrace import _core
from headrace.batch import Batch
from headrace.errors import OptionError
from headrace.loader_options import LoaderOptions, check_options
from headrace.mixture import Mixture, decode_of
from headrace.options import format_size, parse_size
from headrace.plan import find_batch
from headrace.ranks import Ranks
from headrace.weights import Timeline, name_id

__all__ = ["MixturePlan", "MixturePlanner"]

log = logging.getLogger("headrace")

Point = dict[str, Any]

START: Point = {"epoch": 0, "position": 0, "units": 0, "steps": 0, "sources": [], "weights": []}
# What the sources share where the user states no memory (plan/defaults.h).
_MEMORY_STATED = "1GiB"


@dataclass(frozen=True)
class MixtureCursor:
    """Arithmetic of a mixture's epochs; the core's MixtureSchedule does it."""

    facts: Mapping[str, Any]  # of the core's MixtureSpec, but its changes
    weights: Timeline[tuple[int, ...]]

    def spec(self, at: Point) -> dict[str, Any]:
        """For the core: with the changes of weights that matter from ``at`` on."""
        step = at["steps"]
        changes = [(step, list(self.weights.at(step)))]
        for later, weights in self.weights.after(step):
            if list(weights) != changes[-1][1]:
                changes.append((later, list(weights)))
        if step and (not self.weights.changes_at(step) or list(at["weights"]) == changes[0][1]):
            del changes[0]  # in force already
        return {**self.facts, "changes": changes}

    def _schedule(self, at: Point) -> _core.MixtureSchedule:
        return _core.MixtureSchedule(self.spec(at), at)

    def start(self, at: Point) -> Point:
        return self._schedule(at).point

    def batches_per_epoch(self) -> int:
        return self._schedule(START).batches_per_epoch

    def batches_left(self, at: Point) -> int:
        return self._schedule(at).batches_left

    def epoch(self, at: Point) -> int:
        return int(self.start(at)["epoch"])  # behind the last batch of an epoch: the next one

    def position(self, at: Point) -> int:
        return int(self.start(at)["position"])

    def step(self, at: Point) -> int:
        return int(at["steps"])

    def next_start(self, at: Point) -> Point:
        schedule = self._schedule(at)
        schedule.next_epoch()
        return schedule.point

    def seek(self, at: Point, epoch: int) -> Point:
        if epoch == self.epoch(at) + 1:
            return self.next_start(at)
        raise OptionError(
            f"set_epoch({epoch}): the mixture is in epoch {self.epoch(at)} and can only go on to "
            "the next; load a state to stand elsewhere"
        )


@dataclass(frozen=True)
class MixturePlan:
    mixture: Mixture
    options: LoaderOptions
    ranks: Ranks
    batch: int
    cursor: MixtureCursor
    sources: tuple[Mapping[str, Any], ...]  # for the core's stream
    reasons: tuple[str, ...]
    requests: int

    remainder = "wrap"
    restarts = False

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(source["seed"] for source in self.sources)

    def state_text(self, at: Point, agreement: str = "") -> str:
        facts, sources = self.cursor.facts, []
        at = self.cursor.start(at)
        for i, (name, dataset) in enumerate(self.mixture.sources.items()):
            order = self.sources[i]
            epoch, position = at["sources"][i]
            sources.append(
                {
                    "name": name,
                    "order_hash": dataset.order_hash,
                    "filter": dataset.filter_hash,
                    "index": dataset.index_name,
                    "block": order["block"],
                    "lanes": order["lanes"],
                    "shuffle": order["shuffle"],
                    "epoch": epoch,
                    "position": position,
                    "weight": at["weights"][i],
                    "at_end": facts["ends"][i],
                }
            )
        return _core.make_mixture_state(
            seed=facts["seed"],
            epoch=at["epoch"],
            position=at["position"],
            group=facts["group"],
            units=at["units"],
            steps=at["steps"],
            sources=sources,
            agreement=agreement,
        )

    def agreement(self, at: Point) -> tuple[str, str]:
        spec = self.cursor.spec(at)
        return _core.mixture_agreement(
            self.state_text(at), self.batch, spec["epoch_samples"], spec["changes"]
        )

    def stream_sources(self, at: Point) -> list[dict[str, Any]]:
        return [dict(source) for source in self.sources]

    def stream_options(self, at: Point, epochs: int, batches_max: int) -> dict[str, Any]:
        end = self.cursor.weights.known_until(at["steps"])
        if end is not None:
            ahead = end - at["steps"]
            batches_max = min(batches_max or ahead, ahead)
        return {
            "mixture": self.cursor.spec(at),
            "start": at,
            "epochs": epochs,
            "batches_max": batches_max,
            "share": (0, 1),
            "rank": self.ranks.rank,
            "world": self.ranks.world_size,
            "batch": self.batch // self.ranks.world_size,
            "remainder": "wrap",
        }

    def describe(self, at: Point) -> str:
        ranks, memory, facts = self.ranks, self.options.memory, self.cursor.facts
        weights = self.cursor.weights.at(at["steps"])
        lines = [
            f"loader over a mixture of {len(self.sources)} sources",
            f"  rank      {ranks.rank} of {ranks.world_size} (from {ranks.source})",
            f"  batch     {self.batch} ({self.batch // ranks.world_size} a rank), "
            f"{self.cursor.batches_per_epoch():,} batches an epoch, groups of {facts['group']}",
        ]
        for name, source, weight in zip(facts["names"], self.sources, weights, strict=True):
            lines.append(
                f"  {name:<9} {weight / sum(weights):7.3%} of the rows: {source['shuffle']}, block "
                f"{source['block']}, lanes {source['lanes']}, "
                f"{self.mixture.sources[name].url}"
            )
        lines += [
            f"  requests  about {self.requests:,} for one epoch of every source",
            f"  memory    {format_size(memory) if memory else 'not stated'}",
            f"  position  epoch {at['epoch']}, position {at['position']:,}, step {at['steps']:,}",
        ]
        return "\n".join(lines + [f"  because   {reason}" for reason in self.reasons])


class MixturePlanner:
    """Plans of a loader over a mixture."""

    start: Point = START

    def __init__(self, mixture: Mixture, given: Mapping[str, Any]) -> None:
        given = dict(given)
        self._group: int | None = given.pop("group", None)
        self._mixture = mixture
        each = {
            name: check_options(
                {**given, "decode": decode_of(given.get("decode"), name, mixture.names)},
                dataset.fields,
            )
            for name, dataset in mixture.sources.items()
        }
        options = next(iter(each.values()))
        if options.weights is not None:
            raise OptionError("make loader: a mixture has its weights from hr.mix(weights=...)")
        if options.labels is not None:
            raise OptionError("make loader: labels=: only over one data set, not over a mixture")
        if "remainder" in given and given["remainder"] not in (None, "wrap"):
            raise OptionError(
                f"make loader: remainder={given['remainder']!r}: a mixture's sources go on where "
                'they stand when its epoch ends, as "wrap" does'
            )
        self._fields = {
            name: one.fields if one.given & {"decode", "columns"} else []
            for name, one in each.items()
        }
        self._epoch_samples = options.epoch_size or 0
        self.options = replace(options, epoch_size=None)
        self._seed = options.seed
        self._orders: dict[str, tuple[int, int, str]] = {}  # block, lanes, shuffle; of a state
        self._weights = Timeline(
            mixture.weights,
            options.weights_every,
            lambda weights: tuple(mixture.integer_weights(weights)),
        )
        self._rows = np.zeros(len(mixture.sources), np.int64)

    def make(self) -> MixturePlan:
        mixture, options = self._mixture, self.options
        ranks, batch = find_batch(options)
        group = batch if mixture.single else self._group or ranks.world_size
        sources, reasons, requests = [], [], 0
        shares = self._memory_shares()
        memory = options.memory or parse_size(_MEMORY_STATED)
        for name, dataset in mixture.sources.items():
            block, lanes, shuffle = self._orders.get(
                name, (options.block, options.lanes, options.shuffle)
            )
            rows = max(1, round(batch * shares[name][0] / ranks.world_size)) * ranks.world_size
            chosen = dataset.choose(
                batch=rows,
                world_size=ranks.world_size,
                memory=max(1, int(memory * shares[name][1])),
                shuffle=shuffle,
                block=block,
                lanes=lanes,
                pre_shuffled=options.pre_shuffled,
            )
            requests += chosen["requests"]
            reasons += [f"{name}: {reason}" for reason in chosen["reasons"]]
            sources.append(
                {
                    "dataset": dataset.core,
                    "seed": _core.mixture_seed(self._seed, name_id(name)),
                    "shuffle": shuffle,
                    "block": chosen["block"],
                    "lanes": chosen["lanes"],
                    "fields": self._fields[name],
                    "selection": dataset.selection,
                    "draws": [],
                    "draws_epoch": 0,
                }
            )
        facts = {
            "names": mixture.names,
            "samples": [len(dataset) for dataset in mixture.sources.values()],
            "ends": [mixture.ends[name] for name in mixture.names],
            "seed": self._seed,
            "group": group,
            "batch": batch,
            "rank": ranks.rank,
            "world": ranks.world_size,
            "epoch_samples": self._epoch_samples,
        }
        cursor = MixtureCursor(facts, self._weights)
        cursor.batches_per_epoch()  # says now what does not fit together
        return MixturePlan(
            mixture, options, ranks, batch, cursor, tuple(sources), tuple(reasons), requests
        )

    def _memory_shares(self) -> dict[str, tuple[float, float]]:
        """(share of the rows, share of the bytes) of each source, by the first weights."""
        weights = self._weights.at(0)
        rows = np.array(weights, float) / sum(weights)
        mean = np.array(
            [d.core.sample_bytes / max(1, d.core.samples) for d in self._mixture.sources.values()]
        )
        nbytes = np.maximum(rows * mean, 1e-9)
        nbytes /= nbytes.sum()
        return {
            name: (float(rows[i]), float(nbytes[i])) for i, name in enumerate(self._mixture.names)
        }

    def load(self, state: Mapping[str, Any]) -> Point:
        """See :meth:`headrace.plan.DatasetPlanner.load`."""
        if not isinstance(state, Mapping) or "headrace" not in state:
            raise OptionError(
                f"load_state_dict: {type(state).__name__} without a 'headrace' entry is not a "
                "loader's state; pass what state_dict() returned"
            )
        context = [
            {
                "name": name,
                "order_hash": d.order_hash,
                "filter": d.filter_hash,
                "samples": len(d),
                "at_end": self._mixture.ends[name],
            }
            for name, d in self._mixture.sources.items()
        ]
        found = _core.read_mixture_state(json.dumps(dict(state)), context)
        for name, mine, theirs in (
            ("seed", self._seed, found["seed"]),
            ("group", self._group, found["group"]),
        ):
            if name in self.options.given and mine != theirs:
                log.warning("load_state_dict: the state's %s=%s replaces %s", name, theirs, mine)
        self._seed, self._group = found["seed"], found["group"]
        self._orders = dict(zip(self._mixture.names, found["orders"], strict=True))
        point: Point = found["point"]
        return point

    def update_weights(self, step: int, weights: Any) -> str:
        return str(list(self._weights.set(step, weights)))

    @property
    def sinks(self) -> list[Callable[[Batch, Any], None]]:
        return [self._count]

    def _count(self, batch: Batch, after: Point) -> None:
        if batch.sources is not None:
            rows = batch.sources[batch.valid]
            self._rows += np.bincount(rows, minlength=len(self._rows))
        self._after = after

    def stats(self) -> dict[str, Any]:
        """``sources``: by name, rows delivered on this rank, their share, and the epoch and
        position where the source stands (over all ranks)."""
        after = getattr(self, "_after", None)
        total = max(1, int(self._rows.sum()))
        out = {}
        for i, name in enumerate(self._mixture.names):
            epoch, position = after["sources"][i] if after else (0, 0)
            rows = int(self._rows[i])
            out[name] = {"rows": rows, "share": rows / total, "epoch": epoch, "position": position}
        return {"sources": out}
