# SPDX-License-Identifier: Apache-2.0
"""What ``headrace index`` does: says what an index will cost, then makes it, here or on Ray.

The reading is the core's (src/loader/index_build.h): shards side by side, big ones over several
connections, in 32 chunks of 4 MiB at most. Finished shards are kept in the local index folder, so
that what was cut off goes on; shards that did not change are taken from the index before. A cluster
does the same: its workers send what they found of single shards, this process keeps it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from headrace import _core
from headrace._log import flush_log
from headrace.errors import Error, OptionError, UnsupportedError
from headrace.manifest import located
from headrace.options import format_size
from headrace.pickling import pickled_options
from headrace.probe.figures import CONNECTION_MBPS
from headrace.probe.prices import Price, price_of

__all__ = ["IndexCost", "IndexJob", "parts_from_ray"]

# LIST costs 12.5 times a GET on S3 and Google: $0.005 for 1,000.
_GETS_A_LIST = 12.5
# The core's: chunks read at a time, and their bytes (index_build.h); and a reply's first byte.
_READS, _CHUNK, _FIRST_BYTE_S = 32, 4 << 20, 0.030
# Batches of shards for each worker of a cluster: the last ones end within an eighth of each other.
_BATCHES_A_WORKER = 8

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class IndexCost:
    """What making an index takes. Nothing was read for it but the listing.

    Attributes:
        present: where an index lies that fits already; "" when there is none.
        shards_to_read, bytes_to_read, requests: at most, where only headers are read.
        shards_in_parts: of a build that was cut off; ``shards_in_earlier``: in the index before.
        seconds: where the store gives ``CONNECTION_MBPS`` to each of 32 connections.
        usd: None where the store's price is not known.
    """

    url: str
    format: str
    present: str
    shards: int
    bytes: int
    shards_to_read: int
    bytes_to_read: int
    requests: int
    lists: int
    shards_in_parts: int
    shards_in_earlier: int
    checksums: bool
    seconds: float
    usd: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        have = []
        if self.shards_in_parts:
            have.append(f"{self.shards_in_parts:,} in parts of a build that was cut off")
        if self.shards_in_earlier:
            have.append(f"{self.shards_in_earlier:,} in the index before, unchanged")
        known = f"; {', '.join(have)}" if have else ""
        price = "price not known" if self.usd is None else f"${self.usd:,.4f}"
        sums = "with checksums" if self.checksums else "without checksums"
        return (
            f"index of {self.url}: {self.format}, {self.shards:,} shards, "
            f"{format_size(self.bytes)}\n"
            f"  reads {self.shards_to_read:,} shards{known}\n"
            f"  costs {self.requests:,} GETs and {self.lists:,} LISTs, "
            f"{format_size(self.bytes_to_read)}, {price}, about {self.seconds:,.0f} s at "
            f"{CONNECTION_MBPS:.0f} MB/s a connection, {sums}"
        )


class IndexJob:
    """The shards under a source, and what is to be read of them."""

    def __init__(self, source: Any, **options: Any) -> None:
        self.location, self.options = located(source, options)
        self._core = open_core_job(self.location, self.options)

    @property
    def shards(self) -> list[tuple[str, int, str]]:
        """(key, bytes, ETag) of each shard."""
        return self._core.shards()

    @property
    def url(self) -> str:
        return self._core.url

    @property
    def format(self) -> str:
        return self._core.format

    def cost(self, *, price: Price | None = None) -> IndexCost:
        """By arithmetic, with ``price`` or the list price of where the data lie."""
        found = self._core.cost()
        price = price or price_of(self._core.url, str(self.options.get("endpoint_url", "")))
        gets = found["requests"] + found["lists"] * _GETS_A_LIST
        each = _FIRST_BYTE_S + min(_CHUNK, found["bytes_to_read"]) / (CONNECTION_MBPS * 1e6)
        return IndexCost(
            url=self._core.url,
            format=self._core.format,
            present=self._core.present,
            seconds=found["requests"] * each / _READS,
            usd=None if price is None else price.epoch(gets, found["bytes_to_read"], "same-region"),
            **found,
        )

    def to_read(self) -> list[int]:
        """Numbers of the shards that a build would read."""
        return self._core.to_read()

    def keep(self, numbers: Iterable[int], parts: Iterable[tuple[str, bytes]]) -> None:
        """Keeps what was found of these shards; the build takes it from there."""
        for number, (name, content) in zip(numbers, parts, strict=True):
            self._core.keep(number, name, content)


def open_core_job(location: Any, options: dict[str, Any]) -> _core.IndexJob:
    try:
        given = options | {"queries": dict(location.queries)}
        return _core.open_index_job(location.urls(), given)
    finally:
        flush_log()


def parts_from_ray(job: IndexJob, address: str, *, progress: Progress | None = None) -> int:
    """Has a Ray cluster read the shards that are to be read; returns how many.

    Args:
        address: of the cluster, as ``ray.init`` takes it; ``"local"`` starts one on this machine.
        progress: called with ("index", bytes done, bytes in all).

    Raises:
        OptionError: the options hold secrets that a cluster's store would keep.
        UnsupportedError: ray is not installed.
        Error: a worker failed; what others found is kept, and the next run goes on there.
    """
    try:
        import ray
    except ImportError as missing:
        raise UnsupportedError(
            f"index on Ray: {missing.name} is not installed; pip install 'headrace[ray]'"
        ) from None
    try:
        options = pickled_options(job.location, job.options)
    except pickle.PicklingError as secret:
        raise OptionError(f"index on Ray: {secret}") from None
    numbers = job.to_read()
    if not numbers:
        return 0
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=address,
            log_to_driver=False,
            include_dashboard=False if address == "local" else None,
        )
    try:
        _run_on_ray(ray, job, options, numbers, progress)
    finally:
        if started:
            ray.shutdown()
    return len(numbers)


class _Worker:
    """On a node of the cluster: finds the shards once, then reads those it is told to."""

    def __init__(self, location: Any, options: dict[str, Any]) -> None:
        self._job = open_core_job(location, options)

    def parts(self, numbers: list[int]) -> list[tuple[str, bytes]]:
        return self._job.parts_of(numbers)


def _run_on_ray(
    ray: Any, job: IndexJob, options: dict[str, Any], numbers: list[int], progress: Progress | None
) -> None:
    workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(numbers)))
    size = max(1, len(numbers) // (workers * _BATCHES_A_WORKER))
    batches = [numbers[at : at + size] for at in range(0, len(numbers), size)][::-1]
    remote = ray.remote(num_cpus=1, max_restarts=2, max_task_retries=2)(_Worker)
    idle = [remote.remote(job.location, options) for _ in range(workers)]
    sizes = [size for _, size, _ in job.shards]
    done, total = 0, sum(sizes[n] for n in numbers)
    under_way: dict[Any, tuple[Any, list[int]]] = {}
    while batches or under_way:
        while batches and idle:
            worker, batch = idle.pop(), batches.pop()
            under_way[worker.parts.remote(batch)] = (worker, batch)
        ready, _ = ray.wait(list(under_way), num_returns=1)
        worker, batch = under_way.pop(ready[0])
        try:
            parts = ray.get(ready[0])
        except ray.exceptions.RayError as failure:
            cause = getattr(failure, "cause", None)
            raise (
                cause if isinstance(cause, Error) else Error(f"index on Ray: {failure}")
            ) from None
        job.keep(batch, parts)
        idle.append(worker)
        done += sum(sizes[n] for n in batch)
        if progress is not None:
            progress("index", done, total)
