# SPDX-License-Identifier: Apache-2.0
"""One probe from URL to document: what is opened, measured and judged. Keys: docs/probe.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from headrace import _core
from headrace._log import flush_log
from headrace.dataset import Dataset, Source
from headrace.errors import Error, OptionError
from headrace.open_options import core_options
from headrace.options import format_size
from headrace.probe.figures import Quantiles, figures_of
from headrace.probe.loader_rate import LoaderRate, run_loader
from headrace.probe.measure import SMALL, Measured, Measurement
from headrace.probe.prices import Price, price_of, with_words
from headrace.probe.runs import Budget
from headrace.probe.verdict import Epoch, Work, judge
from headrace.urls import locate

__all__ = ["Probe", "epoch_of_dataset", "round_floats"]

# Of the time, for the loader's own rate; the store has the rest.
_LOADER_SHARE = 0.25
_LOADER_BYTES_SHARE = 0.3
# What is sent at most for the store's answer to small reads, whatever the bytes: 4 cents at S3.
GETS_MAX = 100_000
# A stream's reads, and the ranges looked at where nothing is known of the samples.
_CHUNK = 1 << 20
_BATCH = 256
_MEMORY = 1 << 30


def epoch_of_dataset(dataset: Dataset, work: Work, **options: Any) -> Callable[[int], Epoch]:
    """What an epoch takes with so much memory, by the loader's own arithmetic."""

    def epoch(memory: int) -> Epoch:
        plan = dataset.plan(batch_size=work.batch, world_size=work.ranks, memory=memory, **options)
        order = {f"d{m}": None if d is None else round(d, 3) for m, d in plan.bound.items()}
        return Epoch(plan.steps, plan.requests, plan.bytes, plan.held, order)

    return epoch


@dataclass
class _Data:
    """What is known of the samples under the URL."""

    dataset: Dataset | None
    samples: int | None
    sample_bytes: float
    objects: int
    nbytes: int  # of the objects that were listed
    note: str

    def epoch_of(self, work: Work) -> Callable[[int], Epoch]:
        if self.dataset is not None and self.dataset.counted:
            return epoch_of_dataset(self.dataset, work)
        samples = self.samples or max(1, int(self.nbytes / self.sample_bytes))
        steps = samples // (work.batch * work.ranks)
        if steps == 0:
            raise OptionError(
                f"probe: a batch of {work.batch} on {work.ranks} ranks is more than the "
                f"{samples:,} samples there are (about); lower --batch or --ranks"
            )
        # A stream reads in chunks, loose objects one by one.
        stream = self.dataset is not None
        gets = math.ceil(self.nbytes / _CHUNK) if stream else samples
        return lambda memory: Epoch(steps, gets, float(self.nbytes), 0.0, None)


class Probe:
    """Measures where ``source`` lies. ``statement`` says first what that may cost.

    Args:
        source: as ``headrace.open`` takes it; any objects, with or without an index.
        work: the training job to judge by; None measures only.
        seconds, nbytes: spent at most.
        price: words of ``--price``.
        distance: where the trainer stands: one of ``prices.DISTANCES``.
        options: of ``headrace.open``.
    """

    def __init__(
        self,
        source: Source,
        *,
        work: Work | None = None,
        seconds: float = 30.0,
        nbytes: int = 4 << 30,
        price: str | None = None,
        distance: str = "same-region",
        memory: int | None = None,
        batch: int | None = None,
        **options: Any,
    ) -> None:
        if not 1 <= seconds <= 3600:
            raise OptionError(f"probe: max_seconds={seconds:g} is not in [1, 3600]")
        if nbytes < 8 << 20:
            raise OptionError(
                f"probe: max_bytes={nbytes} is less than 8 MiB: too little to measure by"
            )
        self._location = locate(source)
        self._options = core_options({"build": False, **options})
        self._work, self._seconds, self._nbytes = work, seconds, nbytes
        self._memory, self._batch = memory or _MEMORY, batch or _BATCH
        self._distance = distance
        self.url = self._location.urls()[0]
        endpoint = str(options.get("endpoint_url") or "")
        self.price: Price | None = with_words(price_of(self.url, endpoint), price)

    @property
    def statement(self) -> str:
        """What a probe may cost, before anything is sent."""
        most = f"at most {self._seconds:g} s, {format_size(self._nbytes)}, {GETS_MAX:,} GETs"
        if self.price is None:
            return f"{most}; what this store asks for them is not known (--price)"
        usd = self.price.epoch(GETS_MAX, self._nbytes, self._distance)
        return f"{most}: ${usd:.3f} at most ({self.price.provider}, {self._distance})"

    def run(self, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """The document. Raises what ``headrace.open`` raises for a URL that cannot be read."""
        budget = Budget(self._seconds, self._nbytes)
        say("looking what is there")
        try:
            client = _core.open_probe(self._location.urls(), self._options)
            data = self._look(client)
            runs = data.dataset is not None
            loader_bytes = int(_LOADER_BYTES_SHARE * self._nbytes) if runs else 0
            store_budget = Budget(
                budget.seconds_left * (1 - _LOADER_SHARE * runs),
                self._nbytes - loader_bytes,
                gets_max=GETS_MAX,
            )
            read_bytes = self._read_bytes(data)
            measured = Measurement(client, store_budget, read_bytes, say).measure()
            rate, why = None, data.note
            if data.dataset is not None:
                say("the loader itself")
                left = self._nbytes - store_budget.bytes_spent
                rate, failure = self._loader(data.dataset, budget.seconds_left, left)
                why = failure or why
        finally:
            flush_log()
        document = self._document(data, measured, rate, why, budget, store_budget, read_bytes)
        if self._work is not None:
            document.update(self._judged(self._work, data, document))
        if data.dataset is not None:
            data.dataset.close()
        rounded: dict[str, Any] = round_floats(document)
        return rounded

    # --- parts ------------------------------------------------------------------------------

    def _look(self, client: _core.RangeProbe) -> _Data:
        sizes = [size for _, size in client.objects()]
        found, note = None, ""
        for extra in ({}, {"order": "stream"}):
            try:
                found = Dataset(self._location, {**self._options, **extra})
                break
            except Error as fault:  # no index, or no format that a loader reads
                note = f"no loader was run: {fault}"
        if found is None:
            mean = sum(sizes) / len(sizes)
            return _Data(None, len(sizes), mean, len(sizes), sum(sizes), note)
        if not found.counted:
            mean = float(found.core.sample_bytes_mean)
            note = "no index: read as a stream (`headrace index` makes one)"
            return _Data(found, None, max(1.0, mean), len(sizes), found.nbytes, note)
        mean = found.core.sample_bytes / max(1, len(found))
        return _Data(found, len(found), mean, len(sizes), found.nbytes, "")

    def _read_bytes(self, data: _Data) -> int:
        if data.dataset is None:
            return round(data.sample_bytes)
        if not data.dataset.counted:
            return _CHUNK
        work = self._work or Work(self._batch, 100.0, 1, 1, self._memory)
        epoch = data.epoch_of(work)(work.memory)
        return round(epoch.bytes / max(1, epoch.gets))

    def _loader(
        self, dataset: Dataset, seconds: float, nbytes: int
    ) -> tuple[LoaderRate | None, str]:
        work = self._work
        batch = work.batch if work else self._batch
        if dataset.counted:
            batch = min(batch, max(1, len(dataset)))
        try:
            rate = run_loader(
                dataset,
                batch=batch,
                memory=work.memory if work else self._memory,
                seconds=max(0.5, seconds - 0.3),
                nbytes=nbytes,
            )
        except Error as fault:  # what was measured of the store is worth telling all the same
            return None, f"the loader failed: {fault}"
        return rate, "" if rate else "the loader delivered nothing in time"

    def _document(
        self,
        data: _Data,
        measured: Measured,
        rate: LoaderRate | None,
        why: str,
        budget: Budget,
        store_budget: Budget,
        read_bytes: int,
    ) -> dict[str, Any]:
        gets = store_budget.gets + (rate.requests if rate else 0)
        nbytes = store_budget.bytes_spent + (rate.bytes if rate else 0)
        price = self.price
        return {
            "url": self.url,
            "objects": data.objects,
            "bytes": data.nbytes,
            "samples": data.samples,
            "sample_bytes": data.sample_bytes,
            "spent": {
                "seconds": self._seconds - budget.seconds_left,
                "bytes": nbytes,
                "gets": gets,
                "usd": price.epoch(gets, nbytes, self._distance) if price else None,
                "cut_short": store_budget.cut,
            },
            "first_byte_ms": _percentiles(measured.first_byte_ms, measured.latency_reads),
            "whole_ms": {**_percentiles(measured.whole_ms, measured.latency_reads), "bytes": SMALL},
            "per_connection_MBps": measured.per_connection_MBps,
            "read_bytes": read_bytes,
            "knee": measured.knee,
            "get_limit": measured.get_limit,
            "concurrency": measured.climb,
            "concurrency_small": measured.get_climb,
            "range_sizes": measured.sizes,
            "failed": measured.failed,
            "throttled": measured.throttled + (rate.throttled if rate else 0),
            "first_failure": measured.first_failure,
            "cores": cores(),
            "loader": None if rate is None else asdict(rate),
            "note": why,
            "price": None if price is None else price.to_dict(),
        }

    def _judged(self, work: Work, data: _Data, document: dict[str, Any]) -> dict[str, Any]:
        found = judge(
            figures_of(document),
            work,
            data.epoch_of(work),
            loader=document["loader"],
            cores=document["cores"],
            price=self.price,
            distance=self._distance,
        )
        return found.to_dict()


def cores() -> float:
    """CPU cores that this process may use."""
    import os

    return float(len(os.sched_getaffinity(0)))


def _percentiles(table: Quantiles, reads: int) -> dict[str, Any]:
    at = dict(table)
    return {
        "p50": at[50],
        "p90": at[90],
        "p99": at[99],
        "max": at[100],
        "reads": reads,
        "quantiles": [list(pair) for pair in table],
    }


def round_floats(value: Any) -> Any:
    """JSON knows no infinity; and figures have no 16 digits."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return round(value, 6) if abs(value) < 1 else round(value, 3)
    if isinstance(value, dict):
        return {name: round_floats(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [round_floats(item) for item in value]
    return value
