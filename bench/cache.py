# SPDX-License-Identifier: Apache-2.0
"""Two epochs, each in a process of its own, over one cache folder: headrace's disk cache beside the
local caches of mosaicml-streaming and litdata.

    python bench/cache.py --peers DIR --rounds 3 --out RESULT.json    (--samples 1024: a try)

The second process finds on disk what the first one read. Both have one fresh headrace-serve
with S3's latencies; contenders take turns within a round. headrace also runs with room for a half
and a quarter of the data: pinned blocks must then hit just that fraction. Samples arrive exactly
once in every epoch, or the run fails. The machine's page cache holds what was written: the second
epoch's rates are those of the loaders, not of the disk. Method: bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import Contender
from one_run import BATCH, Bench, child_environment, result_of, spec_for
from server import Server, find_program
from throughput import build_indexes, machine
from workload import PEERS, Stored, Workload, make

RUN_SECONDS = 600.0
BLOCK_FILE_BYTES = (512 << 10) + 4096  # docs/cache.md


@dataclass(frozen=True)
class Cached:
    """A contender and how much of the data its cache may hold (None: all)."""

    contender: Contender
    room: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.contender.name + ("" if self.room is None else f", room for {self.room:.0%}")


def contenders() -> list[Cached]:
    ours = Contender(
        "headrace cache_dir", "stream_headrace.py", "tarpax", {"memory": "512MiB"}, own_python=True
    )
    return [
        Cached(ours),
        Cached(ours, 0.5),
        Cached(ours, 0.25),
        Cached(Contender("mosaicml-streaming w=4", "stream_mosaic.py", "mds", {"workers": 4})),
        Cached(Contender("litdata w=4", "stream_litdata.py", "litdata", {"workers": 4})),
    ]


def run_epoch(
    bench: Bench, cached: Cached, cache: Path, server: Server, epoch: int
) -> dict[str, Any]:
    """One process over the cache folder as the one before left it."""
    contender, stored = cached.contender, bench.sets[cached.contender.dataset]
    server.reset_stats()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        spec = spec_for(bench, contender, server, folder, epoch)
        spec["cache"] = str(cache)
        if contender.own_python:
            spec["open_options"]["cache_dir"] = str(cache)
            if cached.room is not None:
                files = stored.nbytes() / (512 << 10) * BLOCK_FILE_BYTES
                spec["open_options"]["cache_bytes"] = int(files * cached.room)
        path = folder / "spec.json"
        path.write_text(json.dumps(spec))
        environment = {**child_environment(), "BENCH_SPAWNED_AT": str(time.monotonic())}
        done = subprocess.run(
            [str(bench.python_of(contender)), str(PEERS / contender.script), str(path)],
            env=environment, capture_output=True, timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return {"failed": done.stderr.decode(errors="replace")[-1500:]}
        run = result_of(bench, contender, folder)
        run |= asked_of(server, stored)
    run["disk_bytes"] = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
    if run["lost"] or run["repeated"] or run["wrong_labels"]:
        run["failed"] = f"lost {run['lost']}, repeated {run['repeated']} samples"
    return run


def asked_of(server: Server, stored: Stored) -> dict[str, Any]:
    stats, folder = server.stats(), stored.folder
    files = [path for path in folder.rglob("*") if path.is_file() and ".headrace" not in path.parts]
    stored_bytes = sum(path.stat().st_size for path in files)
    return {
        "gets": stats["by_op"].get("GetObject", 0),
        "served_bytes": stats["body_bytes"],
        "bytes_x_stored": stats["body_bytes"] / stored_bytes,
    }


def run_both(bench: Bench, cached: Cached, profile: str) -> dict[str, Any]:
    cache = Path(tempfile.mkdtemp(prefix="headrace-bench-cache-"))
    out: dict[str, Any] = {"contender": cached.name, "load_before": os.getloadavg()[0]}
    try:
        # One server: another port would be another store, whose objects are not in the cache.
        root = str(bench.sets[cached.contender.dataset].root)
        with Server(bench.serve, [root], profile) as server:
            out["epochs"] = [run_epoch(bench, cached, cache, server, n) for n in (1, 2)]
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    return out


def table(runs: list[dict[str, Any]]) -> str:
    lines = [
        "| | samples/s, epoch 1 | epoch 2 | CPU-s/GB, epoch 1 | epoch 2 | GETs, epoch 1 | epoch 2 "
        "| bytes of the data, epoch 1 | epoch 2 | disk, MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(run["contender"] for run in runs):
        mine = [run["epochs"] for run in runs if run["contender"] == name]
        failed = next((e["failed"] for pair in mine for e in pair if "failed" in e), None)
        if failed is not None:
            lines.append(f"| {name} | failed: {failed.splitlines()[-1]} |")
            continue

        def middle(what: str, epoch: int, mine: Any = mine) -> float:
            return statistics.median(float(pair[epoch][what]) for pair in mine)

        cells = [
            f"{middle(what, epoch):{form}}"
            for what, form in [("samples_per_s", ",.0f"), ("cpu_s_per_gb", ".2f"),
                               ("gets", ",.0f"), ("bytes_x_stored", ".3f")]
            for epoch in (0, 1)
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} | {middle('disk_bytes', 1) / 1e6:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", default="s3")
    parser.add_argument("--samples", type=int, default=Workload.samples)
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "headrace-bench")
    parser.add_argument("--peers", type=Path, default=Path(__file__).parents[1] / "build" / "peers",
                        help="environment made by bench/peers/setup")  # fmt: skip
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    wanted = [cached for cached in contenders() if given.only in cached.name]
    python = given.peers / "bin" / "python"
    peers = str(python) if python.exists() else None
    workload = Workload.of(given.samples)
    sets = make(given.data, workload, peers, {cached.contender.dataset for cached in wanted})
    bench = Bench(workload, sets, find_program("headrace-serve", given.serve), None, peers, BATCH)
    build_indexes(bench, [cached.contender for cached in wanted])
    runs = []
    for _ in range(given.rounds):
        for cached in wanted:
            if bench.can_run(cached.contender):
                runs.append(run_both(bench, cached, given.profile))
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()
