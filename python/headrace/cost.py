# SPDX-License-Identifier: Apache-2.0
"""``ds.plan``: what an epoch will cost and how well it will be shuffled, by arithmetic only.

No data is read. The arithmetic is the loader's own (docs/ordering.md, "Defaults" and "Quality").
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.cursor import Cursor
from headrace.errors import OptionError
from headrace.options import Faults, format_size, parse_size
from headrace.order import Order, shuffle_name
from headrace.quality import ClassBalance, class_numbers
from headrace.units import order_counts

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["S3_USD_PER_1000_GETS", "Estimate", "estimate"]

# S3 Standard in us-east-1, requests of type GET; https://aws.amazon.com/s3/pricing/ as listed in
# 2025. Reading from EC2 in the same region costs nothing a byte.
S3_USD_PER_1000_GETS = 0.0004
# What the order assumes where no memory is stated (docs/ordering.md, "Defaults").
_MEMORY_ASSUMED = "1GiB"
# The share of its lanes' bytes that a loader holds at a time; the rest has been delivered.
_RESIDENT = 0.56
# Of a disk, what the cache leaves free; of a block file, its header (docs/cache.md).
_DISK_LEFT_FREE = 0.05
_BLOCK_HEADER_SHARE = 4096 / (512 << 10)
_WINDOWS = (1, 4, 32)
# Batches over which the exact figures of single ranks are computed: some 40 us each.
_RANK_BATCHES_MAX = 100_000

Effects = dict[int, float | None]


@dataclass(frozen=True)
class Estimate:
    """What a loader with these options will do in an epoch; ``str()`` is a table.

    Attributes:
        batch: samples over all ranks; ``steps`` batches an epoch leave ``left_out`` samples out.
        memory: of a rank, stated or assumed; ``held``: what a rank's lanes hold of it.
        requests: range requests of all ranks, when each segment is read once; ``requests_least``:
            one a block.
        bytes: of the samples that are delivered.
        usd: for the requests; None where the store's price is not known.
        bound: safe bounds of D(m) for the whole job; ``exact``: over ``labels``; ``exact_ranks``:
            of a single rank's rows, the mean over ``ranks_looked_at`` ranks. None where m batches
            are more than half an epoch.
        block_pairs: pairs of samples of one block in a batch; ``block_pairs_shuffled``: in a true
            shuffle's.
        seconds, bytes_per_s, requests_per_s: of the whole job, where ``step_ms`` is given.
        cached: share of the data that the disk cache holds on each machine (``cache_dir=`` of
            ``hr.open``); None without one.
        more: what other memory would give: (memory, block, lanes, requests, bound of D(32)).
    """

    url: str
    samples: int
    sample_bytes: float
    batch: int
    world_size: int
    shuffle: str
    remainder: str
    steps: int
    left_out: int
    block: int
    lanes: int
    memory: int
    memory_stated: bool
    held: int
    requests: int
    requests_least: int
    bytes: int
    usd: float | None
    usd_per_1000_gets: float | None
    bound: Effects
    exact: Effects | None
    exact_ranks: Effects | None
    ranks_looked_at: int
    block_pairs: float
    block_pairs_shuffled: float
    seconds: float | None
    bytes_per_s: float | None
    requests_per_s: float | None
    reasons: tuple[str, ...]
    cached: float | None
    more: tuple[tuple[int, int, int, int, float | None], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; D(m) as ``{"d1": ..., "d4": ..., "d32": ...}``."""
        out = asdict(self)
        for name in ("bound", "exact", "exact_ranks"):
            effects = out[name]
            out[name] = None if effects is None else {f"d{m}": d for m, d in effects.items()}
        names = ("memory", "block", "lanes", "requests", "d32")
        out["more"] = [dict(zip(names, row, strict=True)) for row in self.more]
        return out

    def __str__(self) -> str:
        each = self.batch // self.world_size
        rows = [
            ("data set", f"{self.samples:,} samples, mean {format_size(self.sample_bytes)}"),
            ("batch", f"{self.batch:,} ({each} on each of {self.world_size} ranks)"),
            (
                "epoch",
                f"{self.steps:,} steps, {self.left_out:,} samples left out ({self.remainder})",
            ),
            ("order", f"{self.shuffle}, block {self.block}, lanes {self.lanes}"),
            ("memory", self._memory()),
            ("requests", f"{self.requests:,} (least {self.requests_least:,}: one a block)"),
            ("bytes", format_size(self.bytes)),
            ("price", self._price()),
            *self._cache(),
            *self._rates(),
            *self._quality(),
            *(("because", reason) for reason in self.reasons),
            *self._more(),
        ]
        lines = [f"plan of an epoch over {self.url}, by arithmetic"]
        return "\n".join(lines + [f"  {name:<9} {text}" for name, text in rows])

    def _memory(self) -> str:
        word = "stated" if self.memory_stated else "assumed: none is stated"
        return (
            f"{format_size(self.memory)} a rank ({word}); the lanes hold {format_size(self.held)}, "
            "the rest is for requests and batches"
        )

    def _price(self) -> str:
        if self.usd is None:
            return "not known for this store; get_price= dollars for 1,000 GETs"
        return f"${self.usd:,.4f} an epoch at ${self.usd_per_1000_gets:g} for 1,000 GETs"

    def _cache(self) -> list[tuple[str, str]]:
        if self.cached is None:
            return []
        text = f"the disk cache holds {self.cached:.0%} of the data on each machine"
        if self.cached == 1:
            return [("cache", f"{text}: later epochs send no requests for what is there")]
        return [("cache", f"{text}: on one machine, later epochs read the rest")]

    def _rates(self) -> list[tuple[str, str]]:
        if self.seconds is None or self.bytes_per_s is None or self.requests_per_s is None:
            return []
        return [
            (
                "rate",
                f"an epoch in {self.seconds:,.0f} s needs {format_size(self.bytes_per_s)}/s and "
                f"{self.requests_per_s:,.0f} GET/s over all ranks",
            )
        ]

    def _quality(self) -> list[tuple[str, str]]:
        if self.shuffle == "none":
            return [("quality", "no shuffle: the stored order")]
        bound = _effects(self.bound, "≤ ")
        rows = [("quality", f"{bound} on data sorted by class (1 = a true shuffle)")]
        if self.exact is not None:
            rows.append(("", f"{_effects(self.exact)} over the labels, for the whole job"))
        if self.exact_ranks is not None:
            rows.append(("", f"{_effects(self.exact_ranks)} over the labels, for a single rank"))
        pairs, shuffled = f"{self.block_pairs:.3g}", f"{self.block_pairs_shuffled:.3g}"
        rows.append(("", f"{pairs} pairs from one block in a batch, a true shuffle has {shuffled}"))
        return rows

    def _more(self) -> list[tuple[str, str]]:
        return [
            (
                "with",
                f"{format_size(memory)} a rank: block {block}, lanes {lanes}, {requests:,} "
                f"requests, {_effects({32: bound}, '≤ ')}",
            )
            for memory, block, lanes, requests, bound in self.more
        ]


def _effects(effects: Effects, sign: str = "") -> str:
    return ", ".join(
        f"D({m}) " + ("n/a: epoch too short" if d is None else f"{sign}{d:.2f}")
        for m, d in effects.items()
    )


def estimate(
    dataset: Dataset,
    *,
    batch_size: int,
    world_size: int = 1,
    memory: int | float | str | None = None,
    shuffle: Any = True,
    block: int | None = None,
    lanes: int | None = None,
    pre_shuffled: bool = False,
    remainder: str | None = None,
    seed: int = 0,
    step_ms: float | None = None,
    gpus: int | None = None,
    labels: npt.ArrayLike | str | None = None,
    get_price: float | None = None,
) -> Estimate:
    """See :meth:`headrace.Dataset.plan`."""
    name = shuffle_name(shuffle)
    _check(batch_size=batch_size, world_size=world_size, memory=memory, step_ms=step_ms, gpus=gpus)
    world = world_size if gpus is None else gpus
    batch, left = batch_size * world, remainder or ("pad" if name == "none" else "drop")
    choice = {
        "batch": batch, "world_size": world, "shuffle": name, "block": block, "lanes": lanes,
        "pre_shuffled": pre_shuffled,
    }  # fmt: skip
    chosen = dataset.choose(memory=memory, **choice)
    samples, order = len(dataset), _order(dataset, chosen, name, seed)
    cursor = Cursor(samples=samples, batch=batch, rank=0, world=world, remainder=left)
    steps = cursor.batches_per_epoch()
    mean = dataset.core.sample_bytes / max(1, dataset.core.samples)
    delivered = min(samples, steps * batch)
    price = _price(dataset) if get_price is None else get_price
    stated = parse_size(memory) if memory is not None else parse_size(_MEMORY_ASSUMED)
    pairs, shuffled = _core.block_pairs(samples, order.block, order.lanes, batch)
    exact, ranks, looked_at = _exact(dataset, order, labels, batch, world)
    seconds = None if step_ms is None else steps * step_ms / 1e3
    requests = int(chosen["requests"])
    return Estimate(
        url=dataset.url,
        samples=samples,
        sample_bytes=mean,
        batch=batch,
        world_size=world,
        shuffle=name,
        remainder=left,
        steps=steps,
        left_out=samples - delivered,
        block=order.block,
        lanes=order.lanes,
        memory=stated,
        memory_stated=memory is not None,
        held=int(_RESIDENT * order.lanes * order.block * mean / world),
        requests=requests,
        requests_least=-(-samples // order.block),
        bytes=int(delivered * mean),
        usd=None if price is None else requests / 1000 * price,
        usd_per_1000_gets=price,
        bound={m: chosen[f"d{m}"] for m in _WINDOWS},
        exact=exact,
        exact_ranks=ranks,
        ranks_looked_at=looked_at,
        block_pairs=pairs,
        block_pairs_shuffled=shuffled,
        seconds=seconds,
        bytes_per_s=delivered * mean / seconds if seconds else None,
        requests_per_s=requests / seconds if seconds else None,
        reasons=tuple(chosen["reasons"]),
        cached=_cached_share(dataset),
        more=_with_more(dataset, stated, choice) if block is None else (),
    )


def _cached_share(dataset: Dataset) -> float | None:
    """By the limits that stand when it is asked: cache_bytes, and what the disk has free."""
    folder, most = (dataset._options.get(name) for name in ("cache_dir", "cache_bytes"))
    if not folder:
        return None
    there = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
    disk = shutil.disk_usage(there)
    room = max(0.0, disk.free - _DISK_LEFT_FREE * disk.total)
    used = Path(folder, "headrace-cache-v1", "use")
    if used.exists():  # what the cache takes already is free for it (docs/cache.md: magic, bytes)
        room += int.from_bytes(used.read_bytes()[8:16], "little")
    if most:
        room = min(room, most)
    needed = dataset.nbytes * (1 + _BLOCK_HEADER_SHARE)
    return min(1.0, room / needed) if needed else 1.0


def _check(**given: Any) -> None:
    faults = Faults("plan")
    for name in ("batch_size", "world_size", "gpus"):
        faults.count(name, given[name], least=1)
    faults.size("memory", given["memory"])
    step_ms = given["step_ms"]
    if step_ms is not None and not (isinstance(step_ms, int | float) and step_ms > 0):
        faults.add(f"step_ms={step_ms!r} is not a number of milliseconds")
    faults.raise_any()


def _order(dataset: Dataset, chosen: dict[str, Any], shuffle: Any, seed: int) -> Order:
    counts, units = order_counts(dataset, shuffle_name(shuffle))
    return Order(
        counts,
        seed=seed,
        block=chosen["block"],
        lanes=chosen["lanes"],
        shuffle=shuffle,
        units=units,
    )


def _price(dataset: Dataset) -> float | None:
    """S3's own price where the data lies there."""
    named = dataset.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3", "")
    host = urlsplit(named or os.environ.get("AWS_ENDPOINT_URL", "")).hostname or "amazonaws.com"
    on_aws = dataset.url.startswith("s3://") and host.endswith("amazonaws.com")
    return S3_USD_PER_1000_GETS if on_aws else None


def _with_more(
    dataset: Dataset, memory: int, choice: dict[str, Any]
) -> tuple[tuple[int, int, int, int, float | None], ...]:
    """Twice and four times the memory."""
    found = []
    for factor in (2, 4):
        chosen = dataset.choose(memory=factor * memory, **choice)
        row = (chosen["block"], chosen["lanes"], int(chosen["requests"]), chosen["d32"])
        found.append((factor * memory, *row))
    return tuple(found)


def _exact(
    dataset: Dataset, order: Order, labels: npt.ArrayLike | str | None, batch: int, world: int
) -> tuple[Effects | None, Effects | None, int]:
    """D(m) over the labels of the whole job, and of single ranks (and of how many)."""
    if labels is None:
        return None, None, 0
    column = dataset.column(labels) if isinstance(labels, str) else labels
    try:
        classes = class_numbers(column, len(dataset))
    except ValueError as fault:
        raise OptionError(f"plan: labels=: {fault}") from fault
    whole = order.design_effect(classes, batch=batch, windows=_WINDOWS)
    if world == 1:
        return whole, whole, 1
    looked_at = _ranks_to_look_at(len(order) // batch, world)
    return whole, _of_ranks(order, classes, batch, world, looked_at), len(looked_at)


def _ranks_to_look_at(steps: int, world: int) -> Sequence[int]:
    count = max(1, min(world, _RANK_BATCHES_MAX // max(1, steps)))
    return [rank * world // count for rank in range(count)]


def _of_ranks(
    order: Order, classes: npt.NDArray[np.int64], batch: int, world: int, ranks: Sequence[int]
) -> Effects:
    """Means over the ranks; epoch 0, in which position p is rank p mod world's."""
    meters = {rank: ClassBalance(classes, _WINDOWS) for rank in ranks}
    for begin in range(0, len(order) - batch + 1, batch):
        ids = order.at_many(np.arange(begin, begin + batch))
        for rank, meter in meters.items():
            meter.add(ids[(rank - begin) % world :: world], 0)
    found: Effects = {}
    for m in _WINDOWS:
        known = [d for meter in meters.values() if (d := meter.effects()[m]) is not None]
        found[m] = float(np.mean(known)) if known else None
    return found
