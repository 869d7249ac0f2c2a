# SPDX-License-Identifier: Apache-2.0
"""What checking whole objects costs: the index pass and an epoch of the stream order, with the
store's checksums and with HEADs refused (then no checksum is known, and none is computed).

integrity.py [--runs N] [--profile NAME]

Prints, for shards of 16 MB and of 1 MB: seconds and CPU seconds (this process's), median of
interleaved runs, and the HEADs beside the GETs.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import headrace as hr
from headrace.serve import Server

SHARDS = {"16mb": 16_000_000, "1mb": 1_000_000}
REFUSED = [{"kind": "status", "op": "HeadObject", "status": 403}]


def lay_out(root: Path, bucket: str, shard_bytes: int) -> None:
    """64 MB of tars of samples of 115 kB."""
    folder = root / bucket
    folder.mkdir(parents=True)
    body, total, number = os.urandom(115_000), 64_000_000, 0
    for shard in range(total // shard_bytes):
        path = folder / f"train-{shard:03d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for _ in range(shard_bytes // len(body)):
                info = tarfile.TarInfo(f"{number:06d}.bin")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
                number += 1


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def index_pass(server: Server, shard: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = {"index_dir": folder, "rebuild": True, **server.options}
        hr.open(f"s3://{shard}/", **options).close()


def stream_epoch(server: Server, shard: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = {"index_dir": folder, "order": "stream", "save": None, **server.options}
        with hr.open(f"s3://{shard}/", **options) as dataset:
            raw = {name: hr.decode.raw() for name in dataset.fields}
            loader = dataset.loader(batch_size=64, decode=raw)
            for _ in loader:
                pass
            loader.close()


def measured(
    job: Callable[[Server, str], None], server: Server, shard: str, checked: bool
) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, HEADs, GETs."""
    server.set_faults([] if checked else REFUSED)
    server.stats(reset=True)
    begin, before = time.perf_counter(), cpu()
    job(server, shard)
    seconds, used = time.perf_counter() - begin, cpu() - before
    ops = server.stats()["by_op"]
    return seconds, used, ops.get("HeadObject", 0), ops.get("GetObject", 0)


def compare(job: Callable[[Server, str], None], server: Server, shard: str, runs: int) -> None:
    ends: dict[bool, list[tuple[float, float, int, int]]] = {True: [], False: []}
    for _ in range(runs):
        for checked in ends:
            ends[checked].append(measured(job, server, shard, checked))
    said = [f"{job.__name__}, shards of {shard}:"]
    for checked, label in ((True, "checked"), (False, "HEAD refused")):
        seconds, used, heads, gets = map(statistics.median, zip(*ends[checked], strict=True))
        said.append(f"{label} {seconds:.2f} s, CPU {used:.2f} s,")
        said.append(f"{heads:.0f} HEADs, {gets:.0f} GETs;")
    print(" ".join(said), f"load {os.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", default="s3")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(folder, profile=options.profile) as server,
    ):
        for bucket, size in SHARDS.items():
            lay_out(Path(folder), bucket, size)
        for job in (index_pass, stream_epoch):
            for shard in SHARDS:
                compare(job, server, shard, options.runs)


if __name__ == "__main__":
    main()
