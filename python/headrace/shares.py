# SPDX-License-Identifier: Apache-2.0
"""Worker processes' shares of a rank's batches: worker w of W makes the batches w, w + W, ... of a
pass, whole.

torch's DataLoader takes from its workers in turn, so the rank's batches come out in their order,
the same as without workers. Nothing here decides what a batch is; that is the loader's plan.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.data as torch_data

from headrace.batch import Batch
from headrace.cursor import Cursor
from headrace.errors import OptionError, UnsupportedError
from headrace.loader import Loader

if TYPE_CHECKING:
    from headrace.feed import Feed
    from headrace.ranks import Ranks

__all__ = ["Share", "ShareLoader", "ShareRun", "WorkerFeed", "refuse_stream", "state_without_share"]

State = dict[str, Any]
# A batch, the position after it, what it was made of (without columns), the feed's counters so far.
Made = tuple[Any, Any, Any, dict[str, int]]

_COUNTERS = ("batches", "rows", "consumer_nanos", "wait_transform_nanos")
# Of the workers' counters, those that add up over them: each has memory and requests of its own.
_REPORTED = (
    "bytes_received",
    "bytes_delivered",
    "requests",
    "retries",
    "throttles",
    "hedges",
    "hedges_won",
    "rereads",
    "bad_samples",
    "evictions",
    "cache_wanted_bytes",
    "cache_asked_bytes",
    "cache_hit_bytes",
    "cache_write_bytes",
    "cache_refused",
    "cache_evictions",
    "cache_corrupt",
    "cache_errors",
    "cache_slow",
    "cache_bypassed",
    "requests_in_flight_max",
    "memory_peak",
    "memory_max",
)
_SHARE = "torch_worker"  # the entry of a worker's state that says what is its share


def state_without_share(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != _SHARE}


def refuse_stream(dataset: Any) -> None:
    """Streams are read from their beginning: every worker would read everything.

    Raises:
        UnsupportedError: the data set has no index and is read as a stream.
    """
    if not getattr(dataset, "counted", True):
        raise UnsupportedError(
            "worker processes over data that are read as a stream: each would read all of them; "
            "use dataset.loader(...), or hr.torch.IterableDataset with num_workers=0"
        )


class ShareLoader(Loader):
    """A worker's loader: runs from any state and makes its share of the batches only."""

    def __init__(self, dataset: Any, options: Mapping[str, Any], ranks: Ranks) -> None:
        refuse_stream(dataset)
        # Its owner's process has the mesh and writes the ledger; block and lanes are in the state.
        left_out = ("mesh", "ledger", "block", "lanes")
        own = {name: value for name, value in options.items() if name not in left_out}
        own.update(rank=ranks.rank, world_size=ranks.world_size, agree=_alone)
        if own.get("device") is not None:
            own["device"] = "cpu"  # its owner's process moves the batches
        super().__init__(dataset, **own)
        self._made_of = (dataset, dict(options), ranks)
        self._first, self._every = 0, 1
        self._seen: Batch | None = None  # what the last batch was made of, without its columns

    def _make_feed(self, sources: Any, core_options: Any, **options: Any) -> Feed:
        options["sinks"] = [self._see]
        # The core reads for these batches alone: workers share blocks, but no bytes.
        core_options["share"] = (self._first, self._every)
        return super()._make_feed(sources, core_options, **options)

    def _see(self, made: Batch, after: Any) -> None:
        self._seen = made.with_columns({})

    def __reduce__(self) -> Any:
        return (ShareLoader, self._made_of)

    def enter(self, state: Mapping[str, Any] | None) -> None:
        """Stands at ``state``; where a larger batch than before does not fit the rest of its epoch,
        at the next one's start."""
        if state is not None:
            self.load_state_dict(state)
        cursor = self._plan().cursor
        if cursor.batches_left(self._at) == 0:
            self._at = cursor.next_start(self._at)

    def run(self, first: int, every: int, last_epoch: int | None = None) -> Iterator[Made]:
        """The ``first``-th batch from here and every ``every``-th behind it.

        Ends with the epoch, or with the epoch before ``last_epoch``.
        """
        plan = self._plan()
        self._first, self._every, self._last_epoch = first, every, last_epoch
        self._left = plan.cursor.batches_left(self._at)
        self._start_feed(plan)
        left = range(first, self._left, every) if last_epoch is None else itertools.count()
        try:
            for _ in left:
                feed = self._feed
                if feed is None or (found := feed.next()) is None:
                    return
                self._at = found[1]
                yield *found, self._seen, feed.stats()
        finally:
            self._stop_feed()
            self._left, self._last_epoch = 0, None

    def state_behind(self, epoch: int) -> State:
        """The state at which the pass after this one, of ``epoch``, begins; the loader stays where
        it is, in that pass or just behind it."""
        here, cursor = self._at, self._plan().cursor
        if isinstance(cursor, Cursor) and cursor.remainder == "wrap" and cursor.epoch_size is None:
            if cursor.epoch(here) == epoch:  # the last batch reaches into the next epoch
                count = epoch * cursor.samples + here[1] + cursor.batches_left(here) * cursor.batch
                self._at = (*divmod(count, cursor.samples), 0)
        else:
            self.set_epoch(epoch + 1)
        self._fresh, self._left = False, 0
        state = self.next_state()
        self._at, self._fresh = here, True
        return state

    @property
    def batches_left(self) -> int:
        """Of the rank, in the epoch."""
        left: int = self._plan().cursor.batches_left(self._at)
        return left

    @property
    def global_batch(self) -> int:
        return self._plan().batch

    def columns_of(self, batch: Any) -> Any:
        columns = self._options.columns
        if columns is None or not isinstance(batch, Batch):
            return batch
        return tuple(batch[name] for name in columns)


def _unchanged(item: Any) -> Any:
    return item


def _alone(text: str) -> list[str]:
    """A worker agrees with nobody: its owner's process does."""
    return [text]


class Share(Iterator[Any]):
    """One worker's part of the passes of an IterableDataset; remembers how far it came."""

    def __init__(
        self, loader: ShareLoader, initial: State | None, worker: int, workers: int
    ) -> None:
        self.loader, self.worker, self.workers = loader, worker, workers
        self._initial = initial  # where the first pass begins
        self.passes = 0  # begun in this process
        self._resumed: dict[str, Any] | None = None
        self._epoch = 0  # of the pass
        self._next = worker  # batches of the rank between the loader's state and this worker's next
        self._due = 0  # this worker's batches left of the pass
        self._run: Iterator[Made] = iter(())

    def begin(
        self, agree: Callable[[Callable[[State | None], tuple[State, State]]], State]
    ) -> None:
        """Begins a pass.

        Args:
            agree: given a function that makes this pass's start and the next one's out of what is
                known of the start (None: nothing), gives the start that all workers take.
        """
        loader, resumed = self.loader, self._resumed
        self._resumed = None
        self.passes += 1
        if resumed is not None:
            here, share = state_without_share(resumed), resumed[_SHARE]
            self._epoch, self._next = int(share["epoch"]), int(share["next"])
            loader.load_state_dict(here)
            agree(lambda _: (here, loader.state_behind(self._epoch)))
            if loader.epoch == self._epoch:
                self._go()
            else:
                self._due, self._run = 0, iter(())
            return

        def propose(known: State | None) -> tuple[State, State]:
            loader.enter(known or self._initial)
            return loader.state_dict(), loader.state_behind(loader.epoch)

        loader.enter(agree(propose))
        self._epoch, self._next = loader.epoch, self.worker
        self._go()

    def _go(self) -> None:
        self._due = len(range(self._next, self.loader.batches_left, self.workers))
        self._run = self.loader.run(self._next, self.workers)

    def __next__(self) -> Any:
        found = next(self._run, None)
        if found is None:
            if self._due:
                raise UnsupportedError(
                    "weights that change with the step in a DataLoader's worker: use "
                    "hr.torch.DataLoader, or num_workers=0"
                )
            raise StopIteration
        batch = found[0]
        self._next, self._due = self.workers - 1, self._due - 1
        return self.loader.columns_of(batch)

    def state_dict(self) -> State:
        share = {
            "worker": self.worker,
            "workers": self.workers,
            "batch": self.loader.global_batch,
            "epoch": self._epoch,
            "next": self._next,
        }
        return {**self.loader.state_dict(), _SHARE: share}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on behind this worker's last batch.

        Raises:
            OptionError: the state of another worker, number of workers or global batch.
        """
        share = state.get(_SHARE)
        mine = {"worker": self.worker, "workers": self.workers, "batch": self.loader.global_batch}
        theirs = {name: share.get(name) for name in mine} if isinstance(share, Mapping) else None
        if theirs != mine:
            raise OptionError(
                f"load_state_dict in DataLoader worker {self.worker}: the state is for {theirs}, "
                f"this is {mine}; to change workers, ranks or batch size, call "
                "dataset.load_state_dict(hr.torch.loader_state(state)) before the DataLoader is "
                "made"
            )
        self._resumed = dict(state)


class ShareRun(torch_data.IterableDataset[Any]):
    """What the workers of :class:`headrace.torch.DataLoader` run: one feed, dealt out in turn."""

    def __init__(self, loader: ShareLoader, state: State, last_epoch: int | None) -> None:
        super().__init__()
        self._loader, self._state, self._last_epoch = loader, state, last_epoch

    def __iter__(self) -> Iterator[Made]:
        worker = torch_data.get_worker_info()
        assert worker is not None, "runs in workers"
        self._loader.enter(self._state)
        return self._loader.run(worker.id, worker.num_workers, self._last_epoch)


class WorkerFeed:
    """In the place of a Feed: the batches of ``workers`` processes, in order."""

    def __init__(
        self,
        run: ShareRun,
        workers: int,
        torch_options: Mapping[str, Any],
        *,
        device: Any = None,
        sinks: Sequence[Callable[[Any, Any], None]] = (),
        **_: Any,
    ) -> None:
        # A generator of its own: the user's random numbers do not depend on the number of feeds.
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            run,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),
            **torch_options,
        )
        self._batches: Iterator[Any] | None = iter(loader)
        self._mover, self._sinks = None if device is None else device.mover(), sinks
        self._workers = workers
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._reported: dict[int, dict[str, int]] = {}  # by worker
        self._began = time.perf_counter_ns()
        self._returned = 0

    def next(self) -> tuple[Any, Any] | None:
        begin = time.perf_counter_ns()
        if self._batches is None or (found := next(self._batches, None)) is None:
            return None
        batch, after, made, counters = found
        self._reported[self._counters["batches"] % self._workers] = counters
        if isinstance(batch, Batch):
            if self._mover is not None:
                batch = self._mover.end(self._mover.begin(batch))
            self._counters["rows"] += len(batch.ids)
        for sink in self._sinks:
            sink(made, after)
        self._count(begin)
        return batch, after

    def _count(self, begin: int) -> None:
        end, counters = time.perf_counter_ns(), self._counters
        if counters["batches"] == 0:
            counters["first_batch_nanos"] = end - self._began
        else:
            counters["wait_transform_nanos"] += end - begin
            counters["consumer_nanos"] += begin - self._returned
        counters["batches"] += 1
        counters["elapsed_nanos"] = end - self._began
        self._returned = end

    def stats(self) -> dict[str, int]:
        """Times as the trainer's process saw them, bytes and requests as the workers did."""
        summed = {
            name: sum(counters.get(name, 0) for counters in self._reported.values())
            for name in _REPORTED
        }
        return {**summed, **self._counters}

    def close(self) -> None:
        self._batches = None  # ends the worker processes
