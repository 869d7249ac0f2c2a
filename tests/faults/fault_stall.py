# SPDX-License-Identifier: Apache-2.0
"""A connection falls silent in the middle of a body: how long until its sample is delivered from another?

fault_stall.py [--trials N]

One loader reads 115 KB samples in order, as fast as it can, from a server with S3's latencies (median 30 ms, sigma
0.35, 1 % at 300 ms, 80 MB/s a connection). In each trial one range, drawn by the trial's number, is silent for good after 20,000
bytes. What is told is the longest wait for a batch in the trial, beside the same trials without a stall (the store's
own tail) and without hedging (then the read timeout of 5 s decides).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from typing import Any

import headrace as hr
from headrace.serve import Server

SPEC = "data=samples=6000,bytes=115000,shard=64MB"
BATCH, BATCHES = 32, 24


def trial(loader: Any, server: Server, number: int, stalled: bool) -> tuple[float, int]:
    """(longest wait for one of the batches, how many ranges were silenced)."""
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    rule = {"kind": "stall", "at": 20_000, "op": "GetObject", "nth": 20 + 7 * number % 60}
    server.set_faults([rule] if stalled else [])
    longest = 0.0
    for _ in range(BATCHES):
        begin = time.perf_counter()
        next(batches)
        longest = max(longest, time.perf_counter() - begin)
    fired = sum(rule["fired"] for rule in server.fault_counts())
    batches.close()
    server.set_faults([])
    return longest, fired


def run(hedge: bool, stalled: bool, trials: int) -> dict[str, Any]:
    words = ["--synthetic", SPEC]
    with Server(profile="s3", words=words) as server, tempfile.TemporaryDirectory() as indexes:
        with hr.open("s3://data/", index_dir=indexes, hedge=hedge, **server.options) as dataset:
            loader = dataset.loader(batch_size=BATCH, memory="256MiB", shuffle="block", block=1)
            waits = []
            fired = 0
            for number in range(trials):
                wait, times = trial(loader, server, number, stalled)
                waits.append(wait)
                fired += times
            stats = loader.stats()
            loader.close()
        requests = server.stats()["by_op"]["GetObject"]
    quantiles = statistics.quantiles(waits, n=20) if len(waits) > 1 else waits * 19
    return {
        "hedge": hedge, "stalled": stalled, "trials": trials, "fired": fired, "median_s": round(statistics.median(waits), 3),
        "p95_s": round(quantiles[18], 3), "max_s": round(max(waits), 3), "requests": requests,
        "hedges": {name: stats[name] for name in stats if "hedge" in name},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    trials = parser.parse_args().trials
    for hedge, stalled in ((True, False), (True, True), (False, True)):
        print(json.dumps(run(hedge, stalled, trials if hedge else min(trials, 5))), flush=True)


if __name__ == "__main__":
    main()
