# SPDX-License-Identifier: Apache-2.0
"""The loader's own rate on this data: the real one, for some seconds, with raw bytes as columns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from headrace.dataset import Dataset
from headrace.loader import Loader

__all__ = ["LoaderRate", "run_loader"]

_BYTES_SHARE = 0.8  # of the bytes allowed, before it is stopped: some are then under way
_SETTLE = 0.25  # of the time, before the rate is taken: the first batches come from empty lanes


@dataclass(frozen=True)
class LoaderRate:
    """Of one rank that has this machine for itself.

    Attributes:
        samples_per_s, MBps: after the start, of samples handed over.
        cpu_s_per_sample: of this process, all its threads.
        first_batch_s: from the first request.
        requests: range requests sent; ``bytes`` received.
        bottleneck: what it waited for, in words.
    """

    samples_per_s: float
    MBps: float
    cpu_s_per_sample: float
    first_batch_s: float
    seconds: float
    batches: int
    samples: int
    requests: int
    bytes: int
    throttled: int
    bottleneck: str


def _received(loader: Loader) -> int:
    return int(loader.stats()["bytes_received"])


def run_loader(
    dataset: Dataset, *, batch: int, memory: int, seconds: float, nbytes: int
) -> LoaderRate | None:
    """Runs a shuffled loader until time or bytes are over; None when nothing came.

    Args:
        nbytes: received at most, about: what is in flight then is cancelled.
    """
    options: dict[str, Any] = {"batch_size": batch, "memory": memory, "rank": 0, "world_size": 1}
    begin = time.perf_counter()
    marks: list[tuple[float, float, int]] = []  # (wall, CPU, samples) after each batch
    samples = 0
    with dataset.loader(**options) as loader:
        while time.perf_counter() - begin < seconds:
            before = samples
            for _ in loader:
                samples += batch
                now = time.perf_counter() - begin
                marks.append((now, time.process_time(), samples))
                if now > seconds or _received(loader) > _BYTES_SHARE * nbytes:
                    break
            else:
                if samples == before:  # not one whole batch in an epoch
                    break
                continue  # another epoch
            break
        stats = loader.stats()
    if not marks:
        return None
    start = next((i for i, mark in enumerate(marks) if mark[0] >= _SETTLE * marks[-1][0]), 0)
    start = min(start, max(0, len(marks) - 2))
    (wall0, cpu0, n0), (wall1, cpu1, n1) = marks[start], marks[-1]
    got = max(n1 - n0, 0)
    mean = stats["bytes_delivered"] / max(1, stats["rows"])
    rate = got / (wall1 - wall0) if got else samples / marks[-1][0]
    return LoaderRate(
        samples_per_s=rate,
        MBps=rate * mean / 1e6,
        cpu_s_per_sample=(cpu1 - cpu0) / got if got else 0.0,
        first_batch_s=marks[0][0],
        seconds=marks[-1][0],
        batches=len(marks),
        samples=samples,
        requests=stats["requests"],
        bytes=stats["bytes_received"],
        throttled=stats["throttles"],
        bottleneck=stats.sentence(),
    )
