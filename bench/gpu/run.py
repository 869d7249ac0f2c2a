#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All checks that need a GPU, in one command and at most ten minutes:

    .venv/bin/python bench/gpu/run.py [--only NAME ...] [--json FILE]

Builds the extension where it is missing, serves its own data, needs no network, prints a table and
ends with 1 if a goal was missed. On a machine without a GPU it says so and ends with 0.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# name: (program and arguments, seconds)
CHECKS = {
    "rates": (["bench/gpu/rates.py"], 60),
    "overlap": (["bench/gpu/overlap.py"], 90),
    "soak": (["tests/gpu/soak.py", "100000", "60"], 220),
    "frameworks": (["tests/gpu/frameworks.py"], 120),
    "idle-resnet": (["bench/gpu/idle.py", "ResNet-50-like"], 90),
    "idle-unet": (["bench/gpu/idle.py", "UNet3D-like"], 90),
    "memcheck": (["tests/gpu/soak.py", "200", "10"], 120),
}
SECONDS_MAX = 600


def gpu():
    """What the machine has; None and why not."""
    try:
        import torch
    except ImportError:
        return None, "torch is not installed"
    if not torch.cuda.is_available():
        return None, "torch sees no CUDA device"
    return torch.cuda.get_device_name(0), f"torch {torch.__version__}"


def build():
    if not list((ROOT / "python/headrace").glob("_core*.so")):
        subprocess.run(["make", "native"], cwd=ROOT, check=True)


def run(name, command, seconds):
    """The check's lines; one more where it failed or took too long."""
    prefix = [sys.executable]
    if name == "memcheck":
        tool = next(
            (p for p in ("/usr/local/cuda/bin/compute-sanitizer",) if Path(p).exists()), None
        )
        if tool is None:
            return [
                {
                    "name": "compute-sanitizer: not installed, skipped",
                    "value": 0,
                    "unit": "",
                    "goal": "",
                    "ok": None,
                }
            ]
        prefix = [tool, "--error-exitcode", "9", sys.executable]
    path = os.pathsep.join([str(ROOT / "python"), str(ROOT / "bench/gpu")])
    lines = []
    try:
        done = subprocess.run(
            [*prefix, *command], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, timeout=seconds,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        output, status = done.stdout, f"exit status {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired as late:
        output, status = (late.stdout or b"").decode(), f"not done in {seconds:.0f} s"
    for line in output.splitlines():
        if line.startswith("{"):
            lines.append(json.loads(line))
    if status:
        lines.append({"name": status, "value": 1, "unit": "", "goal": "0", "ok": False})
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    name, said = gpu()
    if name is None:
        print(
            f"skipped: {said}; these checks need a GPU (the fake driver's are in tests/fake_cuda)"
        )
        return 0
    build()
    began, found = time.monotonic(), []
    print(f"{name}, {said}, {os.cpu_count()} cores")
    for check in options.only:
        command, seconds = CHECKS[check]
        left = SECONDS_MAX - (time.monotonic() - began)
        if left < 10:
            print(f"{check}: no time left of {SECONDS_MAX} s; run it with --only {check}")
            continue
        for line in run(check, command, min(seconds, left)):
            found.append({"check": check, **line})
            mark = {True: "ok", False: "MISSED", None: ""}[line["ok"]]
            value = f"{line['value']:.4g}"
            figure = f"{value:>10} {line['unit']:6} {line['goal']:12} {mark}"
            print(f"{check:12} {line['name']:70} {figure}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"gpu": name, "torch": said, "lines": found}, indent=1))
    missed = [line for line in found if line["ok"] is False]
    print(f"{len(found)} lines, {len(missed)} goals missed, {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
