# SPDX-License-Identifier: Apache-2.0
"""What a loader in the stream order will do: the counterpart of plan.py and cursor.py for a data
set that nobody has counted (docs/ordering.md, "Stream order").

A position is the core's StreamAt: epoch, position, and where each stream of this rank stands.
Without ``epoch_size`` (one rank) position counts in the epoch, which ends when all streams have
ended; with it, position counts all samples of the job and epochs are virtual.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace.batch import Batch
from headrace.errors import MismatchError, OptionError, UncountedError
from headrace.loader_options import LoaderOptions, check_options
from headrace.options import Faults, format_size
from headrace.plan import find_batch
from headrace.ranks import Ranks
from headrace.stream_state import COMMON, make_state, read_streams

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["StreamPlan", "StreamPlanner"]

log = logging.getLogger("headrace")

_STATE_VERSION = 1
_NO_END = 1 << 40  # batches of an epoch whose length is not known
# What only makes sense where samples are numbered.
_NEEDS_INDEX = ("block", "lanes", "weights", "labels", "ledger", "pre_shuffled", "mesh")


@dataclass(frozen=True)
class StreamCursor:
    batch: int
    epoch_size: int | None

    def start(self, at: Any) -> Any:
        return at

    def batches_per_epoch(self) -> int:
        if self.epoch_size is None:
            raise UncountedError(
                "the number of batches of an epoch is not known: the data set is read as a stream "
                "without an index; give epoch_size=, or build an index"
            )
        return max(1, self.epoch_size // self.batch)

    def batches_left(self, at: Any) -> int:
        if self.epoch_size is None:
            return _NO_END
        size = self.batches_per_epoch()
        return size - self.step(at) % size

    def epoch(self, at: Any) -> int:
        if self.epoch_size is None:
            return int(at.epoch)
        return self.step(at) // self.batches_per_epoch()

    def position(self, at: Any) -> int:
        return int(at.position)

    def step(self, at: Any) -> int:
        if self.epoch_size is None:
            raise UncountedError(
                "step: how many batches an epoch has is not known without an index; give "
                "epoch_size="
            )
        return int(at.position) // self.batch

    def seek(self, at: Any, epoch: int) -> Any:
        if self.epoch_size is None:
            return _core.StreamAt(epoch, 0, 0, [])
        if epoch == self.epoch(at) + 1:
            return self.next_start(at)
        raise OptionError(
            f"set_epoch({epoch}): with epoch_size= the streams are in epoch {self.epoch(at)} and "
            "can only go on to the next; load a state to stand elsewhere"
        )

    def next_start(self, at: Any) -> Any:
        """Where the next epoch begins when the rest of this one is left out: each stream goes to
        the start of its own next epoch."""
        if self.epoch_size is None:
            return _core.StreamAt(at.epoch + 1, 0, 0, [])
        nowhere = (0, 0, 0, 0)
        cuts = [
            (stream, epoch + (draws > 0), nowhere, nowhere, 0, None)
            for stream, epoch, _, _, draws, _ in at.streams()
        ]
        position = (self.epoch(at) + 1) * self.batches_per_epoch() * self.batch
        return _core.StreamAt(at.epoch, position, 0, cuts)


@dataclass(frozen=True)
class StreamPlan:
    dataset: Dataset
    options: LoaderOptions
    ranks: Ranks
    batch: int
    cursor: StreamCursor
    seed: int
    remainder: str
    chosen: Mapping[str, Any]  # streams, slots, chunk_bytes, fill_bytes, reasons

    restarts = False

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,)

    def state_text(self, at: Any, agreement: str = "") -> str:
        """Of this rank's streams; as JSON text."""
        cuts = {cut[0]: cut for cut in at.streams()}
        nowhere = (0, 0, 0, 0)
        mine = range(self.ranks.rank, self.chosen["streams"], self.ranks.world_size)
        held = [cuts.get(s, (s, at.epoch, nowhere, nowhere, 0, None)) for s in mine]
        common = {
            "headrace": _STATE_VERSION,
            "order": "stream",
            "order_hash": self.dataset.order_hash,
            "identity_hash": self.dataset.identity_hash,
            "seed": self.seed,
            "streams": self.chosen["streams"],
            "slots": self.chosen["slots"],
            "remainder": self.remainder,
            "epoch": at.epoch,
            "position": at.position,
            "turn": at.turn,
        }
        return json.dumps(make_state(common, held))

    def agreement(self, at: Any) -> tuple[str, str]:
        """What the ranks must have in common."""
        state = json.loads(self.state_text(at))
        record = {name: str(state[name]) for name in COMMON}
        record |= {"batch": str(self.batch), "epoch_size": str(self.cursor.epoch_size)}
        text = json.dumps(record)
        return text, hashlib.sha256(text.encode()).hexdigest()[:32]

    def stream_sources(self, at: Any) -> list[dict[str, Any]]:
        options = self.options
        return [
            {
                "dataset": self.dataset.core,
                "seed": self.seed,
                "shuffle": "none",
                "block": 1,
                "lanes": 1,
                "fields": options.fields if options.given & {"decode", "columns"} else [],
                "selection": None,
                "draws": [],
                "draws_epoch": 0,
            }
        ]

    def stream_options(self, at: Any, epochs: int, batches_max: int) -> dict[str, Any]:
        return {
            "mixture": None,
            "start": (0, 0, 0),
            "epochs": 1,
            "batches_max": batches_max,
            "share": (0, 1),
            "rank": self.ranks.rank,
            "world": self.ranks.world_size,
            "batch": self.batch // self.ranks.world_size,
            "remainder": "wrap",
            "streams": {
                "streams": self.chosen["streams"],
                "slots": self.chosen["slots"],
                "chunk_bytes": self.chosen["chunk_bytes"],
                "end": self.remainder,
                "epochs": epochs,
                "at": at,
            },
        }

    def describe(self, at: Any) -> str:
        ranks, chosen, memory = self.ranks, self.chosen, self.options.memory
        size = self.cursor.epoch_size
        epoch = "not counted" if size is None else f"{self.cursor.batches_per_epoch():,} batches"
        fill = format_size(chosen["fill_bytes"])
        lines = [
            f"loader over {self.dataset.url}",
            f"  rank      {ranks.rank} of {ranks.world_size} (from {ranks.source})",
            f"  batch     {self.batch} ({self.batch // ranks.world_size} a rank), epoch: {epoch}, "
            f"remainder {self.remainder}",
            f"  order     stream, seed {self.seed}: {chosen['streams']} streams of "
            f"{chosen['slots']:,} slots",
            "  shuffle quality  not known without an index, which data sorted by class or source "
            'need (docs/ordering.md, "Stream order")',
            f"  start     the slots are filled before the first batch: about {fill} over all ranks",
            f"  memory    {format_size(memory) if memory else 'not stated'}",
            f"  position  epoch {self.cursor.epoch(at)}, position {at.position:,}",
        ]
        return "\n".join(lines + [f"  because   {reason}" for reason in chosen["reasons"]])


class StreamPlanner:
    """Plans of a loader over a data set that is read as a stream."""

    def __init__(self, dataset: Dataset, given: Mapping[str, Any]) -> None:
        given = dict(given)
        faults = Faults("make loader")
        self._streams = faults.count("streams", given.pop("streams", None), least=1) or 0
        self._slots = faults.count("slots", given.pop("slots", None), least=1) or 0
        for name in _NEEDS_INDEX:
            if given.get(name):
                faults.add(f"{name}= needs an index; this data set is read as a stream")
        if given.get("shuffle", True) not in (True, "stratified", "stream"):
            faults.add(
                f"shuffle={given['shuffle']!r}: a stream shuffles in its slots; slots=1 and "
                "streams=1 is nearly the stored order"
            )
        given.pop("shuffle", None)
        faults.raise_any()
        self._dataset = dataset
        self.options = check_options(given, dataset.fields)
        self._remainder_given = given.get("remainder") or given.get("drop_last") is not None
        self._seed = self.options.seed
        self._remainder: str | None = None

    @property
    def start(self) -> Any:
        return _core.StreamAt(0, 0, 0, [])

    def make(self) -> StreamPlan:
        options = self.options
        ranks, batch = find_batch(options)
        chosen = _core.choose_streams(
            self._dataset.core,
            ranks.world_size,
            options.memory or 0,
            self._streams,
            self._slots,
        )
        return StreamPlan(
            dataset=self._dataset,
            options=options,
            ranks=ranks,
            batch=batch,
            cursor=StreamCursor(batch, options.epoch_size),
            seed=self._seed,
            remainder=self._remainder or self._find_remainder(ranks),
            chosen=chosen,
        )

    def _find_remainder(self, ranks: Ranks) -> str:
        """With ``epoch_size`` streams go on over the end of an epoch; else the last batch is short
        unless told otherwise, so that every sample comes once."""
        given = self.options.remainder if self._remainder_given else None
        if self.options.epoch_size is not None:
            if given not in (None, "wrap"):
                raise OptionError(
                    f"make loader: remainder={given!r} with epoch_size=: streams go on where they "
                    'stand when an epoch ends, as "wrap" does'
                )
            return "wrap"
        if ranks.world_size > 1 or given == "wrap":
            raise OptionError(
                "make loader: the data set is read as a stream, whose number of samples is not "
                f"known, so that an epoch over {ranks.world_size} ranks has no common end: give "
                "epoch_size= (samples of an epoch over all ranks), or build an index"
            )
        return given or "short"

    def load(self, state: Mapping[str, Any]) -> Any:
        """See :meth:`headrace.plan.DatasetPlanner.load`."""
        if not isinstance(state, Mapping) or "headrace" not in state:
            raise OptionError(
                f"load_state_dict: {type(state).__name__} without a 'headrace' entry is not a "
                "loader's state; pass what state_dict() returned"
            )
        if state["headrace"] != _STATE_VERSION or state.get("order") != "stream":
            raise MismatchError(
                "load_state_dict: the state is not of the stream order of this version "
                f"(headrace={state['headrace']}, order={state.get('order', 'indexed')}); open the "
                "data set as the job that saved it did"
            )
        dataset = self._dataset
        for name in ("order_hash", "identity_hash"):
            mine = getattr(dataset, name)
            if state.get(name) != mine:
                what = "other shards" if name == "order_hash" else "other bytes (ETags)"
                raise MismatchError(
                    f"load_state_dict: the state is of {what}: {name} {state.get(name)} in the "
                    f"state, {mine} of {dataset.url}; offsets into compressed data are not "
                    "comparable: begin a new job"
                )
        at = read_streams(state)
        mine_now = {
            "seed": self._seed,
            "streams": self._streams or None,
            "slots": self._slots or None,
        }
        for name, mine in mine_now.items():
            theirs = state.get(name)
            if isinstance(theirs, bool) or not isinstance(theirs, int) or theirs < 0:
                raise MismatchError(f"load_state_dict: the state is damaged: {name}={theirs!r}")
            told = name != "seed" or "seed" in self.options.given
            if told and mine is not None and mine != theirs:
                log.warning("load_state_dict: the state's %s=%s replaces %s", name, theirs, mine)
        if state.get("remainder") not in ("short", "drop", "pad", "wrap"):
            raise MismatchError(
                f"load_state_dict: the state is damaged: remainder={state.get('remainder')!r}"
            )
        if (state.get("remainder") == "wrap") != (self.options.epoch_size is not None):
            raise MismatchError(
                "load_state_dict: the state was saved "
                f"{'with' if state.get('remainder') == 'wrap' else 'without'} epoch_size=; make "
                "the loader in the same way"
            )
        self._seed, self._streams, self._slots = state["seed"], state["streams"], state["slots"]
        self._remainder = str(state["remainder"])
        return at

    def update_weights(self, step: int, weights: Any) -> str:
        raise OptionError("update_weights: weights need an index; this data set is a stream")

    @property
    def sinks(self) -> list[Callable[[Batch, Any], None]]:
        return []

    def stats(self) -> dict[str, Any]:
        return {"d1": None, "d4": None, "d32": None, "block_pairs": None}
