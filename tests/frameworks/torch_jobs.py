# SPDX-License-Identifier: Apache-2.0
"""The torch tests' data, 1,003 samples in tars, and their jobs of several processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from small_data import png, write_tar

import headrace as hr

HERE = Path(__file__).parent
SAMPLES = 1003
COUNTS = (251, 251, 251, 250)


def fields(i, bad=frozenset()):
    rng = np.random.default_rng(i)
    image = png(rng.integers(0, 255, (4, 4, 3), np.uint8))
    return {
        "cls": str(i % 10).encode(),
        "id": str(i).encode(),
        "png": image[:20] if i in bad else image,
    }


def write_samples(folder, bad=frozenset()):
    folder.mkdir()
    first = 0
    for number, count in enumerate(COUNTS):
        write_tar(folder / f"part-{number}.tar", first, count, lambda i: fields(i, bad))
        first += count
    return folder


class Job:
    """A finished job: its exit status, what it said, and the reports its ranks wrote."""

    def __init__(self, done, folder, seconds):
        self.status, self.said, self.seconds = done.returncode, done.stdout + done.stderr, seconds
        self.reports = [
            json.loads(path.read_text()) for path in sorted(folder.glob("report-*.json"))
        ]

    def __repr__(self):
        return f"Job(status={self.status}, {self.seconds:.0f} s)\n{self.said[-3000:]}"


def torchrun(processes):
    return (
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes,
        "--max-restarts", 0,
    )  # fmt: skip


def run_job(folder, script, words, launcher, timeout_s):
    """Runs a script of jobs/, which writes report-RANK.json into ``folder``."""
    tree = Path(hr.__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
    }
    folder.mkdir()
    command = [sys.executable, *launcher, HERE / "jobs" / script, folder, *words]
    begin = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command], env=environment, cwd=folder, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s,
    )  # fmt: skip
    return Job(done, folder, time.monotonic() - begin)
