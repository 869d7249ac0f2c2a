# SPDX-License-Identifier: Apache-2.0
"""One run of one contender: a fresh server, a fresh process, and all that is measured of both.

What is seen from outside (memory, GETs, bytes, requests in flight) is measured outside; what only
the process knows (times, CPU, delivered ids) it writes by peers/meter.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import quality
from contenders import Contender
from process_tree import MemoryWatch
from server import Server
from workload import PEERS, Stored, Workload

BATCH = 256
_RUN_SECONDS = 300.0


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    workload: Workload
    sets: dict[str, Stored]
    serve: str
    wall: str | None
    peers_python: str | None
    block: int  # samples a range of the wall's blocks

    def python_of(self, contender: Contender) -> str | None:
        return sys.executable if contender.own_python else self.peers_python

    def can_run(self, contender: Contender) -> bool:
        has_program = self.wall if contender.script == "" else self.python_of(contender)
        small = contender.samples_max is None or self.workload.samples <= contender.samples_max
        return small and has_program is not None and contender.dataset in self.sets


def child_environment() -> dict[str, str]:
    """Signing clients sign with this key; the server does not check (the wall cannot sign)."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "OPENBLAS_NUM_THREADS": "1",  # else numpy's idle threads spin into everyone's CPU figure
    }


def wall_requests(bench: Bench, stored: Stored, kind: str, seed: int) -> str:
    """Lines "path begin end" in random order: single payloads, or blocks with their headers."""
    rows = stored.table()
    lines = []
    if kind == "samples":
        for shard, offset, length, _ in rows.tolist():
            lines.append(f"/{stored.bucket}/{stored.shards[shard]} {offset} {offset + length}")
    else:
        for shard, key in enumerate(stored.shards):
            mine = rows[rows[:, 0] == shard]
            for first in range(0, len(mine), bench.block):
                block = mine[first : first + bench.block]
                begin, end = block[0][1] - 512, block[-1][1] + block[-1][2]  # a header before
                lines.append(f"/{stored.bucket}/{key} {begin} {end}")
    order = np.random.default_rng(seed).permutation(len(lines))
    return "\n".join(lines[i] for i in order) + "\n"


def spec_for(
    bench: Bench, contender: Contender, server: Server, folder: Path, seed: int
) -> dict[str, Any]:
    stored = bench.sets[contender.dataset]
    shards = stored.shards
    spec = {
        "url": stored.url,
        "endpoint": server.url,
        "bucket": stored.bucket,
        "shards": shards,
        "batch": BATCH,
        "seed": seed,
        "label_run": bench.workload.label_run,
        "options": contender.options,
        "open_options": {"region": "us-east-1"},
        "result_file": str(folder / "result.json"),
        "ids_file": str(folder / "ids.npy"),
    }
    if contender.script == "stream_headrace.py":
        spec["options"] = {**contender.options, "seed": seed}
    if contender.dataset in ("tar", "tarpax"):
        spec["table_file"] = str(stored.table_file)
    return spec


def command_for(
    bench: Bench, contender: Contender, server: Server, folder: Path, seed: int
) -> list[str]:
    if contender.script:
        spec = folder / "spec.json"
        spec.write_text(json.dumps(spec_for(bench, contender, server, folder, seed)))
        return [str(bench.python_of(contender)), str(PEERS / contender.script), str(spec)]
    requests = folder / "requests"
    stored, kind = bench.sets[contender.dataset], contender.options["kind"]
    requests.write_text(wall_requests(bench, stored, kind, seed))
    connections = contender.options["connections"]
    return [
        str(bench.wall), "--port", str(server.port), "--connections", str(connections),
        "--requests", str(requests),
    ]  # fmt: skip


def run_once(bench: Bench, contender: Contender, profile: str, seed: int) -> dict[str, Any]:
    """One process, measured from outside and by itself."""
    stored = bench.sets[contender.dataset]
    run: dict[str, Any] = {"contender": contender.name, "profile": profile, "seed": seed}
    run["load_before"] = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as name,
        Server(bench.serve, [str(stored.root)], profile, seed) as server,
    ):
        folder = Path(name)
        command = command_for(bench, contender, server, folder, seed)
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            environment = {**child_environment(), "BENCH_SPAWNED_AT": str(time.monotonic())}
            child = subprocess.Popen(
                command, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )
            with MemoryWatch(child.pid) as memory:
                try:
                    code: int | str = child.wait(_RUN_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                    code = f"no end in {_RUN_SECONDS:.0f} s"
        run["load_after"] = os.getloadavg()[0]
        if code != 0:
            run["failed"] = f"{code}: {(folder / 'err').read_text(errors='replace')[-1500:]}"
            return run
        run |= {"rss_peak_bytes": memory.rss_peak, "pss_peak_bytes": memory.pss_peak}
        run |= result_of(bench, contender, folder)
        run |= served(server, bench, stored, run["payload_bytes"])
    return run


def result_of(bench: Bench, contender: Contender, folder: Path) -> dict[str, Any]:
    if contender.script == "":
        result: dict[str, Any] = json.loads((folder / "out").read_text())
        result["payload_bytes"] = result.pop("bytes")
        result["requests_failed"] = result.pop("failed")
        per_sample = bench.sets["tar"].table()[:, 2].mean()
        result["samples_per_s"] = result["mb_per_s"] * 1e6 / per_sample
        if contender.options["kind"] == "samples":  # of blocks it is the first 256 blocks
            result["first_batch_from_iter_s"] = result["first_256_ms"] / 1e3
        return result
    result = json.loads((folder / "result.json").read_text())
    ids = np.load(folder / "ids.npy")
    result["lost"], result["repeated"] = quality.lost_and_repeated(ids, bench.workload.samples)
    labels = ids // bench.workload.label_run
    for batches in (1, 4, 16):
        result[f"d{batches}"] = quality.design_effect(labels, BATCH, batches)
    return result


def served(server: Server, bench: Bench, stored: Stored, payload_bytes: int) -> dict[str, Any]:
    stats = server.stats()
    return {
        "gets": stats["by_op"]["GetObject"],
        "requests": stats["requests"],
        "served_bytes": stats["body_bytes"],
        "bytes_x_payload": stats["body_bytes"] / payload_bytes,
        "bytes_x_stored": stats["body_bytes"] / stored.nbytes(),
        "in_flight_max": stats["in_flight_max"],
        "connections": stats["connections"],
        "server_cpu_s": server.cpu_seconds(),
    }
