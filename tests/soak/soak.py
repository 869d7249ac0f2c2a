# SPDX-License-Identifier: Apache-2.0
"""Longer proofs than `make test` has time for. Each prints one line of JSON and exits 0 or 1.

    soak.py kills --cycles 2000    SIGKILL at random moments, resume on random rank counts and batch sizes
    soak.py elastic                saved on 8 ranks, resumed on 7, 6, 5, 3, 1 and 12: exact, bytes, requests, memory
    soak.py drill                  4 hosts x 2 ranks; hosts are lost; the job goes on with 3, then with 4
    soak.py cache --seconds 3600   processes that come, go and are killed on one disk cache, a store that fails 1 %
    soak.py cgroup --processes 8   that many loaders under one memory limit: none is killed

Recorded results: docs/proofs.md. Run from the tree after `make native`: .venv/bin/python tests/soak/soak.py ...
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cache_load import cache_soak
from drill import drill
from elastic import elastic
from kills import kills

import headrace as hr
from headrace.serve import Server

LOADER = """
import json, sys, time
import headrace as hr
options, rank, world, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
loader = hr.open('s3://data/', **options).loader(batch_size=64, rank=rank, world_size=world)
end, rows = time.monotonic() + seconds, 0
for epoch in loader.epochs(1000):
    for batch in loader:
        rows += len(batch.ids)
        if time.monotonic() > end:
            print(rows)
            sys.exit(0)
"""


class MemoryGroup:
    """A memory cgroup (version 1 or 2) of this machine; needs root."""

    def __init__(self, limit: int) -> None:
        v1 = Path("/sys/fs/cgroup/memory")
        self.path = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"headrace-soak-{os.getpid()}"
        self.path.mkdir()
        self.v1 = v1.is_dir()
        (self.path / ("memory.limit_in_bytes" if self.v1 else "memory.max")).write_text(str(limit))

    def join(self) -> None:
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> int:
        name = "memory.max_usage_in_bytes" if self.v1 else "memory.peak"
        return int((self.path / name).read_text())

    def remove(self) -> None:
        self.path.rmdir()


def cgroup(arguments: argparse.Namespace) -> dict[str, object]:
    group = MemoryGroup(arguments.limit)
    big = ["--synthetic", "data=samples=400000,bytes=115000,shard=64MB,format=tar"]
    try:
        with Server(anonymous=True, words=[*big, "--profile", "s3"]) as server:
            options = {
                "endpoint_url": server.endpoint_url,
                "anonymous": True,
                "index": str(arguments.index),
            }
            if not arguments.index.exists():
                ds = hr.open("s3://data/", endpoint_url=server.endpoint_url, anonymous=True)
                ds.index(save=str(arguments.index))
                ds.close()
            world = arguments.processes
            loaders = [
                subprocess.Popen(
                    [sys.executable, "-c", LOADER, json.dumps(options), str(rank), str(world),
                     str(arguments.seconds)],
                    stdout=subprocess.PIPE, text=True, preexec_fn=group.join,
                    env={**os.environ, "LOCAL_WORLD_SIZE": str(world)},
                )
                for rank in range(world)
            ]  # fmt: skip
            rows = [process.communicate()[0].strip() for process in loaders]
            codes = [process.returncode for process in loaders]
        return {
            "processes": world, "limit": arguments.limit, "peak": group.peak(), "seconds": arguments.seconds,
            "rows": [int(r or 0) for r in rows], "exit_codes": codes, "ok": not any(codes),
        }  # fmt: skip
    finally:
        group.remove()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    proofs = parser.add_subparsers(required=True)
    killing = proofs.add_parser("kills")
    killing.add_argument("--cycles", type=int, default=50)
    killing.add_argument("--seed", type=int, default=1)
    killing.set_defaults(run=lambda given: kills(given.cycles, given.seed))
    proofs.add_parser("elastic").set_defaults(run=lambda given: elastic())
    drilling = proofs.add_parser("drill")
    drilling.add_argument("--samples", type=int, default=12_000)
    drilling.add_argument("--bytes", type=int, default=20_000, help="of a sample")
    drilling.add_argument("--process-groups", action="store_true", help="no network namespaces")
    drilling.set_defaults(
        run=lambda given: drill(given.samples, given.bytes, namespaced=not given.process_groups)
    )
    caching = proofs.add_parser("cache")
    caching.add_argument("--seconds", type=float, default=60)
    caching.add_argument("--processes", type=int, default=3)
    caching.add_argument("--seed", type=int, default=1)
    caching.set_defaults(
        run=lambda given: cache_soak(given.seconds, given.processes, given.seed)
    )
    limited = proofs.add_parser("cgroup")
    limited.add_argument("--processes", type=int, default=8)
    limited.add_argument("--limit", type=int, default=4 << 30, help="bytes")
    limited.add_argument("--seconds", type=float, default=20)
    limited.add_argument(
        "--index", type=Path, default=Path(tempfile.gettempdir(), "headrace-soak.hridx")
    )
    limited.set_defaults(run=cgroup)
    arguments = parser.parse_args()
    result = arguments.run(arguments)
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
