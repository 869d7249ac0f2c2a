# SPDX-License-Identifier: Apache-2.0
"""`make gpu` as a test where there is a GPU; elsewhere only that it says so."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def has_gpu():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def run(*words):
    command = [sys.executable, str(ROOT / "bench/gpu/run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=620)


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends_well():
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: ")


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
def test_every_batch_is_right_on_a_gpu():
    done = run("--only", "soak", "frameworks")
    assert done.returncode == 0, done.stdout + done.stderr
