# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the torch tests; see torch_jobs.py."""

import pytest
from torch_jobs import run_job, write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """The folder of a data set of 1,003 good samples."""
    return write_samples(tmp_path_factory.mktemp("torch") / "good")


@pytest.fixture(autouse=True)
def one_process(monkeypatch, tmp_path):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def job(tmp_path):
    """Runs a script of jobs/ under a launcher: ``job("ddp.py", *words, launcher=torchrun(4))``."""
    count = iter(range(100))

    def run(script, *words, launcher=(), timeout_s=180):
        return run_job(tmp_path / f"run-{next(count)}", script, words, launcher, timeout_s)

    return run
