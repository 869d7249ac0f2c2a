# SPDX-License-Identifier: Apache-2.0
"""From a store's figures and a trainer's needs to the answer: how long the GPUs will wait, why, and
what to change. Pure; used by ``headrace probe`` and ``headrace plan`` alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.options import format_size
from headrace.probe.figures import StoreFigures
from headrace.probe.model import RANKS_MAX, Forecast, Job, forecast
from headrace.probe.prices import Price

__all__ = ["Epoch", "Verdict", "Work", "judge"]

_IDLE_GOOD = 0.01  # below this nobody would look for the cause
_GAIN = 0.01  # of idle share that a change must bring to be named
_MEMORIES = tuple(256 << (20 + i) for i in range(5))  # 256 MiB .. 4 GiB
_QUICK_READS = 20_000  # some 0.1 s
# Of what the model says: a loader that reached so much was limited by what is modelled.
_EXPLAINED = 0.97
_CORES_USABLE = 0.9  # of the cores, for all ranks of a machine


@dataclass(frozen=True)
class Work:
    """What the user says of the training job.

    Attributes:
        batch: samples of a batch on each rank.
        step_ms: the trainer's time for a step.
        gpus: ranks on each machine; ``ranks`` of the whole job.
        memory: of each rank's loader, bytes.
    """

    batch: int
    step_ms: float
    gpus: int
    ranks: int
    memory: int


@dataclass(frozen=True)
class Epoch:
    """What reading the data once takes, with some memory.

    Attributes:
        steps: of the whole job; ``gets`` and ``bytes`` of all ranks.
        held: bytes that the lanes of a rank hold.
        order: D(m) bounds by name, or None where no order is known.
    """

    steps: int
    gets: int
    bytes: float
    held: float
    order: dict[str, float | None] | None

    def job(self, work: Work, samples_per_s: float) -> Job:
        each = max(1, self.steps) * work.ranks
        return Job(
            batch=work.batch,
            step_s=work.step_ms / 1e3,
            batch_bytes=self.bytes / each,
            reads=self.gets / each,
            memory=work.memory,
            held=self.held,
            samples_per_s=samples_per_s,
            gpus=work.gpus,
            ranks=work.ranks,
        )


@dataclass(frozen=True)
class Verdict:
    """The answer; ``to_dict`` has the stable keys of docs/probe.md."""

    work: Work
    epoch: Epoch
    forecast: Forecast
    sentence: str
    cause: str
    needs: dict[str, float]
    usd: float | None
    memories: tuple[dict[str, Any], ...]
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        steps_s = self.epoch.steps * self.work.step_ms / 1e3
        busy = 1 - self.forecast.idle_share
        seconds = steps_s / busy if busy > 0 else math.inf
        return {
            "gpu_idle_share": round(self.forecast.idle_share, 4),
            "verdict": self.sentence,
            "bottleneck": self.cause,
            "usd_per_epoch": None if self.usd is None else round(self.usd, 6),
            "gets_per_epoch": self.epoch.gets,
            "gets_per_second": round(self.epoch.gets / seconds, 1),
            "bytes_per_epoch": round(self.epoch.bytes),
            "steps_per_epoch": self.epoch.steps,
            "epoch_seconds": round(seconds, 1),
            "first_batch_s": round(self.forecast.first_batch_s, 3),
            "needs": {name: round(value, 2) for name, value in self.needs.items()},
            "memory_bytes": self.work.memory,
            "memory_options": list(self.memories),
            "order": self.epoch.order,
            "advice": list(self.advice),
        }


def cpu_limit(cores: float, cpu_s_per_sample: float, gpus: int) -> float:
    """Samples/s of one rank that the machine's CPU allows when ``gpus`` ranks share it."""
    return _CORES_USABLE * cores / cpu_s_per_sample / gpus if cpu_s_per_sample > 0 else math.inf


def rank_limit(
    store: StoreFigures, work: Work, epoch: Epoch, loader: Mapping[str, Any] | None, cores: float
) -> float:
    """Samples/s of one rank at most, whatever the store gives: its CPU; or what the loader reached
    alone, where that is less than the model says of a loader whose trainer takes no time."""
    if loader is None:
        return math.inf
    limit = cpu_limit(cores, float(loader["cpu_s_per_sample"]), work.gpus)
    alone = replace(work, gpus=1, ranks=1, step_ms=1e-3)
    modelled = _quick(store, epoch.job(alone, limit * work.gpus)).samples_per_s
    reached = float(loader["samples_per_s"])
    return min(limit, reached) if reached < _EXPLAINED * modelled else limit


def judge(
    store: StoreFigures,
    work: Work,
    epoch_of: Callable[[int], Epoch],
    *,
    loader: Mapping[str, Any] | None = None,
    cores: float = math.inf,
    price: Price | None = None,
    distance: str = "same-region",
) -> Verdict:
    """Plays the job against the store (model.py) and names what limits it.

    Args:
        epoch_of: what an epoch takes with so many bytes of memory.
        loader: what a probe found of the loader's own rate with this batch and memory; None where
            it was not run: its CPU is then taken to be enough.
    """
    epoch = epoch_of(work.memory)
    samples_per_s = rank_limit(store, work, epoch, loader, cores)
    job = epoch.job(work, samples_per_s)
    found = forecast(store, job)
    needs = _needs(job)
    cause = _cause(store, job, found)
    memories = tuple(_with_memory(store, work, epoch_of, samples_per_s, m) for m in _MEMORIES)
    return Verdict(
        work=work,
        epoch=epoch,
        forecast=found,
        sentence=_sentence(found, needs, cause, store, job),
        cause=cause,
        needs=needs,
        usd=None if price is None else price.epoch(epoch.gets, epoch.bytes, distance),
        memories=memories,
        advice=tuple(_advice(found, cause, memories, work, job)),
    )


def _quick(store: StoreFigures, job: Job) -> Forecast:
    """For comparisons: one run, shorter where a step has many reads."""
    steps = int(_QUICK_READS / (job.reads * min(job.gpus, job.ranks, RANKS_MAX)))
    return forecast(store, job, steps=min(200, max(50, steps)), runs=1)


def _needs(job: Job) -> dict[str, float]:
    """What all ranks of a machine ask for when nobody waits."""
    ranks = min(job.gpus, job.ranks)
    steps = 1 / job.step_s
    return {
        "samples_per_s": ranks * job.batch * steps,
        "MBps": ranks * job.batch_bytes * steps / 1e6,
        "GETps": ranks * job.reads * steps,
        "GETps_all": job.ranks * job.reads * steps,
    }


def _cause(store: StoreFigures, job: Job, found: Forecast) -> str:
    """Which limit, taken away, would help most; "" when there is nothing to help."""
    if found.idle_share < _IDLE_GOOD:
        return ""
    median = store.first_byte(50)
    calm = tuple((p, min(ms, 2 * median)) for p, ms in store.first_byte_ms)
    without = {
        "bandwidth": (replace(store, MBps_max=math.inf), job),
        "requests": (replace(store, GETps_max=math.inf), job),
        "loader": (store, replace(job, samples_per_s=math.inf)),
        "memory": (store, replace(job, memory=16 * job.memory)),
        "tail latency": (replace(store, first_byte_ms=calm), job),
    }
    idle = {name: _quick(s, j).idle_share for name, (s, j) in without.items()}
    best = min(idle, key=lambda name: idle[name])
    return best if idle[best] < _quick(store, job).idle_share - _GAIN / 2 else "several"


_CAUSES: dict[str, str] = {
    "bandwidth": "this machine gets {MBps_max:,.0f} MB/s from the store",
    "requests": "{limit} {GETps_max:,.0f} GET/s",
    "loader": "the loader makes {samples_per_s:,.0f} samples/s for a rank on this machine",
    "memory": "{memory} of memory a rank is too little to read far enough ahead",
    "tail latency": "the slowest reads (p99 {p99:,.0f} ms) outlast what is read ahead",
    "several": "several limits are reached at once",
}


def _sentence(
    found: Forecast, needs: dict[str, float], cause: str, store: StoreFigures, job: Job
) -> str:
    who = "The GPU" if job.ranks == 1 else f"The {job.ranks} GPUs"
    need = f"{needs['samples_per_s']:,.0f} samples/s ({needs['MBps']:,.0f} MB/s"
    need += f", {needs['GETps']:,.0f} GET/s)"
    need += " a machine" if job.ranks > job.gpus else ""
    if not cause:
        return (
            f"{who} will not wait for data ({found.idle_share:.1%} of the time): "
            f"needed are {need}, and the store and this machine give that."
        )
    why = _CAUSES[cause].format(
        MBps_max=store.MBps_max,
        GETps_max=store.GETps_max,
        limit="the store slows down above" if store.throttled else "this machine reaches",
        samples_per_s=job.samples_per_s,
        memory=format_size(job.memory),
        p99=store.first_byte(99),
    )
    return f"{who} will wait {found.idle_share:.0%} of the time: needed are {need}, but {why}."


def _with_memory(
    store: StoreFigures,
    work: Work,
    epoch_of: Callable[[int], Epoch],
    samples_per_s: float,
    memory: int,
) -> dict[str, Any]:
    at = replace(work, memory=memory)
    epoch = epoch_of(memory)
    found = _quick(store, epoch.job(at, samples_per_s))
    return {
        "memory_bytes": memory,
        "gpu_idle_share": round(found.idle_share, 4),
        "gets_per_epoch": epoch.gets,
        "d32": None if epoch.order is None else epoch.order["d32"],
    }


def _advice(
    found: Forecast, cause: str, memories: tuple[dict[str, Any], ...], work: Work, job: Job
) -> list[str]:
    """What to change, the cheapest first."""
    said = []
    idle = found.idle_share
    best = min(row["gpu_idle_share"] for row in memories)
    enough = next(row for row in memories if row["gpu_idle_share"] <= best + _GAIN)
    if enough["memory_bytes"] > work.memory and enough["gpu_idle_share"] < idle - _GAIN:
        said.append(
            f"memory={format_size(enough['memory_bytes'])} a rank: idle "
            f"{enough['gpu_idle_share']:.0%} instead of {idle:.0%}"
        )
    elif enough["memory_bytes"] < work.memory and abs(enough["gpu_idle_share"] - idle) < _GAIN:
        said.append(f"memory={format_size(enough['memory_bytes'])} a rank would do as well")
    if cause == "bandwidth":
        most = (1 - idle) * 100
        said.append(
            f"fewer GPUs a machine, a faster network, or smaller samples: the data comes at "
            f"{most:.0f} % of the rate needed"
        )
    if cause == "requests":
        said.append("larger reads: more memory or block= makes fewer, larger GETs")
        said.append("spread the shards over several key prefixes (S3 limits GET/s by prefix)")
    if cause == "loader":
        said.append(f"more cores: {job.gpus} ranks share this machine's")
    return said
