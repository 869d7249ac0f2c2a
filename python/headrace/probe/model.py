# SPDX-License-Identifier: Apache-2.0
"""The model behind the predicted idle share: a loader and its trainer, step by step, in virtual
time.

docs/probe.md has it in words, with what it leaves out and how it was tested against a simulated
trainer. It plays the loader's own rules (reads in the order of first need, a bounded number in
flight, read-ahead by Little's law within the memory) against a store that is known by its figures.
No I/O, no clock; the same seed gives the same answer.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from headrace.probe.figures import StoreFigures

__all__ = ["Forecast", "Job", "forecast"]

# As the engine has them (src/loader/batch_stream.cc, src/fetch/engine.h, src/fetch/read_ahead.h).
REQUESTS_MAX = 768
REQUEST_BYTES_MAX = 128 << 20
WINDOW_BYTES = 32 << 20
WINDOW_BATCHES = (2, 16)
AHEAD_MARGIN = 1.3
AHEAD_SECONDS = 2.0
AHEAD_BUCKET_SECONDS = 0.1
# Ranks that are played at once; of more, the slowest of a step is a little slower than is found.
RANKS_MAX = 8


@dataclass(frozen=True)
class Job:
    """One rank's work, and how many do the same.

    Attributes:
        batch: samples of a batch on each rank.
        step_s: what the trainer needs for a step.
        batch_bytes: stored bytes of a batch.
        reads: range requests a batch, on average; ``read_bytes`` of each.
        memory: bytes of the rank's loader; ``held`` of them by the lanes.
        samples_per_s: of one rank at most, whatever the store does (its CPU); inf where not known.
        gpus: ranks on this machine, which share what it gets of the store.
        ranks: of the whole job.
    """

    batch: int
    step_s: float
    batch_bytes: float
    reads: float
    memory: float
    held: float = 0.0
    samples_per_s: float = math.inf
    gpus: int = 1
    ranks: int = 1

    @property
    def read_bytes(self) -> float:
        return self.batch_bytes / self.reads


@dataclass(frozen=True)
class Forecast:
    """What the trainer will see.

    Attributes:
        idle_share: of the time from the first batch on, 0 .. 1, the trainer waits for data.
        first_batch_s: from the start to the first batch.
        samples_per_s: of one rank.
        requests_in_flight: mean over the run, of one rank.
        wait_p99_ms: of the waits before a step.
    """

    idle_share: float
    first_batch_s: float
    samples_per_s: float
    requests_in_flight: float
    wait_p99_ms: float


def forecast(store: StoreFigures, job: Job, *, steps: int = 400, seed: int = 0) -> Forecast:
    """Plays ``steps`` steps after the first batch.

    All ranks end a step together, as they do where gradients are summed: the slowest batch counts.
    """
    ranks = min(job.gpus, job.ranks, RANKS_MAX)
    loaders = [_Loader(store, job, np.random.default_rng([seed, rank])) for rank in range(ranks)]
    ready = max(loader.batch() for loader in loaders)
    first = now = ready
    waits = []
    for loader in loaders:
        loader.taken(now)
    for _ in range(steps):
        ready = max(loader.batch() for loader in loaders)
        asked = now + job.step_s
        now = max(asked, ready)
        waits.append(now - asked)
        for loader in loaders:
            loader.taken(now)
    span = now - first
    return Forecast(
        idle_share=sum(waits) / span if span > 0 else 0.0,
        first_batch_s=first,
        samples_per_s=steps * job.batch / span if span > 0 else math.inf,
        requests_in_flight=float(np.mean([loader.busy / max(now, 1e-9) for loader in loaders])),
        wait_p99_ms=float(np.percentile(waits, 99)) * 1e3 if waits else 0.0,
    )


class _Draws:
    """First-byte times, drawn in bulk."""

    def __init__(self, store: StoreFigures, random: np.random.Generator) -> None:
        self._store, self._random = store, random
        self._drawn: list[float] = []

    def next(self) -> float:
        if not self._drawn:
            self._drawn = self._store.draw_first_byte_s(self._random.random(4096)).tolist()
        return self._drawn.pop()


class _Loader:
    """Reads, verifies and hands over one rank's batches. Times in seconds from the start."""

    def __init__(self, store: StoreFigures, job: Job, random: np.random.Generator) -> None:
        self._job = job
        self._draws = _Draws(store, random)
        share = min(job.gpus, job.ranks)
        machines = math.ceil(job.ranks / max(1, job.gpus))
        self._line_s = job.read_bytes * share / (store.MBps_max * 1e6)
        self._gap_s = share * (machines if store.throttled else 1) / store.GETps_max
        self._body_s = job.read_bytes / (store.connection_MBps * 1e6)
        self._work_s = job.batch / job.samples_per_s
        low, high = WINDOW_BATCHES
        self._window = int(min(max(WINDOW_BYTES // max(1.0, job.batch_bytes), low), high))
        self._room = job.memory - job.held - self._window * job.batch_bytes
        self._ahead = _ReadAhead(2 * job.batch_bytes)
        self._number = 0
        self._reads_owed = 0.0
        self._line_free = self._gets_free = self._work_free = self._start = 0.0
        self._under_way: list[tuple[float, float]] = []  # heap of (done, latency)
        self._taken: deque[float] = deque()  # when the trainer took each batch
        self.busy = 0.0  # seconds of requests in flight

    def taken(self, when: float) -> None:
        self._taken.append(when)

    def batch(self) -> float:
        """When the next batch is ready: its reads are sent as soon as the rules let them."""
        self._reads_owed += self._job.reads
        count = int(self._reads_owed)
        self._reads_owed -= count
        ready = 0.0
        for _ in range(count):
            ready = max(ready, self._read())
        self._number += 1
        # One worker verifies, cuts and packs batch after batch.
        self._work_free = max(self._work_free, ready) + self._work_s
        return self._work_free

    def _read(self) -> float:
        start = max(self._start, self._window_opens())
        limit = min(REQUESTS_MAX, max(1, int(REQUEST_BYTES_MAX / self._job.read_bytes)))
        while self._under_way and (len(self._under_way) >= limit or self._under_way[0][0] <= start):
            done, latency = heapq.heappop(self._under_way)
            start = max(start, done) if len(self._under_way) + 1 >= limit else start
            self._ahead.add(done, latency, self._job.read_bytes)
        start = max(start, self._gets_free)
        self._gets_free = start + self._gap_s
        self._start = start
        begins = start + self._draws.next()
        # Bodies share the line, whole after whole; none is faster than its connection.
        self._line_free = max(self._line_free, begins) + self._line_s
        done = max(begins + self._body_s, self._line_free)
        heapq.heappush(self._under_way, (done, done - start))
        self.busy += done - start
        return done

    def _window_opens(self) -> float:
        """When the read-ahead reaches the current batch: as one so many before it is taken."""
        ahead = min(self._ahead.bytes(), max(self._room, self._job.batch_bytes))
        batches = self._window + max(1, int(ahead / self._job.batch_bytes))
        before = self._number - batches
        return self._taken[before] if 0 <= before < len(self._taken) else 0.0


class _ReadAhead:
    """Bytes to read ahead: 1.3 x the best rate x the slowest read of the last 2 s."""

    def __init__(self, bytes_min: float) -> None:
        self._least = bytes_min
        self._bytes = bytes_min
        self._buckets: deque[list[float]] = deque()  # [number, bytes, slowest]

    def add(self, when: float, latency: float, nbytes: float) -> None:
        number = int(when / AHEAD_BUCKET_SECONDS)
        if not self._buckets or number > self._buckets[-1][0]:
            self._buckets.append([number, 0.0, 0.0])
            self._update(number)
        self._buckets[-1][1] += nbytes
        self._buckets[-1][2] = max(self._buckets[-1][2], latency)

    def _update(self, number: int) -> None:
        while self._buckets[0][0] <= number - AHEAD_SECONDS / AHEAD_BUCKET_SECONDS:
            self._buckets.popleft()
        rate = max(bucket[1] for bucket in self._buckets) / AHEAD_BUCKET_SECONDS
        slowest = max(bucket[2] for bucket in self._buckets)
        self._bytes = max(self._least, AHEAD_MARGIN * rate * slowest)

    def bytes(self) -> float:
        return self._bytes
