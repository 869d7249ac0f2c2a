# SPDX-License-Identifier: Apache-2.0
"""Two ends of the scale, against computed data sets that need no disk:

huge   870,000 samples of 115 KB in 64 MB tars (100 GB), the s3 profile, for a minute: does memory
       stay below a gigabyte and nothing go to a disk?
tiny   2,000,000 samples of 1 KB in 64 MB tars, no latency: samples/s as ragged columns

    python bench/small.py [--case huge|tiny] --out RESULT.json

The index is built once for each (a pass over all bytes, timed) and kept under --data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from one_run import child_environment
from process_tree import MemoryWatch
from server import Server, find_program
from throughput import machine
from workload import PEERS


@dataclass(frozen=True)
class Case:
    """A computed data set and how it is read."""

    synthetic: str  # headrace-serve --synthetic NAME=...
    profile: str
    seconds: float
    options: dict[str, Any]


CASES = {
    "huge": Case(
        "samples=870000,bytes=115000,shard=64MB,format=tar,order=sorted",
        "s3",
        60,
        {"batch_size": 256, "memory": "512MiB"},
    ),
    "tiny": Case(
        "samples=2000000,bytes=1024,shard=64MB,format=tar,order=sorted",
        "zero",
        20,
        {"batch_size": 1024, "memory": "1GiB"},
    ),
}


def run(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    serve = find_program("headrace-serve", options.serve)
    synthetic = ["--synthetic", f"{name}={options.synthetic or case.synthetic}"]
    index_dir = options.data / f"index-{name}"
    index_dir.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"case": name, "synthetic": synthetic[1], "profile": case.profile}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        spec = {
            "url": f"s3://{name}/",
            "open": {"index_dir": str(index_dir)},
            "options": {**case.options, **({"memory": options.memory} if options.memory else {})},
            "seconds": options.seconds or case.seconds,
            "result_file": f"{folder}/result.json",
        }
        with Server(serve, synthetic, "zero") as server:  # builds the index, or finds it
            first = stream({**spec, "endpoint": server.url, "seconds": 0.0}, Path(folder))
            found["index_s"] = first["open_s"]
            found["index_rss_peak_bytes"] = first["rss_peak_bytes"]
        with Server(serve, synthetic, case.profile) as server:
            found["load_before"] = os.getloadavg()[0]
            found |= stream({**spec, "endpoint": server.url}, Path(folder))
            found["load_after"] = os.getloadavg()[0]
            stats = server.stats()
            found |= {"gets": stats["by_op"]["GetObject"], "in_flight_max": stats["in_flight_max"]}
            found["server_cpu_s"] = server.cpu_seconds()
    return found


def stream(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs the child and adds its peak memory."""
    file = folder / "spec.json"
    file.write_text(json.dumps(spec))
    child = subprocess.Popen(
        [sys.executable, str(PEERS / "stream_for.py"), str(file)], env=child_environment()
    )
    with MemoryWatch(child.pid) as memory:
        code = child.wait()
    if code:
        raise SystemExit(f"the run ended with {code}")
    result: dict[str, Any] = json.loads(Path(spec["result_file"]).read_text())
    return {**result, "rss_peak_bytes": memory.rss_peak, "pss_peak_bytes": memory.pss_peak}


def line(found: dict[str, Any]) -> str:
    return (
        f"{found['case']}: {found['samples_per_s']:,.0f} samples/s, "
        f"{found['payload_mb_per_s']:,.0f} MB/s of payload, "
        f"{found['cpu_s_per_payload_gb']:.2f} CPU-s/GB ({found['cpu_us_per_sample']:.2f} us a "
        f"sample), peak RSS {found['rss_peak_bytes'] / 1e6:,.0f} MB, "
        f"{found['disk_written_bytes']:,} bytes to disk, {found['gets']:,} GETs in "
        f"{found['seconds']:.0f} s, at most {found['in_flight_max']} in flight, "
        f"{found['wrong_rows']} wrong and {found['repeated_rows']} repeated of {found['rows']:,} "
        f"rows; index {found['index_s']:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="default: both")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "headrace-bench")
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--seconds", type=float, help="other than the case's")
    parser.add_argument("--memory", help="other than the case's")
    parser.add_argument("--synthetic", help="another data set, for a quick try")
    parser.add_argument("--out", type=Path, help="results as JSON")
    options = parser.parse_args()
    results = []
    for name in options.case or CASES:
        results.append(run(name, CASES[name], options))
        print(line(results[-1]), flush=True)
        if options.out:
            report = {"machine": machine(), "results": results}
            options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
