# SPDX-License-Identifier: Apache-2.0
"""The demo: killed, resumed, exactly once, and its figures under their stable names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
KEYS = {
    "samples_per_s", "first_batch_s", "wait_share", "gets", "gets_min", "bytes_ratio", "order_d32",
    "exactly_once", "accuracy_first", "accuracy_last",
}  # fmt: skip


@pytest.mark.slow
def test_the_demo_is_killed_resumes_exactly_and_learns():
    for package in ("torch", "sklearn", "webdataset", "typer", "PIL"):
        pytest.importorskip(package)
    env = {**os.environ, "PYTHONPATH": str(TREE / "python")}
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "demo", "--json", "--epochs", "4"],
        env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures.keys() >= KEYS
    assert figures["exactly_once"] is True
    assert figures["accuracy_last"] > max(0.9, figures["accuracy_first"] - 0.02)
    assert 0 < figures["killed_at_step"] < 4 * 94
    assert figures["memory_peak"] <= 4 << 20
    assert figures["order_d32"] < 1.5
    assert figures["wait_share"] < 0.9
