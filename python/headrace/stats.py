# SPDX-License-Identifier: Apache-2.0
"""Where the time went: the core's counters summed over a loader's life, and one sentence about
them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.options import format_size

__all__ = ["Stats"]

# Counters that add up over passes; of the others the largest or the latest is kept.
_SUMS = (
    "batches",
    "rows",
    "bytes_received",
    "bytes_delivered",
    "requests",
    "retries",
    "throttles",
    "hedges",
    "hedges_won",
    "rereads",
    "bad_samples",
    "evictions",
    "elapsed_nanos",
    "wait_network_nanos",
    "wait_decode_nanos",
    "wait_memory_nanos",
    "wait_transform_nanos",
    "consumer_nanos",
    "cache_wanted_bytes",
    "cache_asked_bytes",
    "cache_hit_bytes",
    "cache_write_bytes",
    "cache_refused",
    "cache_evictions",
    "cache_corrupt",
    "cache_errors",
    "cache_slow",
    "cache_bypassed",
)
_MAXIMA = ("requests_in_flight_max", "memory_peak", "memory_max")
_LATEST = ("requests_in_flight", "memory_used")
# Of the device, since the process began to use it; only where there is one.
_DEVICE = (
    "device_bytes",
    "device_copies",
    "device_unpinned_bytes",
    "device_copy_nanos",
    "pinned_bytes",
)
_CAUSES = ("network", "decode", "memory", "transform")


class Stats(dict[str, Any]):
    """Counters by name; ``str()`` says in words where the time went.

    ``wait_share``: share of the time from the first batch on that the trainer waited, 0 .. 1, and
    ``wait_network``, ``wait_decode``, ``wait_memory``, ``wait_transform`` its causes;
    ``samples_per_s``; ``bytes_ratio``: bytes received over bytes of the samples delivered;
    ``first_batch_s``; ``cache_hit_share``: of the bytes that were read, those that ``cache_dir=``
    spared the store. The rest are the core's counters.
    """

    @classmethod
    def of(cls, parts: list[Mapping[str, int]]) -> Stats:
        """The sum of several passes' counters, with the derived figures."""
        out = cls({name: sum(part.get(name, 0) for part in parts) for name in _SUMS})
        out.update(
            {name: max((part.get(name, 0) for part in parts), default=0) for name in _MAXIMA}
        )
        out.update({name: parts[-1].get(name, 0) if parts else 0 for name in _LATEST})
        if parts and "device_bytes" in parts[-1]:
            out.update({name: parts[-1][name] for name in _DEVICE})
        first = next((p["first_batch_nanos"] for p in parts if p.get("first_batch_nanos")), 0)
        out["first_batch_s"] = first / 1e9
        out._derive()
        return out

    def _derive(self) -> None:
        waited = {cause: self[f"wait_{cause}_nanos"] for cause in _CAUSES}
        spent = sum(waited.values()) + self["consumer_nanos"]
        for cause, nanos in waited.items():
            self[f"wait_{cause}"] = nanos / spent if spent else 0.0
        self["wait_share"] = sum(waited.values()) / spent if spent else 0.0
        self["samples_per_s"] = self["rows"] / (spent / 1e9) if spent else 0.0
        self["MB_per_s"] = self["bytes_received"] / (spent / 1e3) if spent else 0.0
        delivered = self["bytes_delivered"]
        self["bytes_ratio"] = self["bytes_received"] / delivered if delivered else 0.0
        wanted = self["cache_wanted_bytes"]
        self["cache_hit_share"] = (
            max(0.0, 1 - self["cache_asked_bytes"] / wanted) if wanted else 0.0
        )

    def sentence(self) -> str:
        """The bottleneck with its number."""
        if not self["batches"]:
            return "nothing delivered yet"
        share = self["wait_share"]
        if share < 0.02:
            return f"waited {share:.0%} of the time: the trainer is the bottleneck"
        causes = sorted(_CAUSES, key=lambda cause: -self[f"wait_{cause}"])
        said = ", ".join(
            f"{self[f'wait_{cause}']:.0%} {cause}{self._detail(cause)}"
            for cause in causes
            if self[f"wait_{cause}"] >= 0.005
        )
        return f"waited {share:.0%} of the time: {said}"

    def _detail(self, cause: str) -> str:
        if cause == "network":
            return (
                f" (store at {self['MB_per_s']:.0f} MB/s, at most "
                f"{self['requests_in_flight_max']} requests in flight, 503s: {self['throttles']})"
            )
        if cause == "memory":
            peak = format_size(self["memory_peak"])
            return f" (budget {format_size(self['memory_max'])}, peak {peak}; raise memory=)"
        return ""

    def __str__(self) -> str:
        rate = f"{self['rows']:,} samples at {self['samples_per_s']:,.0f}/s"
        traffic = (
            f"{format_size(self['bytes_received'])} in {self['requests']:,} requests "
            f"({self['bytes_ratio']:.3f} x the samples' bytes), {self['retries']} retries"
        )
        bad = f"; {self['bad_samples']} bad samples skipped" if self["bad_samples"] else ""
        measured = [
            f"D({m}) {self[f'd{m}']:.2f}" for m in (1, 4, 32) if self.get(f"d{m}") is not None
        ]
        quality = f"; measured {', '.join(measured)} (1 = a true shuffle)" if measured else ""
        memory = (
            f"memory peak {format_size(self['memory_peak'])} of {format_size(self['memory_max'])}"
        )
        unpinned = self.get("device_unpinned_bytes", 0)
        slow = f"; {format_size(unpinned)} went to the GPU from pageable memory" if unpinned else ""
        return f"{rate}; {self.sentence()}; {traffic}{self._cache()}; {memory}{slow}{bad}{quality}"

    def _cache(self) -> str:
        if not self["cache_wanted_bytes"]:
            return ""
        ills = ("corrupt", "errors", "slow", "bypassed")
        troubles = [f"{self[f'cache_{ill}']:,} {ill}" for ill in ills if self[f"cache_{ill}"]]
        said = f" ({', '.join(troubles)})" if troubles else ""
        return f"; {self['cache_hit_share']:.1%} of the bytes from the disk cache{said}"
