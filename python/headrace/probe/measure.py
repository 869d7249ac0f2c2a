# SPDX-License-Identifier: Apache-2.0
"""What is measured of a store, in which order, and within which bounds of time and bytes.

Each step asks the core's measuring client (``_core.RangeProbe``) for a run of range reads with so
many in flight and reduces the answers. The client is the loader's own HTTP engine; Python sees a
run, never a request. docs/probe.md explains every figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.errors import Error, OptionError, ThrottledError
from headrace.options import format_size
from headrace.probe.figures import Quantiles, quantiles_of
from headrace.probe.runs import CUT, FAILED, OK, THROTTLED, Budget, Floats, Run

__all__ = ["LARGEST", "SMALL", "SMALLEST", "Budget", "Measured", "Measurement"]

# Ranges for what a request costs by itself, and of the curve against size.
SMALL = 16 << 10
SMALLEST, LARGEST = 64 << 10, 8 << 20
_SIZES = tuple(SMALLEST << i for i in range(8))
_IN_FLIGHT = (1, 4, 16, 32, 64, 128, 256, 512, 1024)
# Parts of the time, in this order; what one leaves over the later ones share.
_PARTS = {"latency": 20, "connection": 6, "sizes": 16, "climb": 34, "gets": 14, "limit": 10}
# Enough that p99 of a log-normal with sigma 0.4 is known to 3 %: 1.3 sigma / 0.35 / sqrt(n).
_LATENCY_READS = 2000
# A knee is where this share of the most is reached; two doublings that add less than _GAIN end the
# climb.
_KNEE = 0.9
_GAIN = 1.05
_TURNED_AWAY = 0.02  # share of answers that ends a climb


@dataclass
class Measured:
    """The figures of a store, and the curves they were read off."""

    first_byte_ms: Quantiles
    whole_ms: Quantiles
    latency_reads: int
    per_connection_MBps: float
    sizes: list[dict[str, Any]]
    climb: list[dict[str, Any]]
    knee: dict[str, Any]
    get_climb: list[dict[str, Any]]
    get_limit: dict[str, Any]
    failed: int
    throttled: int
    first_failure: str


class Measurement:
    """Measures one store through ``client``.

    Args:
        client: a ``_core.RangeProbe``.
        budget: what may be spent.
        read_bytes: the range that a loader of this data reads.
        say: told what is being done.
    """

    def __init__(
        self,
        client: _core.RangeProbe,
        budget: Budget,
        read_bytes: int,
        say: Callable[[str], None] = lambda text: None,
        seed: int = 0,
    ) -> None:
        self._client, self._budget, self._say = client, budget, say
        self._random = np.random.default_rng(seed)
        self._sizes = np.array([size for _, size in client.objects()], np.uint64)
        self.largest_object = int(self._sizes.max())
        self.read_bytes = int(min(max(read_bytes, SMALL), LARGEST, self.largest_object))
        self._failed = self._throttled = 0
        self._first_failure = ""
        self._usual = 0.03  # seconds of a small read
        if int(self._sizes.sum()) < SMALLEST:
            raise OptionError(
                f"probe {client.name}: {len(self._sizes)} objects with {int(self._sizes.sum())} "
                "bytes in all: too little to measure a store by; give a URL with "
                f"{format_size(SMALLEST)} at least"
            )

    def measure(self) -> Measured:
        """All steps; each gets a part of the time, and what one leaves over the later ones have."""
        first_byte, whole = self._latency(self._seconds("latency"))
        self._usual = float(np.median(whole))
        connection = self._connection(self._seconds("connection"))
        sizes = self._against_size(self._seconds("sizes"))
        climb = self._climb(self.read_bytes, _IN_FLIGHT, self._seconds("climb"), "MBps")
        get_climb = self._climb(SMALL, _IN_FLIGHT[3:], self._seconds("gets"), "GETps")
        limit = self._get_limit([*climb, *get_climb], self._seconds("limit"))
        return Measured(
            first_byte_ms=quantiles_of(first_byte * 1e3),
            whole_ms=quantiles_of(whole * 1e3),
            latency_reads=len(first_byte),
            per_connection_MBps=connection,
            sizes=sizes,
            climb=climb,
            knee=_knee(climb),
            get_climb=get_climb,
            get_limit=limit,
            failed=self._failed,
            throttled=self._throttled,
            first_failure=self._first_failure,
        )

    def _seconds(self, part: str) -> float:
        names = list(_PARTS)
        later = sum(_PARTS[name] for name in names[names.index(part) :])
        return self._budget.seconds_left * _PARTS[part] / later

    # --- runs -------------------------------------------------------------------------------

    def _ranges(
        self, size: int, count: int, aligned: npt.NDArray[np.bool_]
    ) -> tuple[Any, Any, Any]:
        """(object, begin, bytes) of random ranges: objects by their bytes; of objects that are all
        shorter the larger half, whole."""
        usable = np.flatnonzero(self._sizes >= size)
        if len(usable) == 0:
            usable = np.argsort(self._sizes)[-max(1, len(self._sizes) // 2) :]
        share = self._sizes[usable].astype(np.float64)
        target = usable[self._random.choice(len(usable), count, p=share / share.sum())]
        nbytes = np.minimum(self._sizes[target], np.uint64(size))
        room = (self._sizes[target] - nbytes + np.uint64(1)).astype(np.float64)
        begin = (self._random.random(count) * room).astype(np.uint64)
        begin = np.where(aligned, begin // np.uint64(size) * np.uint64(size), begin)
        return target.astype(np.uint64), begin, nbytes

    def _run(
        self,
        size: int,
        in_flight: int,
        seconds: float,
        reads: int,
        *,
        drain: float,
        mixed: bool = False,
    ) -> Run | None:
        """None: no time or bytes left for it."""
        budget = self._budget
        seconds = min(seconds, budget.seconds_left - 0.1)
        count = min(reads, budget.bytes_left // max(1, min(size, self.largest_object)))
        count = int(min(count, budget.gets_max - budget.gets))
        if seconds <= 0 or count < 1:
            budget.cut.append(f"{in_flight} x {format_size(size)}")
            return None
        aligned = np.arange(count) % 2 == 0 if mixed else np.zeros(count, np.bool_)
        target, begin, nbytes = self._ranges(size, count, aligned)
        drain = max(0.0, min(drain, budget.seconds_left - seconds))
        got = self._client.run(target, begin, nbytes, min(in_flight, count), seconds, drain)
        end = got["end"]
        run = Run(
            in_flight=min(in_flight, count),
            sent=got["sent"],
            done=got["done"],
            first_byte=got["first_byte"],
            nbytes=nbytes.astype(np.float64),
            end=end,
            begin=begin,
            failure=got["failure"],
            send_seconds=seconds,
        )
        budget.gets += int((end != 0).sum())
        budget.bytes_left -= int(nbytes[(end == OK) | (end == CUT)].sum())
        self._failed += int((end == FAILED).sum())
        self._throttled += int((end == THROTTLED).sum())
        self._first_failure = self._first_failure or run.failure
        return run

    # --- steps ------------------------------------------------------------------------------

    def _latency(self, seconds: float) -> tuple[Floats, Floats]:
        """First-byte and whole times of small ranges at a load that no store feels, in seconds."""
        self._say("latency")
        pilot = self._run(SMALL, 8, min(1.0, seconds / 4), 200, drain=5.0)
        if pilot is None or not pilot.whole.any():
            self._nothing_answered(pilot)
        assert pilot is not None
        usual = float(np.median(pilot.done[pilot.whole] - pilot.sent[pilot.whole]))
        in_flight = int(np.clip(_LATENCY_READS * usual / (0.7 * seconds), 4, 64))
        reads = _LATENCY_READS + in_flight
        run = self._run(SMALL, in_flight, 0.75 * seconds, reads, drain=0.25 * seconds)
        if run is None or run.weight() < pilot.weight():
            run = pilot
        chosen = run.settled() if run.settled().any() else run.whole
        whole = run.done[chosen] - run.sent[chosen]
        first = run.first_byte[chosen]
        if not first.any():  # of files: there is no first byte
            first = whole
        # What had not come when the time was over took at least so long.
        cut = (run.end == CUT) & (np.arange(len(run.end)) >= run.in_flight)
        late = run.done[cut] - run.sent[cut]
        return np.concatenate([first, late]), np.concatenate([whole, late])

    def _nothing_answered(self, run: Run | None) -> None:
        why = run.failure if run is not None and run.failure else "no answer in time"
        if run is not None and run.share(THROTTLED) > 0:
            raise ThrottledError(f"probe {self._client.name}: every read was turned away: {why}")
        raise Error(f"probe {self._client.name}: no read was answered: {why}")

    def _connection(self, seconds: float) -> float:
        """MB/s of one body on one connection, the first byte's wait left out."""
        self._say("one connection")
        size = min(LARGEST, self.largest_object)
        run = self._run(size, 1, 0.6 * seconds, 12, drain=0.4 * seconds)
        if run is None or not run.whole.any():
            return math.nan
        chosen = run.settled() if run.settled().any() else run.whole
        body = run.done[chosen] - run.sent[chosen] - run.first_byte[chosen]
        return float(np.median(run.nbytes[chosen] / np.maximum(body, 1e-6))) / 1e6

    def _against_size(self, seconds: float) -> list[dict[str, Any]]:
        """Few in flight, aligned and unaligned ranges by turns."""
        rows: list[dict[str, Any]] = []
        end = self._budget.clock() + seconds
        for i, size in enumerate(_SIZES):
            if size > self.largest_object:
                break
            self._say(f"ranges of {format_size(size)}")
            left = end - self._budget.clock()
            span = left / (len(_SIZES) - i)
            run = self._run(size, 4, 0.6 * span, 128, drain=max(0.4 * span, left / 2), mixed=True)
            if run is None or run.settled().sum() < 2:
                break
            rows.append(_size_row(size, run))
        return rows

    def _climb(
        self, size: int, levels: tuple[int, ...], seconds: float, goal: str
    ) -> list[dict[str, Any]]:
        """Doubles the reads in flight until that adds nothing."""
        rows: list[dict[str, Any]] = []
        end = self._budget.clock() + seconds
        bytes_end = self._budget.bytes_left // 2 if goal == "MBps" else 0
        for i, in_flight in enumerate(levels):
            left = end - self._budget.clock()
            if left <= 0.05 or self._budget.bytes_left <= bytes_end:
                self._budget.cut.append(f"{in_flight} x {format_size(size)}")
                break
            self._say(f"{in_flight} x {format_size(size)} in flight")
            # Some rounds of all places; what is then under way is waited for, so that the next
            # level finds the connections open.
            body = size / 50e6 if goal == "MBps" else 0.0
            span = min(left / max(1, min(3, len(levels) - i)), 0.2 + 6 * (self._usual + body))
            afford = max(1, (self._budget.bytes_left - bytes_end) // size)
            reads = min(max(16 * in_flight, 2000), afford)
            run = self._run(size, in_flight, span, reads, drain=0.1 + 2 * self._usual)
            if run is None:
                break
            # Too few answers for a rate; what turned all away is worth a row.
            if int(run.whole.sum()) < 2 * run.in_flight and run.share(THROTTLED) <= _TURNED_AWAY:
                self._budget.cut.append(f"{in_flight} x {format_size(size)}")
                break
            megabytes, gets = run.rates()
            rows.append(
                {
                    "requests": in_flight,
                    "bytes": size,
                    "MBps": round(megabytes, 2),
                    "GETps": round(gets, 1),
                    "throttled": round(run.share(THROTTLED), 4),
                    "failed": round(run.share(FAILED), 4),
                }
            )
            if run.share(THROTTLED) > _TURNED_AWAY or _flat([row[goal] for row in rows]):
                break
        return rows

    def _get_limit(self, rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        """The most GETs a second that were answered; where the store asked to slow down, what it
        answers in the long run: limits let a burst through first."""
        best = max(rows, key=lambda row: float(row["GETps"]), default=None)
        if best is None:
            return {
                "GETps": math.nan,
                "throttled": False,
                "requests": 0,
                "bytes": 0,
                "reached": False,
            }
        turned_away = [row for row in rows if row["throttled"] > _TURNED_AWAY]
        found = {
            "GETps": best["GETps"],
            "throttled": bool(turned_away),
            "reached": bool(turned_away)
            or _flat([row["GETps"] for row in rows if row["bytes"] == SMALL]),
        }
        row = turned_away[-1] if turned_away else best
        if turned_away:
            self._say("the store's limit of requests")
            run = self._run(SMALL, row["requests"], seconds, 1 << 20, drain=0.0)
            if run is not None and run.whole.any():
                late = run.whole & (run.done >= run.send_seconds / 2)
                late &= run.done < run.send_seconds
                found["GETps"] = round(float(late.sum()) / (run.send_seconds / 2), 1)
        return {**found, "requests": row["requests"], "bytes": row["bytes"]}


def _flat(values: list[float]) -> bool:
    """The last two levels added next to nothing to what was reached before."""
    return len(values) > 3 and max(values[-2:]) < _GAIN * max(values[:-2])


def _size_row(size: int, run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"bytes": size}
    chosen = run.settled()
    aligned = run.begin % np.uint64(size) == 0
    for name, which in (("aligned", chosen & aligned), ("unaligned", chosen & ~aligned)):
        if not which.any():
            row[name] = None
            continue
        whole = run.done[which] - run.sent[which]
        each = float(which.sum()) / float(whole.sum())  # GETs a second of one place in flight
        row[name] = {
            "first_byte_ms": round(float(np.median(run.first_byte[which])) * 1e3, 3),
            "whole_ms": round(float(np.median(whole)) * 1e3, 3),
            "GETps": round(each * run.in_flight, 1),
            "MBps": round(each * run.in_flight * float(run.nbytes[which].mean()) / 1e6, 2),
        }
    return row


def _knee(climb: list[dict[str, Any]]) -> dict[str, Any]:
    """The fewest requests in flight that reach nine tenths of the most MB/s that was seen.

    ``reached``: more requests added nothing; else the most is only what was seen.
    """
    most = max((row["MBps"] for row in climb), default=0.0)
    if most <= 0:
        nothing = math.nan
        return {
            "requests": 0, "MBps": nothing, "GETps": nothing, "MBps_max": nothing, "bytes": 0,
            "reached": False,
        }  # fmt: skip
    knee = next(row for row in climb if row["MBps"] >= _KNEE * most)
    return {
        "requests": knee["requests"],
        "MBps": knee["MBps"],
        "GETps": knee["GETps"],
        "MBps_max": most,
        "bytes": knee["bytes"],
        "reached": _flat([row["MBps"] for row in climb]),
    }
