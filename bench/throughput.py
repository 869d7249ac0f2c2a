# SPDX-License-Identifier: Apache-2.0
"""One cold epoch of 8,192 samples from a store with latency: headrace, its peers, and the wall.

    python bench/throughput.py --peers DIR --rounds 3 --out RESULT.json

Every run is a fresh process against a fresh headrace-serve; contenders take turns within a round,
so that what else the machine does falls on all of them. It writes all runs as JSON and prints the
tables in Markdown. It does not judge: bench/README.md does. Method and fairness: see there.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from contenders import CONTENDERS, Contender
from one_run import Bench, child_environment, run_once
from server import PROFILES, Server, find_program
from table import table
from workload import Workload, make


def fresh_memory_s_per_gb() -> list[float]:
    """CPU seconds to touch a GB that this process had not used, three times anew.

    Under a hypervisor that takes freed memory back the first can be many times the others; every
    contender pays it for its buffers, by luck of what ran before.
    """
    found = []
    for _ in range(3):
        block = np.empty(1 << 30, np.uint8)
        begun = time.process_time()
        block[::4096] = 1
        found.append(round((time.process_time() - begun) / (block.nbytes / 1e9), 3))
        del block
    return found


def machine() -> dict[str, Any]:
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        "?",
    )  # fmt: skip
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
        "system": platform.platform(),
        "fresh_memory_s_per_gb": fresh_memory_s_per_gb(),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="append", choices=sorted(PROFILES), help="default: s3")
    parser.add_argument("--only", action="append", metavar="GLOB", help="contenders by name")
    parser.add_argument("--samples", type=int, default=Workload.samples, help="for a quick try")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "headrace-bench")
    parser.add_argument("--peers", type=Path, default=Path(__file__).parents[1] / "build" / "peers",
                        help="environment made by bench/peers/setup")  # fmt: skip
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--wall", help="path of bench_wall")
    parser.add_argument("--block", type=int, default=2, help="samples a range of the wall's blocks")
    parser.add_argument("--out", type=Path, help="all runs as JSON")
    parser.add_argument("--list", action="store_true", help="name the contenders and end")
    return parser.parse_args()


def chosen(only: list[str] | None, samples: int) -> list[Contender]:
    if not only:
        return [c for c in CONTENDERS if c.usual and samples <= (c.samples_max or samples)]
    found = [c for c in CONTENDERS if any(fnmatch.fnmatch(c.name, glob) for glob in only)]
    if not found:
        raise SystemExit(f"no contender is called {' or '.join(only)}; --list names them")
    return found


INDEX = """
import sys, headrace as hr
hr.open(sys.argv[1], endpoint_url=sys.argv[2], region="us-east-1", save="beside")
"""


def build_indexes(bench: Bench, contenders: list[Contender]) -> None:
    """headrace's indexes beside the tars, once: a data set is indexed once, not every run."""
    wanted = {c.dataset for c in contenders if c.script == "stream_headrace.py"} - {"mds"}
    for stored in (bench.sets[name] for name in sorted(wanted & set(bench.sets))):
        done = stored.root / f"{stored.bucket}.indexed"
        if done.exists():
            continue
        with Server(bench.serve, [str(stored.root)], "zero", writable=True) as server:
            subprocess.run(
                [sys.executable, "-c", INDEX, stored.url, server.url],
                env=child_environment(),
                check=True,
            )
        done.touch()


def main() -> None:
    options = arguments()
    if options.list:
        print("\n".join(contender.name for contender in CONTENDERS))
        return
    peers_python = options.peers / "bin" / "python"
    peers = str(peers_python) if peers_python.exists() else None
    wanted = chosen(options.only, options.samples)
    walls = any(contender.script == "" for contender in wanted)
    workload = Workload.of(options.samples)
    bench = Bench(
        workload=workload,
        sets=make(options.data, workload, peers, {contender.dataset for contender in wanted}),
        serve=find_program("headrace-serve", options.serve),
        wall=find_program("bench_wall", options.wall) if walls else None,
        peers_python=peers,
        block=options.block,
    )
    contenders = [contender for contender in wanted if bench.can_run(contender)]
    for contender in wanted:
        if contender not in contenders:
            why = "run bench/peers/setup; some take part up to 1,024 samples"
            print(f"left out: {contender.name} ({why})", file=sys.stderr)
    build_indexes(bench, contenders)
    report = {"machine": machine(), "workload": vars(workload), "block": bench.block, "runs": []}
    profiles = options.profile or ["s3"]
    for turn in range(options.rounds):
        first = turn % len(contenders)
        for profile, contender in product(profiles, contenders[first:] + contenders[:first]):
            run = run_once(bench, contender, profile, seed=turn + 1)
            report["runs"].append(run)
            said = run.get("failed") or f"{run['samples_per_s']:,.0f} samples/s"
            print(f"round {turn + 1} {profile} {contender.name}: {said}", file=sys.stderr)
            if options.out:
                options.out.write_text(json.dumps(report, indent=1))
    for profile in profiles:
        print(f"\n### Profile {profile}\n\n{table(report['runs'], profile)}")


if __name__ == "__main__":
    main()
