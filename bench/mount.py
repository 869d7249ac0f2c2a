# SPDX-License-Identifier: Apache-2.0
"""headrace mount beside `rclone mount` and `s3fs`, on one embedded server, case by case.

    python bench/mount.py [--full] [--only CASE ...] [--with NAME ...] [--json FILE]

Cases (small by default; --full is what docs/mount.md's table has):

  walk     find -size of 2,000 (100,000) files in 20 (1,000) folders
  seq      one file of 512 MB (4 GB) from front to back, 1 MiB reads
  fuse     96 MB that the mount holds in memory, the kernel does not, 20 times: the machine's limit
  small1   300 (10,000) random files of 115 KB, one reader, each opened, read, closed
  small8   the same, 8 readers
  plan1, plan8   the same two with the order handed over (headrace only)
  rand4k   200 (2,000) random reads of 4 KiB of the large file

Every case gets a fresh mount, so nothing is cached. The server (30 ms first byte, 80 MB/s a
connection, no tail) runs on the same machine: each figure includes its CPU. The objects are in
the page cache, and the server makes no checksums of whole objects: it would read all of one for
the first HEAD, where S3 has it at hand. Reports wall seconds, rate, peak memory of the mount and
its CPU seconds. Needs /dev/fuse; rclone and s3fs are left out where they are not installed (apt
install fuse3 rclone s3fs).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from process_tree import rss_bytes, tree
from server import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
from headrace.mount import mount_program, prefetch, stats
from headrace.serve import server_program

MEMORY = "1GiB"
SMALL_BYTES = 115_000
HELD_BYTES = 96_000_000  # less than the mount keeps of what was read (128 MiB)
FUSE_TURNS = 20
SERVER = ["--checksum", "none"]


class Mounted:
    """One peer's mount of one bucket, with its process's memory and CPU."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.peak = 0
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, rss_bytes(tree(self.process.pid)))

    def cpu_seconds(self) -> float:
        total = 0.0
        for pid in tree(self.process.pid):
            words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def close(self) -> None:
        self._stop.set()
        self._watch.join()
        subprocess.run(["umount", "-l", self.folder], check=False, capture_output=True)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def headrace_command(url: str, bucket: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    program = str(mount_program())
    words = [
        "-f",
        "--memory",
        MEMORY,
        "--no-sign-request",
        "--endpoint-url",
        url,
        "--region",
        "us-east-1",
    ]
    return [program, f"s3://{bucket}", str(folder), *words, "--log-file", "/dev/null"], {}


def rclone_command(url: str, bucket: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    # Its defaults, and what its documents advise for S3: no HEAD for modification times.
    words = [
        "--read-only",
        "--use-server-modtime",
        "--s3-provider",
        "Other",
        "--s3-endpoint",
        url,
        "--s3-force-path-style",
        "--s3-region",
        "us-east-1",
        "--buffer-size",
        "64M",
        "--no-checksum",
        "--s3-list-version",
        "2",
    ]
    return ["rclone", "mount", f":s3:{bucket}", str(folder), *words], {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_S3_ACCESS_KEY_ID": "a",
        "RCLONE_S3_SECRET_ACCESS_KEY": "b",
    }


def s3fs_command(url: str, bucket: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    words = [
        "-f",
        "-o",
        f"url={url}",
        "-o",
        "use_path_request_style",
        "-o",
        "public_bucket=1",
        "-o",
        "listobjectsv2",
        "-o",
        "ro",
        "-o",
        "multireq_max=100",
        "-o",
        "parallel_count=20",
        "-o",
        "max_stat_cache_size=200000",
    ]
    return ["s3fs", bucket, str(folder), *words], {}


PEERS: dict[str, Callable[[str, str, Path], tuple[list[str], dict[str, str]]]] = {
    "headrace": headrace_command,
    "rclone": rclone_command,
    "s3fs": s3fs_command,
}


@contextmanager
def mounted(peer: str, server: Server, bucket: str) -> Iterator[Mounted]:
    folder = Path(tempfile.mkdtemp(prefix=f"bench-mount-{peer}-"))
    command, environment = PEERS[peer](server.url, bucket, folder)
    # rclone refuses to start with a CA bundle of AWS's; a proxy is not for the loopback.
    clean = {
        k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE" and "proxy" not in k.lower()
    }
    process = subprocess.Popen(
        command,
        env={**clean, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not os.path.ismount(folder):
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit(f"{peer} does not mount: {' '.join(command)}")
        time.sleep(0.02)
    there = Mounted(folder, process)
    try:
        yield there
    finally:
        there.close()
        folder.rmdir()


class Sizes:
    def __init__(self, full: bool) -> None:
        self.folders = 1000 if full else 20
        self.files_each = 100
        self.large_bytes = (4 << 30) if full else (512 << 20)
        self.small_files = 10_000 if full else 300
        self.random_reads = 2_000 if full else 200


def walk(there: Mounted, sizes: Sizes) -> float:
    out = subprocess.run(
        ["find", there.folder, "-type", "f", "-size", "-2", "-printf", "."],
        capture_output=True,
        check=True,
    )
    assert len(out.stdout) == sizes.folders * sizes.files_each, len(out.stdout)
    return len(out.stdout)


def sequential(there: Mounted, sizes: Sizes) -> float:
    total = 0
    buffer = bytearray(1 << 20)
    with open(there.folder / "large", "rb", buffering=0) as file:
        while got := file.readinto(buffer):
            total += got
    assert total == sizes.large_bytes
    return total / 1e6


def fuse_limit(there: Mounted, sizes: Sizes) -> tuple[float, float]:
    """Reads what the mount has in memory: MB and seconds, without the first reading."""
    del sizes
    buffer, taken = bytearray(1 << 20), 0.0
    with open(there.folder / "held", "rb", buffering=0) as file:
        for turn in range(FUSE_TURNS + 1):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            start = time.monotonic()
            while file.readinto(buffer):
                pass
            taken += (time.monotonic() - start) if turn > 0 else 0
    return HELD_BYTES * FUSE_TURNS / 1e6, taken


def names_of(sizes: Sizes) -> list[str]:
    names = [f"c{i % 100:02}/f{i:05}" for i in range(sizes.small_files)]
    random.Random(7).shuffle(names)
    return names


def small(readers: int, planned: bool) -> Callable[[Mounted, Sizes], float]:
    def read_one(path: Path) -> int:
        with open(path, "rb", buffering=0) as file:
            return len(file.readall())

    def run(there: Mounted, sizes: Sizes) -> float:
        paths = [there.folder / name for name in names_of(sizes)]
        plan = prefetch(paths, mount=there.folder) if planned else None
        with ThreadPoolExecutor(readers) as pool:
            total = sum(pool.map(read_one, paths))
        assert total == SMALL_BYTES * len(paths), total
        if plan is not None:
            plan.close()
        return len(paths)

    return run


def random_4k(there: Mounted, sizes: Sizes) -> float:
    rng = random.Random(3)
    file = os.open(there.folder / "large", os.O_RDONLY)
    for _ in range(sizes.random_reads):
        assert len(os.pread(file, 4096, rng.randrange(sizes.large_bytes // 4096) * 4096)) == 4096
    os.close(file)
    return sizes.random_reads


# name: (bucket, what, unit of the rate, peers that can)
Run = Callable[[Mounted, Sizes], float | tuple[float, float]]  # amount, or amount and seconds
CASES: dict[str, tuple[str, Run, str, set[str] | None]] = {
    "walk": ("walk", walk, "files/s", None),
    "seq": ("seq", sequential, "MB/s", None),
    "fuse": ("seq", fuse_limit, "MB/s", {"headrace"}),
    "small1": ("small", small(1, False), "files/s", None),
    "small8": ("small", small(8, False), "files/s", None),
    "plan1": ("small", small(1, True), "files/s", {"headrace"}),
    "plan8": ("small", small(8, True), "files/s", {"headrace"}),
    "rand4k": ("seq", random_4k, "reads/s", None),
}


def make_buckets(root: Path, sizes: Sizes, wanted: set[str]) -> None:
    """As files: hard links and holes, so that 4 GB and 100,000 files cost little to make."""
    for bucket in wanted:
        (root / bucket).mkdir()
    if "walk" in wanted:
        for i in range(sizes.folders):
            folder = root / "walk" / f"d{i:04}"
            folder.mkdir()
            for j in range(sizes.files_each):
                (folder / f"f{j:03}").write_bytes(b"x")
    if "seq" in wanted:
        for name, size in (("large", sizes.large_bytes), ("held", HELD_BYTES)):
            path = root / "seq" / name
            path.touch()
            os.truncate(path, size)
            with open(path, "rb", buffering=0) as file:  # into the page cache: the first peer pays
                while file.read(1 << 20):
                    pass
    if "small" in wanted:
        content = random.Random(1).randbytes(SMALL_BYTES)
        for name in names_of(sizes):
            path = root / "small" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)


def measure(peer: str, case: str, server: Server, sizes: Sizes) -> dict[str, Any]:
    bucket, run, unit, _ = CASES[case]
    with mounted(peer, server, bucket) as there:
        before = there.cpu_seconds()
        own = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        done = run(there, sizes)
        amount, wall = done if isinstance(done, tuple) else (done, time.monotonic() - start)
        result = {
            "peer": peer,
            "case": case,
            "wall_s": round(wall, 3),
            "rate": round(amount / wall, 1),
            "unit": unit,
            "mount_cpu_s": round(there.cpu_seconds() - before, 2),
            "mount_rss_mb": round(there.peak / 1e6),
            "reader_cpu_s": round(
                resource.getrusage(resource.RUSAGE_SELF).ru_utime - own.ru_utime, 2
            ),
            "load": round(os.getloadavg()[0], 1),
        }
        if peer == "headrace":
            counters = stats(there.folder)
            result |= {
                "budget_peak_mb": round(counters["memory_bytes_peak"] / 1e6),
                "requests": counters["requests"],
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", choices=list(CASES))
    parser.add_argument("--with", dest="peers", action="append", choices=list(PEERS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, help="where the buckets are made; a temporary folder")
    options = parser.parse_args()
    sizes = Sizes(options.full)
    cases = options.only or list(CASES)
    peers = [p for p in options.peers or PEERS if p == "headrace" or shutil.which(p)]
    results = []
    with tempfile.TemporaryDirectory(dir=options.data) as root:
        make_buckets(Path(root), sizes, {CASES[case][0] for case in cases})
        for case in cases:
            for peer in peers:
                if (CASES[case][3] or set(PEERS)) >= {peer}:
                    with Server(str(server_program()), [root, *SERVER], "notail") as server:
                        results.append(measure(peer, case, server, sizes))
                    print(json.dumps(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
