# SPDX-License-Identifier: Apache-2.0
"""A connection falls silent in the middle of a body: how long until its sample is delivered from another?

fault_stall.py [--trials N] [--results FILE]

One loader reads 115 KB samples in order, as fast as it can, from a server with S3's latencies (median 30 ms, sigma
0.35, 1 % at 300 ms, 80 MB/s a connection). In each trial one range, drawn by the trial's number, is silent for good after 20,000
bytes. Told are the longest wait for a batch in the trial, and the time from the silence (as the server says, to 10 ms)
until that batch came, beside the same trials without a stall (the store's own tail) and without hedging (then the read
timeout of 5 s decides; a fifth of the trials, since each takes that long).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headrace as hr
from headrace.serve import Server

SPEC = "data=samples=1500,bytes=115000,shard=64MB"
BATCH, BATCHES = 16, 10


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


class Alarm:
    """Notes when the server's rule has fired."""

    def __init__(self, server: Server) -> None:
        self._server, self._armed, self._over = server, threading.Event(), threading.Event()
        self.fired_at = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.is_set():
            if not self._armed.wait(0.2):
                continue
            if sum(rule["fired"] for rule in self._server.fault_counts()):
                self.fired_at = time.perf_counter()
                self._armed.clear()
            time.sleep(0.01)

    def arm(self) -> None:
        self.fired_at = 0.0
        self._armed.set()

    def disarm(self) -> None:
        self._armed.clear()

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def trial(batches: Iterator[Any], server: Server, alarm: Alarm, number: int, stalled: bool) -> dict[str, float]:
    """The longest wait for one of the batches, and how long after the silence that batch came (0: none)."""
    rule = {"kind": "stall", "at": 20_000, "op": "GetObject", "nth": 1 + 7 * number % 40}
    server.set_faults([rule] if stalled else [])
    if stalled:
        alarm.arm()
    longest = came = 0.0
    for _ in range(BATCHES):
        begin = time.perf_counter()
        next(batches)
        end = time.perf_counter()
        if end - begin > longest:
            longest, came = end - begin, end
    alarm.disarm()
    since = came - alarm.fired_at if stalled and 0 < alarm.fired_at < came else 0.0
    return {"wait": longest, "since": since, "fired": float(alarm.fired_at > 0)}


def quantile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


def run(hedge: bool, stalled: bool, trials: int) -> dict[str, Any]:
    words = ["--synthetic", SPEC]
    with Server(profile="s3", words=words) as server, tempfile.TemporaryDirectory() as indexes:
        alarm = Alarm(server)
        with hr.open("s3://data/", index_dir=indexes, hedge=hedge, **server.options) as dataset:
            loader = dataset.loader(batch_size=BATCH, memory="48MiB", shuffle="block", block=1)
            batches = endless(loader)
            for _ in range(4 * BATCHES):  # past the start, and latencies are known
                next(batches)
            ends = [trial(batches, server, alarm, i, stalled) for i in range(trials)]
            stats = loader.stats()
            loader.close()
        alarm.end()
        requests = server.stats()["by_op"]["GetObject"]
    waits = [end["wait"] for end in ends]
    since = [end["since"] for end in ends if end["since"] > 0]
    return {
        "hedge": hedge, "stalled": stalled, "trials": trials, "fired": sum(end["fired"] for end in ends),
        "wait_p50_s": quantile(waits, 0.5), "wait_p99_s": quantile(waits, 0.99), "wait_max_s": quantile(waits, 1),
        "since_p50_s": quantile(since, 0.5), "since_p99_s": quantile(since, 0.99), "since_max_s": quantile(since, 1),
        "requests": requests, "load": os.getloadavg()[0],
        "hedges": {name: stats[name] for name in stats if "hedge" in name},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    rows = []
    for hedge, stalled in ((True, False), (True, True), (False, False), (False, True)):
        trials = max(1, options.trials // 5) if stalled and not hedge else options.trials
        rows.append(run(hedge, stalled, trials))
        print(json.dumps(rows[-1]), flush=True)
    if options.results:
        options.results.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
