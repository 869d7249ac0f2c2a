# SPDX-License-Identifier: Apache-2.0
"""The epoch of throughput.py from a store that other people wrote: Ceph's S3 gateway, one node,
objects in memory, on this machine (tests/s3/ceph_rgw.py).

    python bench/ceph.py --peers DIR --rounds 3 --out ceph.json

It says that what comes out is right and how fast the gateway lets anyone be: the gateway and its
object store take most of the two cores. Signatures are checked; the wall reads unsigned, from
objects that anyone may read.
"""

from __future__ import annotations

import argparse
import hashlib
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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "s3"))

from ceph_rgw import CephGateway

from contenders import CONTENDERS, Contender
from one_run import Bench, child_environment, command_for, result_of
from process_tree import MemoryWatch
from server import find_program
from table import spread
from throughput import INDEX, machine
from workload import Stored, Workload, make

NAMES = [
    "headrace stratified 1GiB",
    "headrace global 1GiB",
    "obstore in order 512",
    "obstore any order 512",
    "boto3 64 threads",
    "s3torchconnector 64 threads",
    "wall blocks 256",
]


@dataclass(frozen=True)
class Store:
    """What command_for() wants of a server."""

    url: str
    port: int


def upload(ceph: CephGateway, stored: Stored) -> None:
    """The shards, readable by anyone, and headrace's index of them as this store has them."""
    client = ceph.client()
    client.create_bucket(Bucket=stored.bucket, ACL="public-read")
    for key in stored.shards:
        body = (stored.folder / key).read_bytes()
        client.put_object(Bucket=stored.bucket, Key=key, Body=body, ACL="public-read")
    command = [sys.executable, "-c", INDEX, stored.url, ceph.url]
    subprocess.run(command, env={**child_environment(), **ceph.environment()}, check=True)


def run(bench: Bench, contender: Contender, ceph: CephGateway, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {"contender": contender.name, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        store: Any = Store(ceph.url, ceph.port)
        command = command_for(bench, contender, store, folder, seed)
        environment = {**child_environment(), **ceph.environment()}
        environment["BENCH_SPAWNED_AT"] = str(time.monotonic())
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            child = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
            with MemoryWatch(child.pid) as memory:
                code = child.wait()
        if code:
            return {**found, "failed": (folder / "err").read_text(errors="replace")[-1500:]}
        found |= {"rss_peak_bytes": memory.rss_peak}
        return found | result_of(bench, contender, folder)


def wrong_hashes(
    bench: Bench, contender: Contender, ceph: CephGateway, hashes: dict[int, str]
) -> int:
    """A run of its own, not timed: how many of the epoch's payloads are not the stored ones."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        store: Any = Store(ceph.url, ceph.port)
        command = command_for(bench, contender, store, folder, 1)
        environment = {**child_environment(), **ceph.environment()}
        environment |= {
            "BENCH_SPAWNED_AT": str(time.monotonic()),
            "BENCH_HASHES": str(folder / "hashes"),
        }
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        ids = np.load(folder / "ids.npy").tolist()
        found = (folder / "hashes").read_text().split()
    right = {i for i, digest in zip(ids, found, strict=True) if hashes.get(i) == digest}
    return max(len(hashes), len(ids)) - len(right)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=Workload.samples)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "headrace-bench")
    parser.add_argument("--peers", type=Path, default=Path(__file__).parents[1] / "build" / "peers")
    parser.add_argument("--serve", help="path of headrace-serve (not used)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    peers_python = options.peers / "bin" / "python"
    peers = str(peers_python) if peers_python.exists() else None
    workload = Workload.of(options.samples)
    bench = Bench(
        workload=workload,
        sets=make(options.data, workload, peers, {"tar", "tarpax"}),
        serve=find_program("headrace-serve", options.serve),
        wall=find_program("bench_wall", None),
        peers_python=peers,
        block=2,
    )
    contenders = [c for c in CONTENDERS if c.name in NAMES and bench.can_run(c)]
    runs: list[dict[str, Any]] = []
    with CephGateway.start() as ceph:
        for name in ("tar", "tarpax"):
            upload(ceph, bench.sets[name])
        for turn in range(options.rounds):
            first = turn % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                runs.append(run(bench, contender, ceph, turn + 1))
                said = runs[-1].get("failed") or f"{runs[-1]['samples_per_s']:,.0f} samples/s"
                print(f"round {turn + 1} {contender.name}: {said}", file=sys.stderr)
                if options.out:
                    options.out.write_text(
                        json.dumps({"machine": machine(), "runs": runs}, indent=1)
                    )
        hashes = {
            i: hashlib.sha256(workload.payload(i)).hexdigest() for i in range(workload.samples)
        }
        for contender in contenders:
            if contender.script == "stream_headrace.py":
                wrong = wrong_hashes(bench, contender, ceph, hashes)
                print(
                    f"{contender.name}: SHA-256 of {workload.samples} payloads: {wrong} wrong, "
                    "missing or repeated"
                )
    print("\n| contender | samples/s | CPU-s/GB | lost / repeated / wrong |\n|---|---|---|---|")
    for contender in contenders:
        good = [r for r in runs if r["contender"] == contender.name and "failed" not in r]
        if not good:
            continue
        rate = spread([r["samples_per_s"] for r in good])
        cpu = spread([r["cpu_s_per_gb"] for r in good], 2)
        wrong = [(r.get("lost"), r.get("repeated"), r.get("wrong_labels")) for r in good]
        exact = (
            "-"
            if wrong[0][0] is None
            else " / ".join(str(max(w)) for w in zip(*wrong, strict=True))
        )
        print(f"| {contender.name} | {rate} | {cpu} | {exact} |")


if __name__ == "__main__":
    main()
