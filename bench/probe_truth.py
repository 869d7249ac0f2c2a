# SPDX-License-Identifier: Apache-2.0
"""Does `headrace probe` tell the truth? Probes servers whose weather is known, then runs a
simulated trainer against the same servers, and prints both side by side (a recorded table is in
docs/probe.md).

The server is headrace-serve with latencies, bandwidths and a request limit that are injected; the
trainer is a process of its own that takes batches from the real loader and sleeps for the step.
With --ceph also a Ceph gateway (tests/s3/ceph_rgw.py), whose truth nobody knows: only the idle
share is compared there.

    .venv/bin/python bench/probe_truth.py [--profiles fast,slow] [--json FILE] [--ceph]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from headrace.serve import Server

SPEC = "samples=16000,bytes=50000,shard=32MB"
STEPS = 200  # within one epoch: the model knows nothing of the next one's start
SECONDS = float(os.environ.get("PROBE_SECONDS", "30"))  # of each probe
_NORMAL = NormalDist()

# One trainer: the share of the time from its first batch on that it waited. Prints a line of JSON.
TRAINER = """
import json, sys, time
import headrace as hr
url, step_s, (batch, memory, steps) = sys.argv[1], float(sys.argv[2]), map(int, sys.argv[3:6])
dataset = hr.open(url, build=False)
loader = dataset.loader(batch_size=batch, memory=memory)
begin = time.perf_counter()
waited, taken, first, asked = 0.0, 0, None, begin
while taken <= steps:
    for _ in loader:
        now = time.perf_counter()
        if first is None:
            first = now
        else:
            waited += now - asked
        taken += 1
        if taken > steps:
            break
        time.sleep(step_s)
        asked = time.perf_counter()
print(json.dumps({"idle": waited / (now - first), "first_batch_s": first - begin}))
"""


@dataclass(frozen=True)
class Weather:
    """What is injected. 0: no limit."""

    name: str
    median_ms: float
    sigma: float
    tail: float = 0.0
    tail_ms: float = 0.0
    connection_MBps: float = 0.0
    total_MBps: float = 0.0
    GETps: float = 0.0
    cases: tuple[tuple[int, float, int], ...] = ()  # (batch, step ms, memory MiB)

    @property
    def words(self) -> list[str]:
        given = {
            "--first-byte-ms": self.median_ms, "--sigma": self.sigma,
            "--tail-probability": self.tail, "--tail-ms": self.tail_ms,
            "--connection-mbps": self.connection_MBps, "--total-mbps": self.total_MBps,
        }  # fmt: skip
        words = [word for name, value in given.items() for word in (name, str(value))]
        if self.GETps:
            words += ["--fault", f"status,status=503,op=GetObject,above_per_s={self.GETps:g}"]
        return words

    def first_byte_ms(self, percentile: float) -> float:
        """Of max(log-normal, tail_ms with probability tail), by bisection."""

        def below(ms: float) -> float:
            body = _NORMAL.cdf(math.log(ms / self.median_ms) / self.sigma)
            return body * (1 - self.tail * (ms < self.tail_ms))

        low, high = 1e-3, 1e5
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) < percentile / 100 else (low, middle)
        return high


PROFILES = {
    weather.name: weather
    for weather in (
        Weather("fast", 5, 0.25, connection_MBps=150, cases=((64, 40, 256), (64, 4, 256))),
        Weather(
            "slow", 120, 0.4, tail=0.02, tail_ms=800, connection_MBps=40,
            cases=((64, 60, 256), (64, 30, 64)),
        ),
        Weather(
            "narrow", 30, 0.35, connection_MBps=80, total_MBps=40,
            cases=((64, 100, 256), (64, 50, 256)),
        ),
        Weather(
            "throttled", 10, 0.3, connection_MBps=80, GETps=5500,
            cases=((64, 40, 256), (16, 20, 64)),
        ),
    )
}  # fmt: skip


def run(*words: str, environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:4])} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def probe(url: str, case: tuple[int, float, int], environment: dict[str, str]) -> Any:
    batch, step_ms, memory = case
    return run(
        "-m", "headrace", "probe", url, "--json", "--yes", "--batch", str(batch),
        "--step-ms", str(step_ms), "--memory", f"{memory}MiB", "--max-seconds", str(SECONDS),
        environment=environment,
    )  # fmt: skip


def train(url: str, case: tuple[int, float, int], environment: dict[str, str]) -> Any:
    batch, step_ms, memory = case
    return run(
        "-c", TRAINER, url, str(step_ms / 1e3), str(batch), str(memory << 20), str(STEPS),
        environment=environment,
    )  # fmt: skip


def figures(weather: Weather, found: Any) -> list[tuple[str, float, float]]:
    """(what, injected, measured)."""
    rows = [
        (f"first byte p{p}, ms", weather.first_byte_ms(p), found["first_byte_ms"][f"p{p}"])
        for p in (50, 90, 99)
    ]
    if weather.connection_MBps:
        truth = min(weather.connection_MBps, weather.total_MBps or math.inf)
        rows.append(("one connection, MB/s", truth, found["per_connection_MBps"]))
    if weather.total_MBps:
        rows.append(("all together, MB/s", weather.total_MBps, found["knee"]["MBps_max"]))
    if weather.GETps:
        rows.append(("requests, GET/s", weather.GETps, found["get_limit"]["GETps"]))
    return rows


def one(name: str, weather: Weather | None, server: Any, cases: Any, environment: Any) -> list[Any]:
    """Rows (profile, what, truth, found, difference in words, kept)."""
    rows = []
    for number, case in enumerate(cases):
        found = probe(server, case, environment)
        seen = train(server, case, environment)
        if weather is not None and number == 0:
            for what, truth, value in figures(weather, found):
                off = value / truth - 1
                rows.append((name, what, truth, value, f"{off:+.1%}", abs(off) <= 0.10))
        said = found["gpu_idle_share"] * 100
        truth = seen["idle"] * 100
        what = f"idle %, batch {case[0]}, step {case[1]:g} ms, {case[2]} MiB"
        rows.append(
            (name, what, truth, said, f"{said - truth:+.1f} points", abs(said - truth) <= 3)
        )
        print(f"{name}: {found['verdict']}", file=sys.stderr)
        print(
            f"  spent {found['spent']['seconds']:.1f} s; loader "
            f"{found['loader']['samples_per_s']:,.0f} samples/s; trainer waited {truth:.1f} %, "
            f"first batch {seen['first_batch_s']:.2f} s",
            file=sys.stderr,
        )
    return rows


def ceph_rows(folder: Path) -> list[Any]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "s3"))
    from ceph_rgw import CephGateway

    with Server(words=["--synthetic", f"data={SPEC}"], anonymous=True) as source:
        files = folder / "data"
        files.mkdir()
        copy_objects(source, files)
    with CephGateway.start() as ceph:
        ceph.put_folder(files, "data")
        environment = {**ceph.environment(), "XDG_CACHE_HOME": str(folder)}
        run("-m", "headrace", "index", "s3://data/", "--json", environment=environment)
        return one("ceph", None, "s3://data/", ((64, 60, 256), (64, 15, 256)), environment)


def copy_objects(source: Server, files: Path) -> None:
    import urllib.request
    import xml.etree.ElementTree as ElementTree

    with urllib.request.urlopen(f"{source.endpoint_url}/data?list-type=2") as reply:
        keys = [
            node.text or "" for node in ElementTree.parse(reply).iter() if node.tag.endswith("Key")
        ]
    for key in keys:
        with urllib.request.urlopen(f"{source.endpoint_url}/data/{key}") as reply:
            (files / key).write_bytes(reply.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profiles", default=",".join(PROFILES))
    parser.add_argument("--ceph", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="headrace-probe-") as folder:
        environment = {"XDG_CACHE_HOME": folder}
        synthetic = ["--synthetic", f"data={SPEC}"]
        with Server(words=synthetic) as server:  # the index, once: all servers give the same bytes
            run(
                "-m", "headrace", "index", "s3://data/", "--json",
                environment={**server.environment, **environment},
            )  # fmt: skip
        for name in filter(None, given.profiles.split(",")):
            weather = PROFILES[name]
            with Server(words=[*synthetic, *weather.words]) as server:
                rows += one(
                    name, weather, "s3://data/", weather.cases,
                    {**server.environment, **environment},
                )  # fmt: skip
        if given.ceph:
            rows += ceph_rows(Path(folder))
    print("| server | what | truth | probe | off | |\n|---|---|---|---|---|---|")
    for name, what, truth, value, off, kept in rows:
        print(
            f"| {name} | {what} | {truth:.4g} | {value:.4g} | {off} | {'' if kept else 'MISSED'} |"
        )
    print(f"load {os.getloadavg()[0]:.1f} of {len(os.sched_getaffinity(0))} cores", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
