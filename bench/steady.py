# SPDX-License-Identifier: Apache-2.0
"""headrace, seconds into a pass, beside the least that a client must do for the same ranges.

    python bench/steady.py --rounds 3 --out steady.json

throughput.py times one short epoch, most of it a start. Here every run reads a computed data set
(headrace-serve --synthetic) for some seconds with warm memory, and the contenders of a case take
turns: the wall (bench_wall: bare epoll or bare OpenSSL, one thread, no order), headrace's store
without a loader (bench_store: signed, checked, retried, CRC while the bytes arrive, any order) and
the loader itself (exact order, verified, batches in Python). Method: bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from one_run import child_environment
from server import Server, find_program
from throughput import machine
from workload import PEERS

_TAR = "shard=64MB,format=tar,order=sorted"
SETS = {
    "s115k": f"samples=65536,bytes=115000,{_TAR}",
    "s4k": f"samples=1000000,bytes=4096,{_TAR}",
    "s1m": f"samples=8192,bytes=1000000,{_TAR}",
    "s8m": f"samples=1024,bytes=8000000,{_TAR}",
    "one1g": "samples=1000,bytes=1000000,shard=1100MB,format=tar,order=sorted",
}


@dataclass(frozen=True)
class Case:
    """Ranges of one size: `loader` options, and the connections of the bare clients."""

    data: str
    profile: str
    range_bytes: int
    connections: tuple[int, ...]
    loader: dict[str, Any] = field(default_factory=dict)
    store: int = 0  # connections of bench_store; 0: it takes no part
    tls: bool = False
    batch: int = 256
    stream: bool = False  # whole objects, from front to back


def _ordered(memory: str, block: int) -> dict[str, Any]:
    shuffle = "stratified" if block > 1 else "global"
    return {"memory": memory, "shuffle": shuffle, **({"block": block} if block > 1 else {})}


CASES = {
    f"{kind} {profile} {memory}": Case(
        "s115k", profile, size, (256, 1000), _ordered(memory, block), 768 if block == 1 else 256
    )
    for kind, block, size, memory in (
        ("115k", 1, 116_736, "1GiB"),
        ("460k", 4, 466_944, "1GiB"),
        ("115k", 1, 116_736, "256MiB"),
        ("230k", 2, 233_472, "256MiB"),
    )
    for profile in ("s3", "notail")
}
CASES |= {
    "460k tls": Case("s115k", "notail", 466_944, (256,), _ordered("1GiB", 4), tls=True),
    "4k": Case("s4k", "zero", 4_096, (64, 256), _ordered("1GiB", 1), 64, batch=1024),
    "1m": Case("s1m", "zero", 1_001_472, (64,), _ordered("1GiB", 1), 64, batch=64),
    "8m": Case("s8m", "zero", 8_001_536, (32,), _ordered("1GiB", 1), 32, batch=8),
    # One object of 1 GB, whole: the stream order reads it by parts of 1 MiB.
    "one object": Case(
        "one1g", "zero", 1 << 20, (16,), {"memory": "1GiB"}, 16, batch=64, stream=True
    ),
}


def requests_of(case: Case, seconds: float, seed: int) -> str:
    """Random ranges of the case's size, as many as last for about `seconds` at 2.5 GB/s."""
    spec = dict(part.split("=") for part in SETS[case.data].split(","))
    payload, samples = int(spec["bytes"]), int(spec["samples"])
    sample = -(-payload // 512) * 512 + 512 + 1024  # .bin with its header, .cls with its own
    in_shard = min(samples, int(spec["shard"].removesuffix("MB")) * 1_000_000 // sample)
    count = int(min(max(seconds * 2.5e9 / case.range_bytes, 1000), seconds * 60_000))
    random = np.random.default_rng(seed)
    shards = random.integers(0, samples // in_shard, count)
    begins = random.integers(0, in_shard * sample - case.range_bytes, count)
    return "".join(
        f"/{case.data}/shard-{s:06d}.tar {b} {b + case.range_bytes}\n"
        for s, b in zip(shards.tolist(), begins.tolist(), strict=True)
    )


class Runner:
    """Runs one contender of a case against a fresh server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._serve = find_program("headrace-serve", options.serve)
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-bench-")
        self._tls_file = Path(self._folder.name) / "ca.pem"

    def _server(self, case: Case, profile: str, seed: int) -> Server:
        what = ["--synthetic", f"{case.data}={SETS[case.data]}"]
        if case.tls:
            what += ["--tls", "--tls-out", str(self._tls_file)]
        return Server(self._serve, what, profile, seed, tls=case.tls)

    def bare(self, program: str, case: Case, connections: int, seed: int) -> dict[str, Any]:
        requests = Path(self._folder.name) / "requests"
        requests.write_text(requests_of(case, self._options.seconds / 2, seed))
        command = [find_program(program, None), "--connections", str(connections)]
        command += ["--requests", str(requests), "--ring-mb", "512"]
        if case.tls:
            command += ["--tls", "--ca-file", str(self._tls_file)]
        if program == "bench_store":
            command += ["--checksums"]
        with self._server(case, case.profile, seed) as server:
            command += ["--port", str(server.port)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            cpu = server.cpu_seconds()
        found: dict[str, Any] = json.loads(out)
        return {
            "gets_per_s": found["samples_per_s"],
            "mb_per_s": found["mb_per_s"],
            "cpu_s_per_gb": found["cpu_s_per_gb"],
            "cpu_us_per_get": found["cpu_us_per_request"],
            "failed": found["failed"],
            "server_cpu_s_per_gb": cpu / (found["bytes"] / 1e9),
        }

    def loader(self, case: Case, seed: int) -> dict[str, Any]:
        folder = Path(self._folder.name)
        index_dir = self._options.data / f"index-{case.data}"
        index_dir.mkdir(parents=True, exist_ok=True)
        spec: dict[str, Any] = {
            "url": f"s3://{case.data}/",
            "open": {"index_dir": str(index_dir)},
            "options": {"batch_size": case.batch, "seed": seed, **case.loader},
            "result_file": str(folder / "result.json"),
            # The walls' memory is touched before their clock starts, too.
            "warm_seconds": self._options.warm,
        }
        if case.stream:
            spec["any_order"] = True
            spec["open"]["order"] = "stream"
        elif not any(index_dir.iterdir()):  # built once, without the weather
            with self._server(case, "zero", seed) as server:
                cold = {**spec, "endpoint": server.url, "seconds": 0.0, "warm_seconds": 0.0}
                self._stream(cold, case)
        with self._server(case, case.profile, seed) as server:
            seconds = self._options.seconds
            found = self._stream({**spec, "endpoint": server.url, "seconds": seconds}, case)
            stats = server.stats() if not case.tls else {"by_op": {}}
            cpu = server.cpu_seconds()
        received = found["received_mb_per_s"] * found["seconds"] / 1e3
        gets = found["requests"]
        return {
            "gets_per_s": gets / found["seconds"],
            "samples_per_s": found["samples_per_s"],
            "mb_per_s": found["received_mb_per_s"],
            "cpu_s_per_gb": found["cpu_s"] / received,
            "cpu_us_per_get": found["cpu_s"] * 1e6 / gets,
            "wait_p50_ms": found["wait_p50_ms"],
            "wait_p99_ms": found["wait_p99_ms"],
            "first_batch_s": found["first_batch_s"],
            "hedges": found.get("hedges", 0),
            "gets_served": stats["by_op"].get("GetObject"),
            "failed": found["wrong_rows"] + found["repeated_rows"],
            "server_cpu_s_per_gb": cpu / (found["received_all_mb"] / 1e3),
            "loader": found["loader"], "stats_text": found["stats_text"],
        }

    def _stream(self, spec: dict[str, Any], case: Case) -> dict[str, Any]:
        if case.tls:
            spec["open"] = {**spec["open"], "verify": str(self._tls_file)}
        file = Path(self._folder.name) / "spec.json"
        file.write_text(json.dumps(spec))
        command = [sys.executable, str(PEERS / "stream_for.py"), str(file)]
        subprocess.run(command, env=child_environment(), check=True)
        found: dict[str, Any] = json.loads(Path(spec["result_file"]).read_text())
        return found


def contenders(case: Case) -> list[tuple[str, int]]:
    found = [("bench_wall", n) for n in case.connections]
    if case.store:
        found.append(("bench_store", case.store))
    return [*found, ("loader", 0)]


def line(name: str, runs: list[dict[str, Any]]) -> str:
    def of(key: str, digits: int) -> str:
        values = [run[key] for run in runs if run.get(key) is not None]
        return f"{median(values):,.{digits}f}" if values else "-"

    rates = [run["mb_per_s"] for run in runs]
    spread = f"{min(rates):,.0f} / **{median(rates):,.0f}** / {max(rates):,.0f}"
    cells = [name, spread, of("gets_per_s", 0), of("cpu_s_per_gb", 3), of("cpu_us_per_get", 1)]
    cells += [of("wait_p50_ms", 1), of("wait_p99_ms", 0), of("hedges", 0)]
    cells += [of("server_cpu_s_per_gb", 2), str(sum(run["failed"] for run in runs))]
    return "| " + " | ".join(cells) + " |"


TITLES = (
    "| contender | MB/s | GETs/s | CPU-s/GB | us a GET | wait p50 ms | p99 | hedges "
    "| server CPU-s/GB | wrong |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one loader run")
    parser.add_argument("--warm", type=float, default=1.5, help="seconds of it before the clock")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "headrace-bench")
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--out", type=Path, help="all runs as JSON")
    options = parser.parse_args()
    runner = Runner(options)
    report: dict[str, Any] = {"machine": machine(), "runs": []}
    for name in options.case or CASES:
        case = CASES[name]
        runs: dict[str, list[dict[str, Any]]] = {}
        who = contenders(case)
        for turn in range(options.rounds):
            first = turn % len(who)
            for program, n in who[first:] + who[:first]:
                load = os.getloadavg()[0]
                if program == "loader":
                    run = runner.loader(case, turn + 1)
                else:
                    run = runner.bare(program, case, n, turn + 1)
                label = f"{program.removeprefix('bench_')} {n}" if n else "loader"
                runs.setdefault(label, []).append(run)
                report["runs"].append({"case": name, "contender": label, "load": load, **run})
                if options.out:
                    options.out.write_text(json.dumps(report, indent=1))
        print(f"\n### {name}\n\n{TITLES}", flush=True)
        for label, of in runs.items():
            print(line(label, of), flush=True)


if __name__ == "__main__":
    main()
