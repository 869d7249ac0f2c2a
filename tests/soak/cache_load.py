# SPDX-License-Identifier: Apache-2.0
"""Mixed load on one disk cache: loaders that come, go and are killed, a mount that is read at chance
and killed, too, a store that fails 1 % of its requests, room for half of the data. What must hold at
every look: bytes within the limit, memory, files and threads that do not grow, no half-written files
after the end, every sample and every read right.

``soak.py cache --seconds 3600``
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mount_load import MountLoad

import headrace as hr
from headrace.serve import Server

SHARD_BYTES, SAMPLE_BYTES, SAMPLES = 8_000_000, 40_000, 3_000
FAULTS = (
    "status,status=503,op=GetObject,probability=0.005",
    "reset,at=20000,op=GetObject,probability=0.005",
)

# Whole epochs, each sample checked against its number (which its payload begins with); a line each.
READER = """
import json, os, sys, resource
import numpy as np, headrace as hr
options, seed = json.loads(sys.argv[1]), int(sys.argv[2])
loader = hr.open('s3://data/', **options).loader(
    batch_size=64, seed=seed, memory='96MiB', remainder='short', decode={'bin': bytes})
for epoch in loader.epochs(10**6):
    rows = wrong = 0
    for batch in loader:
        column = batch['bin']
        heads = column.values[column.offsets[:-1, None] + np.arange(8)]
        ids = np.ascontiguousarray(heads).view('<i8').reshape(-1)
        wrong += int(np.count_nonzero(ids != batch.ids))
        rows += len(ids)
    stats = dict(loader.stats())
    with open('/proc/self/statm') as statm:
        rss = int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    print(json.dumps({'rows': rows, 'wrong': wrong, 'fds': len(os.listdir('/proc/self/fd')),
        'threads': len(os.listdir('/proc/self/task')), 'rss': rss,
        'corrupt': stats['cache_corrupt'], 'errors': stats['cache_errors'],
        'hit_share': stats['cache_hit_share']}), flush=True)
"""


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # evicted meanwhile
        return 0


class Reader:
    def __init__(self, options: dict[str, Any], seed: int, lines: Path) -> None:
        self.lines = lines
        with lines.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", READER, json.dumps(options), str(seed)], stdout=out
            )

    def epochs(self) -> list[dict[str, Any]]:
        text = self.lines.read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def grown(epochs: list[dict[str, Any]], what: str, slack: int) -> bool:
    """More at the end than in the second epoch (the first one fills pools)."""
    return len(epochs) > 2 and epochs[-1][what] > epochs[1][what] + slack


def cache_soak(seconds: float, processes: int, seed: int) -> dict[str, object]:
    chance = random.Random(seed)
    synthetic = f"data=samples={SAMPLES},bytes={SAMPLE_BYTES},shard={SHARD_BYTES},format=tar"
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    problems: list[str] = []
    readers: list[Reader] = []
    ended: list[Reader] = []
    used_max = temps_max = killed = 0
    with (
        tempfile.TemporaryDirectory(prefix="headrace-soak-") as name,
        Server(anonymous=True, words=["--synthetic", synthetic, *faults]) as server,
        Server(anonymous=True, words=["--synthetic", synthetic]) as truth,
    ):
        folder = Path(name)
        options: dict[str, Any] = {
            "endpoint_url": server.endpoint_url, "anonymous": True, "index": str(folder / "index"),
        }  # fmt: skip
        with hr.open("s3://data/", endpoint_url=server.endpoint_url, anonymous=True) as ds:
            ds.index(save=options["index"])
            limit = ds.nbytes // 2
        options |= {"cache_dir": str(folder / "cache"), "cache_bytes": limit}
        cache = folder / "cache" / "headrace-cache-v1"
        words = ["--cache-dir", options["cache_dir"], "--cache-bytes", str(limit)]
        mounted = MountLoad(
            folder / "mnt", server.endpoint_url, truth.endpoint_url,
            [*words, "--memory", "96MiB"], seed,
        )  # fmt: skip
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while len(readers) < processes:
                number = len(readers) + len(ended)
                readers.append(Reader(options, number, folder / f"lines-{number}"))
            time.sleep(0.5)
            used = sum(size_of(path) for path in files_below(cache / "blocks"))
            used_max = max(used_max, used)
            temps_max = max(temps_max, len(files_below(cache / "temp")))
            if used > limit:
                problems.append(f"{used} bytes in the cache, the limit is {limit}")
            for reader in [r for r in readers if r.process.poll() is not None]:
                problems.append(f"a reader ended with {reader.process.returncode}")
                readers.remove(reader)
            # Killed in the first half only: what grows is seen in a daemon that lives long.
            early = time.monotonic() < end - seconds / 2
            mounted.look(kill=early and chance.random() < 0.01)
            if chance.random() < 0.05 and len(readers) > 1:
                victim = readers.pop(chance.randrange(1, len(readers)))  # the first one lives on
                victim.process.kill()
                victim.process.wait()
                ended.append(victim)
                killed += 1
        mounted.close()
        problems += mounted.problems
        for reader in readers:
            reader.process.kill()
            reader.process.wait()
        hr.open("s3://data/", **options).close()  # finds the dead ones' leavings
        time.sleep(1)
        every = [epoch for reader in [*readers, *ended] for epoch in reader.epochs()]
        oldest = readers[0].epochs()
        if left := files_below(cache / "temp"):
            problems.append(f"{len(left)} half-written files are left")
        problems += [f"{what} grew: {oldest[1][what]} to {oldest[-1][what]}"
                     for what, slack in (("fds", 8), ("threads", 2), ("rss", 64 << 20))
                     if grown(oldest, what, slack)]  # fmt: skip
        looks = mounted.looks[len(mounted.looks) // 4 :]  # its buffers are full by then
        problems += [f"the mount's {what} grew: {looks[0][what]} to {looks[-1][what]}"
                     # libfuse starts workers as they are wanted, a known number of them
                     for what, slack in (("fds", 8), ("threads", 16), ("rss", 32 << 20), ("eio", 0))
                     if looks and looks[-1][what] > looks[0][what] + slack]  # fmt: skip
        if any(epoch["wrong"] or epoch["rows"] != SAMPLES for epoch in every):
            problems.append("wrong or missing samples")
    return {
        "seconds": seconds, "processes": processes, "killed": killed, "epochs": len(every),
        "rows": sum(epoch["rows"] for epoch in every), "limit": limit, "used_max": used_max,
        "temps_max": temps_max, "corrupt": sum(epoch["corrupt"] for epoch in every),
        "hit_share_last": oldest[-1]["hit_share"] if oldest else None,
        "rss_first_last": [oldest[1]["rss"], oldest[-1]["rss"]] if len(oldest) > 2 else None,
        "fds_last": oldest[-1]["fds"] if oldest else None,
        "mount": {"reads": mounted.reads, "bytes": mounted.bytes, "kills": mounted.kills,
                  "first_last": [looks[0], looks[-1]] if looks else None},
        "problems": sorted(set(problems)), "ok": not problems and bool(every),
    }  # fmt: skip
