# SPDX-License-Identifier: Apache-2.0
"""Measures D(m) of headrace's and other loaders' orders on four data sets, at equal memory.

    .venv/bin/python bench/quality/measure.py [--seeds 3] [--out bench/quality/results.json]

Orders of other loaders come from their own code in their own environments (bench/quality/setup).
Orders are kept in build/quality, so that a second run only measures. Takes about half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import design
import held
import numpy as np
import worlds

import headrace as hr

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = ROOT / "build" / "quality"
COUNTS = worlds.shard_counts()
MB = 1e6


@dataclass(frozen=True)
class Contender:
    name: str
    by: str  # headrace, numpy, or the peer's script
    options: dict[str, Any] = field(default_factory=dict)
    workers: int = 4
    where: str = "memory"  # what the figure beside it is held in

    def key(self, ranks: int, seed: int) -> str:
        words = "-".join(f"{k}{v}" for k, v in sorted(self.options.items()))
        return f"{self.by}-{words}-w{self.workers}-r{ranks}-s{seed}.npy".replace("/", "_")


def contenders(ranks: int) -> list[Contender]:
    """1 rank: what one GPU would run. 8 ranks: one worker each, so that all fit in the memory."""
    two, nine = {"block": 2, "lanes": 5040}, {"block": 9, "lanes": 1680}
    found = [
        Contender("headrace stratified, as chosen (c=2, L=5,040)", "headrace", two),
        Contender("headrace stratified, 1 MB blocks (c=9, L=1,680)", "headrace", nine),
        Contender("headrace block (c=2, L=5,040)", "headrace", {**two, "shuffle": "block"}),
        Contender("headrace block, 1 MB (c=9, L=1,680)", "headrace", {**nine, "shuffle": "block"}),
        Contender("headrace units of 4 to 14, L=840", "headrace", {"units": True, "lanes": 840}),
        Contender("headrace global", "headrace", {"shuffle": "global", "lanes": 5040}),
    ]
    workers = 4 if ranks == 1 else 1
    every = {"shardshuffle": len(COUNTS)}
    wds, mosaic = "peer_webdataset", "peer_mosaic"
    found += [
        Contender("webdataset, buffer 1,000", wds, {**every, "buffer": 1000}, workers),
        Contender("webdataset, buffer 10,000", wds, {**every, "buffer": 10_000}, workers),
    ]
    if ranks == 1:
        found += [
            Contender("webdataset, buffer 1,661", wds, {**every, "buffer": 1661}),
            Contender(
                "webdataset, buffer 1,000 + mixed again 2,647",
                wds,
                {**every, "buffer": 1000, "remix": 2647},
            ),
        ]
    found += [
        Contender("streaming py1e, block 7,000", mosaic, {"algo": "py1e", "block": 7000}, workers),
        Contender(
            "streaming py1br, block 5,000", mosaic, {"algo": "py1br", "block": 5000}, workers
        ),
        Contender("streaming py1s, 10 nodes", mosaic, {"algo": "py1s", "nodes": 10}, workers),
        Contender("streaming py1e (its default)", mosaic, {"algo": "py1e"}, workers),
        Contender("streaming py1s", mosaic, {"algo": "py1s"}, workers),
        Contender("litdata", "peer_litdata", {}, workers),
        Contender("true shuffle", "numpy"),
    ]
    return found


def headrace_order(options: dict[str, Any], ranks: int, seed: int) -> np.ndarray:
    counts = worlds.unit_counts() if options.get("units") else COUNTS
    order = hr.Order(counts, seed=seed, **options)
    begin = len(order) % worlds.BATCH  # remainder="drop" leaves out the first
    positions = np.arange(begin, len(order)).reshape(-1, worlds.BATCH)
    rank = positions % ranks
    rows = np.take_along_axis(positions, np.argsort(rank, axis=1, kind="stable"), axis=1)
    ids = order.at_many(rows.ravel()).astype(np.int32)
    return ids.reshape(len(rows), ranks, worlds.BATCH // ranks)


def peer_order(one: Contender, ranks: int, seed: int, pythons: dict[str, str]) -> np.ndarray:
    spec = {
        "shards": COUNTS, "batch": worlds.BATCH // ranks, "seed": seed + 1, "ranks": ranks,
        "workers": one.workers, "options": one.options,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        asked, made = Path(folder) / "spec.json", Path(folder) / "order.npy"
        asked.write_text(json.dumps(spec))
        subprocess.run(
            [pythons[one.by], str(HERE / f"{one.by}.py"), str(asked), str(made)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        return np.load(made)


def order_of(one: Contender, ranks: int, seed: int, pythons: dict[str, str]) -> np.ndarray:
    """Sample numbers [steps, ranks, batch of a rank], each at most once."""
    kept = KEPT / one.key(ranks, seed)
    if one.by == "headrace":
        return headrace_order(one.options, ranks, seed)
    if kept.exists():
        return np.load(kept)
    if one.by == "numpy":
        steps = worlds.SAMPLES // worlds.BATCH
        ids = np.random.default_rng(seed).permutation(worlds.SAMPLES)[: steps * worlds.BATCH]
        found = ids.astype(np.int32).reshape(steps, ranks, -1)
    else:
        found = peer_order(one, ranks, seed, pythons)
    KEPT.mkdir(parents=True, exist_ok=True)
    np.save(kept, found)
    return found


def held_bytes(one: Contender, ranks: int, ids: np.ndarray) -> float:
    """What the order holds, without bytes in flight."""
    flat = ids.transpose(0, 2, 1).ravel()  # rows of the ranks in turn, as positions go
    shard = np.repeat(np.arange(len(COUNTS)), COUNTS)
    if one.by == "headrace" and one.options.get("units"):
        units = worlds.unit_counts()
        unit = np.repeat(np.arange(len(units)), units)
        return held.peak_by_unit(flat, unit, wraps=True) * worlds.SAMPLE_BYTES
    if one.by == "headrace" and "block" in one.options:
        block = held.blocks_of_samples(COUNTS, one.options["block"])
        return held.peak_by_sample(flat, block, wraps=True) * worlds.SAMPLE_BYTES
    if one.by == "peer_webdataset":  # full buffers, and two batches ahead in each worker
        buffers = one.workers * one.options["buffer"] + one.options.get("remix", 0)
        ahead = 2 * one.workers * worlds.BATCH // ranks
        return ranks * (buffers + ahead) * worlds.SAMPLE_BYTES
    if one.by in ("peer_mosaic", "peer_litdata"):  # whole shards on disk, none kept a step too long
        return held.peak_by_unit(flat, shard) * worlds.SAMPLE_BYTES
    return worlds.BATCH * worlds.SAMPLE_BYTES


def effects_of(ids: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float | None]]:
    classes = np.bincount(labels)
    ranks, mine = ids.shape[1:]
    seen = labels[ids]
    all_rows = seen.reshape(len(ids), -1).ravel()
    found: dict[str, dict[str, float | None]] = {"D": {}}
    for m in worlds.WINDOWS:
        found["D"][str(m)] = design.design_effect(all_rows, classes, m * worlds.BATCH)
        if ranks > 1:
            own = [
                design.design_effect(seen[:, r].ravel(), classes, m * mine) for r in range(ranks)
            ]
            found.setdefault("rank median", {})[str(m)] = float(np.median(own))
            found.setdefault("rank worst", {})[str(m)] = float(np.max(own))
    return found


def bounds_of(one: Contender) -> dict[str, float] | None:
    if one.by != "headrace" or one.options.get("shuffle") == "global":
        return None
    units = one.options.get("units")
    block = design.size_biased(worlds.unit_counts()) if units else one.options["block"]
    return {
        str(m): design.bound(block, one.options["lanes"], worlds.BATCH, m) for m in worlds.WINDOWS
    }


def measure(one: Contender, ranks: int, seeds: int, pythons: dict[str, str], labels) -> dict:
    row: dict[str, Any] = {"name": one.name, "by": one.by, "options": one.options, "ranks": ranks}
    row["workers"] = one.workers if one.by.startswith("peer") else 0
    row["bound"] = bounds_of(one)
    row["seeds"] = []
    for seed in range(seeds):
        ids = order_of(one, ranks, seed, pythons)
        flat = ids.ravel()
        if np.bincount(flat, minlength=worlds.SAMPLES).max() > 1:
            raise SystemExit(f"{one.name}: a sample comes twice")
        row["samples"] = len(flat)
        if seed == 0:
            row["held_bytes"] = held_bytes(one, ranks, ids)
        row["seeds"].append({name: effects_of(ids, labels[name]) for name in worlds.DATA_SETS})
    return row


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    return f"{os.cpu_count()} cores, {model}, Linux {platform.release()}"


def versions(pythons: dict[str, str]) -> dict[str, str]:
    ask = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    names = {"peer_webdataset": "webdataset", "peer_mosaic": "mosaicml-streaming"}
    names["peer_litdata"] = "litdata"
    found = {
        name: subprocess.run(
            [pythons[by], "-c", ask, name], check=True, capture_output=True, text=True
        ).stdout.strip()
        for by, name in names.items()
    }
    return {**found, "numpy": np.__version__, "python": platform.python_version()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--ranks", type=int, nargs="*", default=[1, 8])
    arguments.add_argument("--only", default="", help="contenders whose name has this in it")
    arguments.add_argument("--peers", default=str(ROOT / "build" / "peers"))
    arguments.add_argument("--litdata", default=str(ROOT / "build" / "peers-litdata"))
    arguments.add_argument("--out", type=Path, default=HERE / "results.json")
    asked = arguments.parse_args()
    peers, litdata = f"{asked.peers}/bin/python", f"{asked.litdata}/bin/python"
    pythons = {"peer_webdataset": peers, "peer_mosaic": peers, "peer_litdata": litdata}
    labels = {name: worlds.labels(name) for name in worlds.DATA_SETS}
    rows = []
    for ranks in asked.ranks:
        for one in contenders(ranks):
            if asked.only not in one.name:
                continue
            began = time.monotonic()
            rows.append(measure(one, ranks, asked.seeds, pythons, labels))
            d32 = np.median([seed["class-sorted"]["D"]["32"] for seed in rows[-1]["seeds"]])
            print(
                f"{ranks} ranks  {one.name:48} {rows[-1]['held_bytes'] / 1e9:7.2f} GB  "
                f"class-sorted D(32) {d32:8.2f}  {time.monotonic() - began:4.0f} s",
                flush=True,
            )
    result = {"machine": machine(), "versions": versions(pythons), "samples": worlds.SAMPLES}
    result |= {"sample_bytes": worlds.SAMPLE_BYTES, "batch": worlds.BATCH, "rows": rows}
    asked.out.write_text(json.dumps(_rounded(result), indent=None, separators=(",", ":")) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
