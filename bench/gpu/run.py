#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All checks that need a GPU, in one command and at most ten minutes:

    PYTHON bench/gpu/run.py [--only NAME ...] [--json FILE]

PYTHON: the interpreter whose torch sees the GPU (`make gpu` takes .venv's). Builds the extension
for it where it is missing, serves its own data, needs no network, prints a table and ends with 1 if
a goal was missed or a check could not run. On a machine without a GPU it says so and ends with 0.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# name: (program and arguments, seconds at most); all together about 520 s, the last one gives way
CHECKS = {
    "rates": (["bench/gpu/rates.py"], 60),
    "overlap": (["bench/gpu/overlap.py"], 90),
    "soak": (["tests/gpu/soak.py", "100000", "60"], 200),
    "frameworks": (["tests/gpu/frameworks.py"], 130),
    "idle-resnet": (["bench/gpu/idle.py", "ResNet-50-like"], 70),
    "idle-unet": (["bench/gpu/idle.py", "UNet3D-like"], 70),
    "images": (["bench/gpu/images.py"], 50),
    "memcheck": (["tests/gpu/soak.py", "200", "5"], 100),
}
SECONDS_MAX = 600
SANITIZER = "/usr/local/cuda/bin/compute-sanitizer"
TAIL_LINES = 12  # of a check that failed


def driver_gpus():
    """How many GPUs the driver has, whatever torch was built for; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def gpu():
    """(the GPU's name or None, torch's version or why not)."""
    try:
        import torch
    except ImportError:
        return None, f"{sys.executable} has no torch"
    if not torch.cuda.is_available():
        return None, f"torch {torch.__version__} of {sys.executable} sees no CUDA device"
    return torch.cuda.get_device_name(0), f"torch {torch.__version__}"


def loads():
    """Why this interpreter cannot import headrace; empty: it can, and the server is there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(
        [sys.executable, "-c", "import headrace"], env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["import headrace failed"])[-1]
    return "" if (ROOT / "python/headrace/bin/headrace-serve").exists() else "no headrace-serve"


def build():
    """The extension for this interpreter. What is missing then is said; False: no check can run."""
    why = loads()
    if not why:
        return True
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    print(f"building the extension for {sys.executable} ({tag}): {why}", flush=True)
    folder = f"build/gpu-{tag}"
    steps = [
        ["cmake", "-B", folder, "-DCMAKE_BUILD_TYPE=Release", "-DHEADRACE_PYTHON=ON",
         "-DHEADRACE_TESTS=OFF", f"-DPython_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", folder, "--target", "_core", "headrace-serve",
         "-j", str(os.cpu_count())],
    ]  # fmt: skip
    if Path(sys.prefix) == ROOT / ".venv":
        steps = [["tools/setup", "native"]]
    for step in steps:
        print("  " + " ".join(step), flush=True)
        try:
            done = subprocess.run(step, cwd=ROOT, capture_output=True, text=True)
        except FileNotFoundError as fault:
            print(f"  {fault}; CONTRIBUTING.md says what a build needs")
            return False
        if done.returncode != 0:
            print_tail(done.stdout + done.stderr)
            return False
    target = ROOT / "python/headrace"
    for found in [*(ROOT / folder).rglob("_core*.so"), *(ROOT / folder).rglob("headrace-serve")]:
        if found.is_file():
            shutil.copy2(found, target / "bin" if found.name == "headrace-serve" else target)
    why = loads()
    if why:
        print(f"  built, but: {why}")
    return not why


def print_tail(text):
    for line in text.splitlines()[-TAIL_LINES:]:
        print("    | " + line)


def fault(name):
    return {"name": name, "value": 1, "unit": "", "goal": "0", "ok": False}


def run(name, command, seconds):
    """The check's lines; one more where it failed or took too long, and the end of what it said."""
    prefix = [sys.executable]
    if name == "memcheck":
        if not Path(SANITIZER).exists():
            line = fault(f"{SANITIZER}: not installed, skipped")
            return [{**line, "value": 0, "goal": "", "ok": None}]
        prefix = [SANITIZER, "--error-exitcode", "9", sys.executable]
    path = os.pathsep.join([str(ROOT / "python"), str(ROOT / "bench/gpu")])
    # A file, not a pipe: what was said is there after a time-out too, whoever still holds it open.
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = subprocess.Popen(
            [*prefix, *command], cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status = child.wait(seconds)
            status = f"exit status {status}" if status else ""
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # its server and workers, too
            child.wait()
            status = f"not done in {seconds:.0f} s"
        said.seek(0)
        output = said.read()
    lines = [line for line in map(parsed, output.splitlines()) if line is not None]
    if status or not lines:
        print_tail("\n".join(line for line in output.splitlines() if parsed(line) is None))
        lines.append(fault(status or "said nothing"))
    return lines


def parsed(line):
    """A line of gpu_check.say(), or None."""
    try:
        found = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "name" in found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    name, said = gpu()
    if name is None:
        if count := driver_gpus():
            print(f"{count} GPU(s), but {said}: run this with an interpreter whose torch does")
            return 1
        print(f"skipped: {said}, and there is no GPU ({', '.join(options.only)} need one); the "
              "fake driver's checks are in tests/fake_cuda")  # fmt: skip
        return 0
    if not build():
        print("no check was run: the extension could not be built or loaded")
        return 1
    began, found = time.monotonic(), []
    print(f"{name}, {said}, {os.cpu_count()} cores")
    for check in options.only:
        command, seconds = CHECKS[check]
        left = SECONDS_MAX - (time.monotonic() - began)
        if left < 10:
            line = fault(f"no time left of {SECONDS_MAX} s; run it with --only {check}")
            found.append({"check": check, **line})
            print(f"{check:12} {line['name']}", flush=True)
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
