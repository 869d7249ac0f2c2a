# SPDX-License-Identifier: Apache-2.0
"""Loader: batches of one rank, epoch after epoch, exact and resumable.

The contract of iterating: a *pass* begins at ``loader.position`` and ends with its epoch; ``break``
leaves the rest of the epoch out unless ``resume()`` is called; ``epochs(n)`` is the resumable form.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headrace._exit import close_at_exit
from headrace.agree import agree_ranks, compare_texts
from headrace.batch import Batch
from headrace.errors import Error, OptionError
from headrace.feed import Feed
from headrace.ledger import Ledger, Run
from headrace.passes import Pass
from headrace.plan import JobPlan, Planner
from headrace.ranks import find_ranks
from headrace.stats import Stats
from headrace.transform import BatchTransformer, make_transformer

if TYPE_CHECKING:
    from headrace.dataset import Dataset
    from headrace.mixture import Mixture

__all__ = ["Loader"]

log = logging.getLogger("headrace")

_NO_END = 1 << 32  # epochs a stream may run over when batches, not epochs, end the pass


class Loader:
    """Iterates over batches of a data set. Made by ``dataset.loader(...)``.

    Args:
        batch_size: samples of a batch on each rank; or ``global_batch_size`` over all ranks.
        shuffle: True or ``"stratified"``; ``"block"``; ``"global"`` (a true shuffle, one request a
            sample); False for the stored order.
        seed: of the order and of all random decoding.
        decode: ``{field: decoder}``, see :mod:`headrace.decode`; the batch then has these columns.
            Without it: every field, as the format itself says (raw bytes in a tar).
        columns: names of the columns wanted; batches are then tuples in this order.
        device: torch tensors on this device, or a :class:`headrace.Device`; None: numpy arrays.
        memory: of this loader: in flight + shuffle + batches, e.g. ``"2GiB"``.
        remainder: ``"drop"`` (default when shuffled), ``"pad"`` (default when not; see
            ``batch.valid``), ``"wrap"``, ``"short"``. ``drop_last=True / False`` means drop / pad.
        block, lanes: of the order; the default follows from data set, batch and memory.
        pre_shuffled: the samples were shuffled when they were written: larger blocks cost nothing.
        epoch_size: samples of a virtual epoch, over all ranks; epochs go on where the last ended.
        rank, world_size, mesh: the data-parallel rank; default: see :mod:`headrace.ranks`.
        transform: function of a sample dict, run on threads; ``hr.rng()`` inside it is seeded.
        workers: processes that run ``transform`` and ``collate`` instead (docs/transforms.md).
        worker_timeout: seconds that a sample may take in them, default 600; 0: no limit.
        batch_transform: function of a batch, run last.
        collate: packs the sample dicts that ``transform`` returned.
        on_bad_sample: ``"raise"``, or ``"skip"``: counted, logged, the row marked not valid.
        agree: function that gives every rank's text for this rank's, in rank order; the default
            uses torch.distributed when it is initialised.
        weights: draw samples with replacement in proportion to these: an array [N], see
            :func:`headrace.class_weights`; :class:`headrace.WeightRuns`; or a function of the step
            that returns them, asked every ``weights_every`` steps. An epoch is N draws.
        ledger: folder in which each rank records what it was handed; see ``hr.audit``.
        labels: class or group of each sample in stored order, [N]: ``stats()`` then measures how
            well this rank's batches are mixed (``d1``, ``d4``, ``d32``, ``block_pairs``).

    Raises:
        OptionError: listing every fault of the options.
    """

    def __init__(self, dataset: Dataset | Mixture, **options: Any) -> None:
        self._dataset = dataset
        self._given = dict(options)
        self._planner: Planner = dataset.planner(options)
        self._options = self._planner.options
        self._made_plan: JobPlan | None = None
        self._agreement = ""
        self._agreed = False
        self._run = Run()
        self._ledger = Ledger(self._options.ledger) if self._options.ledger is not None else None
        self._loaded: Any = None  # a state's, as long as the ledger does not say so

        # Positions are opaque here: the plan's cursor reads them.
        self._at: Any = self._planner.start  # after what the trainer has
        self._left = 0  # batches left of the current pass
        self._pass = 0  # number of the current pass: an older iterator is told so
        self._begun_at: Any = None  # where it began
        self._fresh = True  # position was set, not reached: the next pass begins there
        self._last_epoch: int | None = None  # inside epochs(n): n
        self._feed: Feed | None = None
        self._feed_begin: Any = None
        self._feed_at: Any = None
        self._feed_end: int | None = None  # the feed goes on to the end of this epoch
        self._transformer: BatchTransformer | None = None
        self._past: list[Mapping[str, int]] = []
        self._pid = os.getpid()
        self._closed = False
        close_at_exit(self)

    # --- what a rank needs to know before its first batch ---------------------------------------

    def _plan(self) -> JobPlan:
        """Made at first need and not in the constructor, because process groups come late; made
        again when one came between len(loader) and the first pass."""
        self._check_usable()
        plan = self._made_plan
        if plan is not None and not self._agreed:
            options = self._options
            if find_ranks(options.rank, options.world_size, options.mesh) != plan.ranks:
                plan = None
        if plan is None:
            plan = self._made_plan = self._planner.make()
        return plan

    def _check_usable(self) -> None:
        if self._closed:
            raise Error("use of a closed loader: make a new one with dataset.loader(...)")
        if self._pid == os.getpid():
            return
        # A forked child has its own engine; it cannot go on with a pass of its parent.
        self._pid = os.getpid()
        inherited, self._feed, self._transformer = self._feed, None, None
        if inherited is not None and self._left:
            self._pass += 1
            raise Error(
                "use of a loader in a forked process while its parent iterates: threads and "
                "connections do not survive a fork; begin a new iteration here, or use spawn"
            )

    def _agree(self, plan: JobPlan) -> None:
        """Once: the ranks compare what they are about to do (docs/ordering.md, "Agreement")."""
        if not self._agreed:
            found = agree_ranks(plan, self._at, self._options.agree, self._run)
            self._agreement, self._run = found
            self._agreed = True

    # --- passes -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Batches of this rank in a full epoch (or virtual epoch)."""
        return self._plan().cursor.batches_per_epoch()

    def __iter__(self) -> Iterator[Any]:
        """A pass from ``loader.position``; after ``break`` or a finished pass, the next epoch."""
        plan = self._plan()
        self._at = self._pass_start(plan)
        return self._begin(plan)

    def _pass_start(self, plan: JobPlan) -> Any:
        if self._fresh:
            return self._at
        whole = self._last_epoch is None and self._options.epoch_size is None
        if whole and plan.restarts:
            return self._planner.start
        # A pass of which nothing was taken is none: frameworks try whether iter() works.
        left = self._left and self._at != self._begun_at
        return plan.cursor.next_start(self._at) if left else self._at

    def resume(self) -> Iterator[Any]:
        """Goes on with a pass that ``break`` or an exception left."""
        return self._begin(self._plan())

    def _begin(self, plan: JobPlan) -> Iterator[Any]:
        self._agree(plan)
        self._left = plan.cursor.batches_left(self._at)
        if self._left == 0:  # a larger batch than before does not fit the rest of the epoch
            self._at = plan.cursor.next_start(self._at)
            self._left = plan.cursor.batches_left(self._at)
        if self._ledger is not None:
            self._ledger.begin(self._dataset, plan, self._at, run=self._run, loaded=self._loaded)
        self._loaded, self._begun_at, self._fresh = None, self._at, False
        self._pass += 1
        goes_on = self._feed_end is not None and self._feed_end == self._last_epoch
        if self._feed is None or not goes_on or self._feed_at != self._at:
            self._start_feed(plan)
        return Pass(self, self._pass)

    def _start_feed(self, plan: JobPlan) -> None:
        self._stop_feed()
        options = self._options
        epochs, batches = 1, 0
        if options.epoch_size is not None:
            more = 0 if self._last_epoch is None else self._last_epoch - 1 - self.epoch
            epochs, batches = _NO_END, self._left + more * len(self)
        elif self._last_epoch is not None:
            epochs = max(1, self._last_epoch - plan.cursor.epoch(self._at))
        self._transformer = make_transformer(options, plan.seeds, self._transformer)
        core_options = {
            **plan.stream_options(self._at, epochs, batches),
            "skip_bad": options.skip_bad,
            "memory_bytes": options.memory or 0,
        }
        self._feed = self._make_feed(
            plan.stream_sources(self._at),
            core_options,
            transformer=self._transformer,
            batch_transform=options.batch_transform,
            device=options.device,
            sinks=self._sinks(),
        )
        self._feed_begin = self._feed_at = self._at
        self._feed_end = self._last_epoch

    def _sinks(self) -> list[Callable[[Batch, Any], None]]:
        ledger = [self._ledger.write] if self._ledger is not None else []
        return [*ledger, *self._planner.sinks]

    def _make_feed(self, *given: Any, **options: Any) -> Feed:
        return Feed(*given, **options)  # elsewhere in headrace.torch: in worker processes

    def _stop_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None and self._pid == os.getpid():
            feed.close()
            self._past.append(feed.stats())

    def _advance(self, number: int) -> Any:
        """The next batch of pass ``number``."""
        self._check_usable()
        if number != self._pass:
            raise Error("this iterator is over: a newer iteration of the same loader has begun")
        found = self._next_of_feed() if self._left else None
        if found is None:
            self._end_pass()
            raise StopIteration
        batch, self._at = found
        self._feed_at = self._at
        self._left -= 1
        if self._options.columns is not None and isinstance(batch, Batch):
            return tuple(batch[name] for name in self._options.columns)
        return batch

    def _next_of_feed(self) -> tuple[Any, Any] | None:
        if self._feed is None:
            raise Error("this iteration ended with an error; resume() goes on behind it")
        try:
            found = self._feed.next()
            if found is None and self._feed_begin != self._at:
                # The feed was told to stop here: what follows was not known when it began.
                self._start_feed(self._plan())
                found = self._feed.next()
        except BaseException:
            self._stop_feed()
            raise
        return found

    def _end_pass(self) -> None:
        self._left = 0
        if self._feed is None:
            return
        log.info("epoch %d: %s", max(0, self.epoch - 1), self.stats())
        if self._last_epoch is None or self.epoch >= self._last_epoch:
            self._stop_feed()

    def _abandoned(self, number: int) -> None:
        """The iterator of pass ``number`` was dropped half-way: stop working for it."""
        if number == self._pass and self._left and self._pid == os.getpid():
            self._stop_feed()

    def epochs(self, n: int) -> Iterator[int]:
        """Yields the epochs below ``n`` that are still to do; prefetch crosses an epoch's end.

        After ``load_state_dict`` it begins with the epoch in which the state stands::

            for epoch in loader.epochs(90):
                for batch in loader:
                    ...
        """
        plan = self._plan()
        try:
            self._last_epoch = n
            while (epoch := self.epoch) < n:
                before = self._pass
                yield epoch
                if self.epoch == epoch and (self._left or self._pass == before):
                    # The body broke out, or did not iterate: the epoch's rest is left out.
                    self._at = plan.cursor.next_start(self._at)
                    self._left, self._fresh = 0, True
        finally:
            self._last_epoch = None
            if not self._left:
                self._stop_feed()

    # --- where it stands --------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch (or virtual epoch) that the next batch belongs to."""
        return self._plan().cursor.epoch(self._at)

    @property
    def position(self) -> int:
        """The position in the epoch's order of the next batch (docs/ordering.md)."""
        return self._plan().cursor.position(self._at)

    @property
    def step(self) -> int:
        """Batches since the job began: a function of the state, the same on every rank."""
        return self._plan().cursor.step(self._at)

    def set_epoch(self, epoch: int) -> None:
        """The next pass is this epoch, from its start; does nothing when the loader is in it."""
        plan = self._plan()
        if epoch != self.epoch:
            self._stop_feed()
            self._at = plan.cursor.seek(self._at, epoch)
            self._left, self._fresh = 0, True

    def update_weights(self, weights: Any, *, step: int | None = None) -> None:
        """Other weights (of samples, or of a mixture's sources) from ``step`` on; default: from the
        next batch on.

        Every rank makes the same call at the same step; in a process group the ranks compare what
        they were given. Batches that were prefetched for the old weights are thrown away. The state
        tells which weights are in force: to resume, give the loader those, then the later ones.

        Raises:
            MismatchError: on every rank, when ranks give different weights or steps.
            OptionError: a step that has passed; a loader without weights; faulty weights.
        """
        plan = self._plan()
        now = plan.cursor.step(self._at)
        if step is not None and step < now:
            raise OptionError(f"update_weights: step {step} has passed: the loader is at {now}")
        step = now if step is None else step
        name = self._planner.update_weights(step, weights)
        compare_texts(f"weights {name} from step {step}", self._options.agree)
        running = self._feed is not None
        self._stop_feed()
        if running and self._left:
            self._start_feed(plan)

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer stands: JSON-able, less than 1 KiB, the same on every rank."""
        state: dict[str, Any] = json.loads(self._plan().state_text(self._at, self._agreement))
        return state

    def next_state(self) -> dict[str, Any]:
        """The state at which the next ``iter(loader)`` begins."""
        plan = self._plan()
        state: dict[str, Any] = json.loads(plan.state_text(self._pass_start(plan)))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` stood, on any number of ranks, with any batch size.

        The state decides seed, block, lanes, shuffle and remainder; where the loader was made with
        others a warning says so.

        Raises:
            MismatchError: the state is of another data set, or of another version of the order.
            OptionError: not a state.
        """
        self._check_usable()
        at = self._planner.load(state)
        self._stop_feed()
        self._at = self._loaded = at
        self._made_plan, self._agreed = None, False
        self._left, self._fresh = 0, True

    # --- the rest ---------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Where the time went, in words (``str``) and as a dict; over all passes of this loader."""
        current = [self._feed.stats()] if self._feed is not None else []
        stats = Stats.of([*self._past, *current])
        stats.update(self._planner.stats())
        return stats

    def close(self) -> None:
        """Stops all work and returns the memory; idempotent."""
        self._closed = True
        self._stop_feed()
        if self._transformer is not None and self._pid == os.getpid():
            self._transformer.close()
        if self._ledger is not None:
            self._ledger.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return (_remake, (self._dataset, self._given))

    def __str__(self) -> str:
        return self._plan().describe(self._at)


def _remake(dataset: Dataset | Mixture, options: dict[str, Any]) -> Loader:
    return Loader(dataset, **options)
