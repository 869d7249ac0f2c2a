# SPDX-License-Identifier: Apache-2.0
"""Machines that share a data set, each with a disk cache smaller than what it reads in an epoch:
hit rates counted in GETs at headrace-serve, beside exact Belady with the next four epochs known.

    python bench/cache_nodes.py [--epochs 16] [--out RESULT.json]

1,024 shards of one sample and one block each, batches of 4; some of the machines run, one after
another, each with its folder. The first five epochs fill the caches and are not counted. The
server has no latency: rates do not depend on it, but for reads that overtake each other.
Simulated beside: the machine's part of fresh random orders, reads one at a time, room for as many
blocks; what is needed latest goes, what nobody is known to need first. docs/cache.md has the table.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import headrace as hr
from server import Server, find_program
from throughput import machine

SHARDS, WARM, AHEAD = 1024, 5, 4
BLOCK_FILE_BYTES = (512 << 10) + 4096  # docs/cache.md
SETTINGS = [(8, 0.5), (8, 1.0), (8, 2.0), (64, 1.0)]  # machines, room in shares of an epoch
RUN = {8: (0, 3, 5), 64: (0, 17, 34, 63)}  # of so many machines, these ranks


def write_shards(folder: Path) -> None:
    """One file under 1,024 names: the cache tells objects apart by their keys."""
    folder.mkdir(parents=True)
    content = random.Random(1).randbytes(500_000)
    first = folder / "0000.tar"
    with tarfile.open(first, "w") as tar:
        entry = tarfile.TarInfo("0.bin")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    for shard in range(1, SHARDS):
        os.link(first, folder / f"{shard:04}.tar")


def counted(server: Server, scratch: Path, machines: int, room: float, epochs: int) -> float:
    """Hits at the server, the mean of the ranks that run."""
    share = SHARDS // machines
    asked = 0
    for rank in RUN[machines]:
        cache = scratch / f"{machines}-{room}-{rank}"
        with hr.open(
            f"s3://data/{{0000..{SHARDS - 1:04}}}.tar", endpoint_url=server.url,
            region="us-east-1", anonymous=True, cache_dir=cache, index_dir=scratch / "index",
            cache_bytes=int(share * room) * BLOCK_FILE_BYTES,
        ) as data:  # fmt: skip
            options: dict[str, Any] = {"rank": rank, "world_size": machines, "memory": "64MB"}
            loader = data.loader(batch_size=4, block=1, lanes=2, seed=3, **options)
            for epoch in range(epochs):
                server.reset_stats()
                rows = sum(int(batch.valid.sum()) for batch in loader)
                if rows != share:
                    raise SystemExit(f"rank {rank} of {machines}: {rows} samples, not {share}")
                if epoch >= WARM:
                    asked += server.stats()["by_op"].get("GetObject", 0)
    return 1 - asked / (len(RUN[machines]) * (epochs - WARM) * share)


def simulated(machines: int, room: float, ahead: int, epochs: int = 60) -> float:
    """Exact Belady, the next `ahead` epochs known to it."""
    draw, share = random.Random(7), SHARDS // machines
    room_blocks = int(share * room)
    reads = [b for _ in range(epochs + ahead) for b in draw.sample(range(SHARDS), share)]
    later: list[list[int]] = [[] for _ in range(SHARDS)]
    for at in range(len(reads) - 1, -1, -1):
        later[reads[at]].append(at)
    held: set[int] = set()
    hits = 0
    for at, block in enumerate(reads[: epochs * share]):
        later[block].pop()
        hits += block in held and at >= WARM * share
        held.add(block)
        if len(held) <= room_blocks:
            continue
        known = (at // share + ahead + 1) * share

        def next_use(b: int, known: int = known) -> int:
            return later[b][-1] if later[b] and later[b][-1] < known else len(reads)

        held.remove(max(held, key=next_use))
    return hits / ((epochs - WARM) * share)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.epochs <= WARM:
        parser.error(f"--epochs: more than the {WARM} that fill the caches")
    rows = []
    print("| machines, room in shares | pinned | simulated, 4 ahead | counted |")
    print("|---" * 4 + "|")
    with tempfile.TemporaryDirectory(prefix="headrace-bench-nodes-") as name:
        root = Path(name)
        write_shards(root / "store" / "data")
        program = find_program("headrace-serve", given.serve)
        with Server(program, [str(root / "store")], "zero") as server:
            for machines, room in SETTINGS:
                row = {
                    "machines": machines,
                    "room": room,
                    "pinned": room / machines,
                    "simulated": simulated(machines, room, AHEAD),
                    "counted": counted(server, root, machines, room, given.epochs),
                }
                rows.append(row)
                print(
                    f"| {machines}, {room} x | {row['pinned']:.1%} | {row['simulated']:.1%} | "
                    f"{row['counted']:.1%} |",
                    flush=True,
                )
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
