# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: a small data set of digits, and servers over it."""

import os
import sys
from pathlib import Path

import pytest
from small_data import SAMPLES, SHARDS, sample_fields, write_tar

from headrace.serve import Server


@pytest.fixture(scope="session")
def buckets(tmp_path_factory):
    root = tmp_path_factory.mktemp("buckets")
    folder = root / "data"
    folder.mkdir()
    for shard in range(SHARDS):
        each = SAMPLES // SHARDS
        write_tar(folder / f"train-{shard}.tar", shard * each, each, sample_fields)
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="session")
def server(buckets):
    with Server(buckets) as running:
        yield running


@pytest.fixture(scope="session")
def slow_server(buckets):
    """Median 30 ms, as S3."""
    with Server(buckets, profile="s3") as running:
        yield running


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch, tmp_path):
    """No credentials or indexes of this machine: tests see only what they make."""
    for name in [n for n in os.environ if n.startswith("AWS_")] + ["RANK", "WORLD_SIZE"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def url():
    return "s3://data/train-{0..3}.tar"


@pytest.fixture
def dataset(server, url):
    import headrace as hr

    with hr.open(url, **server.options) as opened:
        yield opened


@pytest.fixture
def child(server, tmp_path):
    """Runs Python code in another process, with the server in its environment."""
    import subprocess

    def run(code, *words, environment=None, **options):
        tree = Path(__file__).resolve().parents[2] / "python"
        path = os.pathsep.join([str(tree), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, **server.environment, "PYTHONPATH": path, **(environment or {})}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    return run
