# SPDX-License-Identifier: Apache-2.0
"""What every contender of bench/throughput.py runs inside its own process: the stopwatch.

A contender marks the end of its imports and the moment it asks for the first batch, and hands over
what it was given; the meter takes times and CPU and writes one JSON file and the delivered ids.
Imported by other projects' environments too: standard library and numpy only.

CPU is user + system of this process and of its reaped children, from `begin` on: the caller stops
its workers before `finish`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np


def cpu_seconds() -> float:
    """User and system time of this process and of the children it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def versions(names: list[str]) -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a source tree
            found[name] = getattr(sys.modules.get(name), "__version__", "?")
    return found


class Meter:
    """Times of one pass; `spec` is what throughput.py wrote for this run."""

    def __init__(self) -> None:
        self.spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
        self._spawned = float(os.environ["BENCH_SPAWNED_AT"])  # CLOCK_MONOTONIC is the machine's
        self._imported = self._begun = self._cpu = 0.0
        self._times: list[float] = []
        self._ids: list[np.ndarray] = []
        self._rows = self._bytes = self._wrong_labels = 0

    def imported(self) -> None:
        self._imported = time.monotonic()

    def begin(self) -> None:
        """The next line asks for the iterator."""
        self._cpu = cpu_seconds()
        self._begun = time.monotonic()

    def batch(self, ids: np.ndarray, labels: np.ndarray, payload_bytes: int) -> None:
        """One batch is in hand: int64 ids read out of the payloads, labels, bytes of payload."""
        self._times.append(time.monotonic())
        self._ids.append(np.array(ids, dtype=np.int64))
        self._rows += len(ids)
        self._bytes += payload_bytes
        self._wrong_labels += int(np.count_nonzero(ids // self.spec["label_run"] != labels))

    def finish(self, packages: list[str], **more: Any) -> None:
        """Workers are stopped: writes the result."""
        cpu = cpu_seconds() - self._cpu
        ids = np.concatenate(self._ids) if self._ids else np.zeros(0, np.int64)
        np.save(self.spec["ids_file"], ids)
        seconds = self._times[-1] - self._begun
        result = {
            "rows": self._rows,
            "payload_bytes": self._bytes,
            "wrong_labels": self._wrong_labels,
            "seconds": seconds,
            "samples_per_s": self._rows / seconds,
            "mb_per_s": self._bytes / 1e6 / seconds,
            "cpu_s": cpu,
            "cpu_s_per_gb": cpu / (self._bytes / 1e9),
            "import_s": self._imported - self._spawned,
            "construct_s": self._begun - self._imported,
            "first_batch_from_process_s": self._times[0] - self._spawned,
            "first_batch_from_import_s": self._times[0] - self._imported,
            "first_batch_from_iter_s": self._times[0] - self._begun,
            "batch_gap_max_s": float(np.max(np.diff([self._begun, *self._times]))),
            "own_peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "versions": versions(packages),
            **more,
        }
        Path(self.spec["result_file"]).write_text(json.dumps(result))


def ids_of(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The 8-byte little-endian sample numbers at the rows' beginnings."""
    heads = values[offsets[:-1, None] + np.arange(8)]
    return np.ascontiguousarray(heads).view("<i8").reshape(-1)


def ids_of_views(views: list[memoryview]) -> np.ndarray:
    """The same of rows that lie each by itself."""
    return np.array([int.from_bytes(view[:8], "little") for view in views], np.int64)


def packed(payloads: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All payloads one after another, and where each begins: how peers' workers send a batch."""
    offsets = np.zeros(len(payloads) + 1, np.int64)
    np.cumsum([len(payload) for payload in payloads], out=offsets[1:])
    return np.frombuffer(b"".join(payloads), np.uint8), offsets


def rows_of_table(spec: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    """Key, offset, length and label of every sample, in a random order: what range readers are
    given for nothing."""
    table = np.load(spec["table_file"])
    order = np.random.default_rng(spec["seed"]).permutation(len(table))
    keys = spec["shards"]
    return [(keys[shard], o, n, label) for shard, o, n, label in table[order].tolist()]


def taken(results: list[tuple[int, bytes]]) -> tuple[np.ndarray, np.ndarray, int]:
    """What everyone does with a batch of (label, payload): numbers, labels, lengths."""
    ids = np.array([int.from_bytes(memoryview(data)[:8], "little") for _, data in results])
    labels = np.array([label for label, _ in results])
    return ids, labels, sum(len(data) for _, data in results)
