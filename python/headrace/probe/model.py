# SPDX-License-Identifier: Apache-2.0
"""The model behind the predicted idle share: a loader and its trainer, step by step, in virtual
time.

docs/probe.md has it in words, with what it leaves out and how it was tested against a simulated
trainer. It plays the loader's own rules (reads in the order of first need, a bounded number in
flight, read-ahead by Little's law within the memory, late reads asked for twice) against a store
that is known by its figures. No I/O, no clock; the same seed gives the same answer.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import astuple, dataclass

import numpy as np

from headrace.probe.figures import StoreFigures

__all__ = ["Forecast", "Job", "forecast"]

# As the engine has them (src/loader/batch_stream.cc, src/fetch/engine.h, src/fetch/read_ahead.h).
REQUESTS_MAX = 768
REQUEST_BYTES_MAX = 128 << 20
REQUESTS_MIN = 32
WINDOW_BYTES = 32 << 20
WINDOW_BATCHES = (2, 16)
AHEAD_MARGIN = 1.3
AHEAD_SECONDS = 2.0
AHEAD_BUCKET_SECONDS = 0.1
# How the requests in flight are found at the start (src/store/admission_limit.h): the limit doubles
# a round trip, until twice in a row that brings less than so many times the bytes.
LIMIT_START = 4.0
LIMIT_START_SPREAD = 0.25
KNEE_GAIN = 1.1
KNEE_MISSES = 2
ROUND_SECONDS_MIN = 0.020
# Second readings of late reads (src/store/hedge_store.h).
LATE_QUANTILE = 97
LATE_MEDIANS = 1.5
LATE_SECONDS_MIN = 0.010
LATE_READS_MIN = 24
HEDGE_SHARE = 0.03
HEDGES_SAVED_MAX, HEDGES_RESERVED, VERY_LATE = 32.0, 8.0, 3.0
# Ranks that are played at once; of more, the slowest of a step is a little slower than is found.
RANKS_MAX = 8
# Times that a job is played: where a few late reads decide, one run says little.
RUNS = 3


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


def forecast(
    store: StoreFigures, job: Job, *, steps: int = 200, runs: int = RUNS, seed: int = 0
) -> Forecast:
    """Plays ``steps`` steps after the first batch, some times over; means.

    All ranks end a step together, as they do where gradients are summed: the slowest batch counts.
    """
    played = [astuple(_play(store, job, steps, [seed, run])) for run in range(runs)]
    return Forecast(*(float(np.mean(values)) for values in zip(*played, strict=True)))


def _play(store: StoreFigures, job: Job, steps: int, seed: list[int]) -> Forecast:
    ranks = min(job.gpus, job.ranks, RANKS_MAX)
    loaders = [_Loader(store, job, np.random.default_rng([*seed, rank])) for rank in range(ranks)]
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
        headroom = min(self._window * job.batch_bytes, job.memory / 3)
        self._window = min(self._window, max(1, int(headroom / job.batch_bytes)))
        self._room = max(1, int((job.memory - job.held - headroom) / job.batch_bytes))
        self._ahead = _ReadAhead(2 * job.batch_bytes)
        self._hedges = _Hedges()
        self._admission = _Admission(float(random.random()))
        self._number = 0
        self._reads_owed = 0.0
        self._lanes_owed = job.held / job.read_bytes  # reads that fill the lanes at the start
        self._line_free = self._gets_free = self._work_free = self._start = 0.0
        self._under_way: list[tuple[float, float]] = []  # heap of (done, latency)
        self._taken: list[float] = []  # when the trainer took each batch
        self._left: list[float] = []  # when each batch left the engine, whole and in order
        self.busy = 0.0  # seconds of requests in flight

    def taken(self, when: float) -> None:
        self._taken.append(when)

    def batch(self) -> float:
        """When the next batch is ready: its reads are sent as soon as the rules let them."""
        filling = min(self._lanes_owed, self._job.reads)
        self._lanes_owed -= filling
        self._reads_owed += self._job.reads + filling
        count = int(self._reads_owed)
        self._reads_owed -= count
        ready = self._left[-1] if self._left else 0.0
        for _ in range(count):
            ready = max(ready, self._read())
        # It leaves when the consumer, who may have so many before it, has room for it.
        self._left.append(max(ready, _at(self._taken, self._number - self._window)))
        self._number += 1
        # One worker verifies, cuts and packs batch after batch.
        self._work_free = max(self._work_free, self._left[-1]) + self._work_s
        return self._work_free

    def _read(self) -> float:
        opens = self._window_opens()
        start = max(self._start, opens)
        most = max(REQUESTS_MIN, int(REQUEST_BYTES_MAX / self._job.read_bytes))
        while self._under_way:
            full = len(self._under_way) >= min(most, int(self._admission.limit))
            done, latency = self._under_way[0]
            if not full and done > start:
                break
            heapq.heappop(self._under_way)
            start = max(start, done) if full else start
            self._ahead.add(done, latency, self._job.read_bytes)
            self._hedges.add(latency)
            self._admission.add(done, latency, self._job.read_bytes, done > opens)
        start = max(start, self._gets_free)
        self._gets_free = start + self._gap_s
        self._start = start
        begins = start + self._draws.next()
        # Bodies share the line, one after the other as they were asked for (a late one does not
        # hold up those behind it); none is faster than its connection.
        self._line_free = max(self._line_free, start) + self._line_s
        done = self._hedged(start, max(begins + self._body_s, self._line_free))
        heapq.heappush(self._under_way, (done, done - start))
        self.busy += done - start
        return done

    def _hedged(self, start: float, done: float) -> float:
        """A read that is late is asked for a second time; the first answer counts."""
        late = self._hedges.late()
        if done - start <= late:
            return done
        self._hedges.take()
        self._gets_free += self._gap_s
        return min(done, start + late + self._draws.next() + self._body_s)

    def _window_opens(self) -> float:
        """When the current batch may be read: the read-ahead is of batches that have not left the
        engine, at least two; so is the memory beside the slots of those that have."""
        batches = max(2, math.ceil(self._ahead.bytes() / self._job.batch_bytes))
        return _at(self._left, self._number - min(batches, self._room))


def _at(times: list[float], number: int) -> float:
    return times[number] if 0 <= number < len(times) else 0.0


class _Admission:
    """How many requests may be in flight, while that is being found out."""

    def __init__(self, lot: float) -> None:
        self.limit = LIMIT_START * (1 + LIMIT_START_SPREAD * lot)
        self._doubling = True
        self._began = self._bytes = self._rate = self._latency = 0.0
        self._full = False
        self._missed = 0

    def add(self, when: float, latency: float, nbytes: float, full: bool) -> None:
        """A read came to its end. ``full``: another waited for its place."""
        if not self._doubling:
            return
        self._latency += (latency - self._latency) / 8 if self._latency else latency
        self._bytes += nbytes
        self._full = self._full or full
        if full:
            self.limit = min(REQUESTS_MAX, self.limit + 1)
        if when - self._began < max(ROUND_SECONDS_MIN, self._latency):
            return
        rate = self._bytes / (when - self._began)
        if self._full and rate < KNEE_GAIN * self._rate:
            self._missed += 1
            self._doubling = self._missed < KNEE_MISSES
        elif self._full:
            self._missed, self._rate = 0, rate
        self._began, self._bytes, self._full = when, 0.0, False


class _Hedges:
    """After how long a read is late, and how many may be read twice."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=1024)
        self._fresh = 0
        self._late = math.inf
        self._saved = 1.0

    def add(self, latency: float) -> None:
        self._seen.append(latency)
        self._saved = min(HEDGES_SAVED_MAX, self._saved + HEDGE_SHARE)
        self._fresh += 1
        if self._fresh < 64 and (self._late < math.inf or len(self._seen) < LATE_READS_MIN):
            return
        self._fresh = 0
        median, late = np.percentile(self._seen, (50, LATE_QUANTILE))
        self._late = max(float(late), LATE_MEDIANS * float(median), LATE_SECONDS_MIN)

    def late(self) -> float:
        if self._saved < 1:
            return math.inf
        return self._late * (1 if self._saved > HEDGES_RESERVED else VERY_LATE)

    def take(self) -> None:
        self._saved -= 1


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
