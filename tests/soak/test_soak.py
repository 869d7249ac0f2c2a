# SPDX-License-Identifier: Apache-2.0
"""The short forms of the longer proofs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


def run(*words):
    """In a process of its own, since it forks ranks and must have no threads."""
    tree = Path(__file__).resolve().parents[2] / "python"
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(tree)])
    done = subprocess.run(
        [sys.executable, str(SOAK), *map(str, words)], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=300, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_fifty_kills_lose_repeat_and_reorder_nothing():
    found = run("kills", "--cycles", 50, "--seed", 4)
    assert (found["lost"], found["repeated"], found["reordered"], found["problems"]) == (
        0,
        0,
        0,
        {},
    )
    assert found["killed"] > 100
    assert found["epochs_proven"] >= 2


@pytest.mark.slow
def test_a_job_that_loses_hosts_delivers_every_sample_once():
    found = run("drill", "--samples", 3000, "--bytes", 3000, "--process-groups")
    assert (found["lost"], found["repeated"], found["reordered"], found["epochs_proven"]) == (
        0,
        0,
        0,
        2,
    )
    assert [life["ranks"] for life in found["lives"]] == [8, 6, 8]
