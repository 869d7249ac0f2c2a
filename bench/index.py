# SPDX-License-Identifier: Apache-2.0
"""`headrace index` over 10 GB of tars on the embedded server: time, requests, bytes, memory; cut
off by SIGKILL half-way and started again; one shard replaced; and by headers alone.

    python bench/index.py [--gigabytes 10] [--profile s3] [--out RESULT.json]

whole, cut off    computed tars (headrace-serve --synthetic), which need no disk
replaced          the same number of links to one real tar, of which one becomes another tar
headers           16 tars of 64 members of 10 MB each, links to one: --checksums none

The server counts requests and bytes; memory is the peak RSS of the command's process.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from one_run import child_environment
from process_tree import MemoryWatch
from server import Server, find_program
from throughput import machine

SHARD_BYTES = 64_000_000


def write_tar(path: Path, members: int, size: int, seed: int) -> None:
    with tarfile.open(path, "w") as tar:
        for n in range(members):
            info = tarfile.TarInfo(f"{seed}-{n:06}.bin")
            info.size = size
            tar.addfile(info, io.BytesIO(n.to_bytes(8, "little") * (size // 8)))


def start(url: str, server: Server, folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headrace", "index", url, "--json", "--anonymous",
               "--endpoint-url", server.url, "--set", f"index_dir={folder}", *words]  # fmt: skip
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=child_environment(), stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )


def run(name: str, url: str, server: Server, folder: Path, *words: str) -> dict[str, Any]:
    server.reset_stats()
    began = time.perf_counter()
    child = start(url, server, folder, *words)
    with MemoryWatch(child.pid) as memory:
        text, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"{name}: headrace index ended with {child.returncode}")
    facts = json.loads(text)
    stats = server.stats()
    return {
        "case": name,
        "seconds": time.perf_counter() - began,
        "samples": facts["samples"],
        "data_bytes": facts["bytes"],
        "shards": facts["shards"],
        "gets": stats["by_op"].get("GetObject", 0),
        "heads": stats["by_op"].get("HeadObject", 0),
        "lists": stats["by_op"].get("ListObjectsV2", 0),
        "body_bytes": stats["body_bytes"],
        "in_flight_max": stats["in_flight_max"],
        "rss_peak_bytes": memory.rss_peak,
        "cost_said": facts.get("cost"),
        "index": facts["index"]["name"],
        "load": os.getloadavg()[0],
    }


def cut_off(url: str, server: Server, folder: Path, half: int) -> dict[str, Any]:
    """SIGKILL when the server has sent half."""
    server.reset_stats()
    child = start(url, server, folder)
    while server.stats()["body_bytes"] < half:
        if child.poll() is not None:
            raise SystemExit("it ended before it could be cut off: give more --gigabytes")
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    kept = len(list(folder.glob("*/parts/*.part")))
    return {"case": "cut off", "body_bytes": server.stats()["body_bytes"], "shards_kept": kept}


def linked(folder: Path, tar: Path, count: int) -> Path:
    bucket = folder / "links"
    bucket.mkdir(parents=True)
    for n in range(count):
        os.link(tar, bucket / f"t-{n:04}.tar")
    return bucket


def line(found: dict[str, Any]) -> str:
    if found["case"] == "cut off":
        sent = found["body_bytes"] / 1e9
        return f"{found['case']}: {sent:.2f} GB sent, {found['shards_kept']} shards kept"
    return (
        f"{found['case']}: {found['seconds']:.1f} s, {found['shards']} shards, "
        f"{found['data_bytes'] / 1e9:.2f} GB; {found['gets']:,} GETs, {found['heads']:,} HEADs, "
        f"{found['lists']} LISTs, {found['body_bytes'] / 1e9:.3f} GB read, "
        f"at most {found['in_flight_max']} in flight, peak RSS "
        f"{found['rss_peak_bytes'] / 1e6:.0f} MB, load {found['load']:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--profile", choices=("s3", "zero"), default="s3")
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    serve = find_program("headrace-serve", given.serve)
    total = int(given.gigabytes * 1e9)
    synthetic = f"set=samples={total // 115_000},bytes=115000,shard=64MB,format=tar,order=sorted"
    found: list[dict[str, Any]] = []

    def note(result: dict[str, Any]) -> None:
        found.append(result)
        print(line(result), flush=True)

    with tempfile.TemporaryDirectory(prefix="headrace-bench-index-") as text:
        folder = Path(text)
        with Server(serve, ["--synthetic", synthetic], given.profile) as server:
            note(run("whole", "s3://set", server, folder / "a"))
            note(cut_off("s3://set", server, folder / "b", total // 2))
            note(run("resumed", "s3://set", server, folder / "b"))
            if found[-1]["index"] != found[0]["index"]:
                raise SystemExit("the index after the cut is another one")
            note(run("again", "s3://set", server, folder / "b"))
        write_tar(folder / "one.tar", 500, SHARD_BYTES // 500, 1)
        write_tar(folder / "other.tar", 500, SHARD_BYTES // 500, 2)
        write_tar(folder / "big.tar", 64, 10_000_000, 3)
        bucket = linked(folder / "small", folder / "one.tar", max(2, total // SHARD_BYTES))
        with Server(serve, [str(bucket.parent)], given.profile) as server:
            note(run("links", "s3://links", server, folder / "c"))
            (bucket / "t-0001.tar").unlink()
            os.link(folder / "other.tar", bucket / "t-0001.tar")
            note(run("one replaced", "s3://links", server, folder / "c"))
        bucket = linked(folder / "big", folder / "big.tar", 16)
        with Server(serve, [str(bucket.parent)], given.profile) as server:
            note(run("headers", "s3://links", server, folder / "d", "--checksums", "none"))
            note(run("all bytes", "s3://links", server, folder / "e"))
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "results": found}, indent=1))


if __name__ == "__main__":
    main()
