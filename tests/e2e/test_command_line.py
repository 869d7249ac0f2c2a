# SPDX-License-Identifier: Apache-2.0
"""The headrace command: output, JSON, exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
TREE = Path(__file__).resolve().parents[2]


@pytest.fixture
def headrace(server, tmp_path):
    def run(*words, status=0):
        env = {**os.environ, **server.environment, "PYTHONPATH": str(TREE / "python"), "COLUMNS": "120"}
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *map(str, words)], env=env, capture_output=True, text=True,
            cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done

    return run


def test_index_then_ls_then_show(headrace, tmp_path):
    url = "s3://data/train-{0..3}.tar"
    missing = headrace("ls", url, status=1)
    assert "headrace index" in missing.stderr
    assert missing.stdout == ""
    facts = json.loads(headrace("index", url, "--json").stdout)
    assert (facts["samples"], facts["shards"], facts["index"]["checksums"]) == (600, 4, True)
    facts = json.loads(headrace("ls", url, "--json", "--shards").stdout)
    assert facts["fields"] == {"bin": 600, "cls": 600, "json": 600, "png": 600, "txt": 600}
    assert sum(shard["samples"] for shard in facts["shard_list"]) == 600
    assert "webdataset" in headrace("ls", url).stdout
    shown = headrace("show", url, 5)
    assert "sample 5 of 600" in shown.stdout
    assert (tmp_path / "sample-5.png.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(headrace("show", url, 5, "--json").stdout)["fields"]["__key__"] == "s/000005"


def test_stream(headrace):
    url = "s3://data/train-{0..3}.tar"
    done = json.loads(headrace("stream", url, "--batch-size", 50, "--verify", "--json").stdout)
    assert (done["samples"], done["batches"], done["verified"]) == (600, 12, True)
    assert done["stats"]["bytes_ratio"] < 1.3  # all of it once; the rest is tar's padding
    assert "samples/s" in headrace("stream", url, "--batches", 2).stdout


def test_stream_digest_is_of_stored_bytes_in_the_order_delivered(headrace):
    import hashlib

    from small_data import sample_fields

    url = "s3://data/train-0.tar"
    done = json.loads(headrace("stream", url, "--shuffle", "none", "--digest", "--json").stdout)
    digest = hashlib.sha256()
    for i in range(done["samples"]):
        digest.update(i.to_bytes(8, "little"))
        for name, content in sorted(sample_fields(i).items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    assert done["digest"] == digest.hexdigest()


def test_options_of_open_are_set_by_name(headrace):
    url = "s3://data/train-0.tar"
    assert "150 samples" in headrace("index", url, "--set", "attempts_max=2").stderr
    assert "nowhere.invalid" in headrace("ls", url, "--set", "endpoint_url=http://nowhere.invalid", status=1).stderr
    assert "did you mean 'attempts_max'" in headrace("ls", url, "--set", "attempt_max=2", status=2).stderr
    assert "want NAME=VALUE" in headrace("ls", url, "--set", "attempts_max", status=2).stderr


def test_exit_status_tells_failed_from_misused(headrace):
    assert "did you mean" in headrace("stream", "s3://data/train-0.tar", "--shuffle", "stratifed", status=2).stderr
    assert "nowhere" in headrace("ls", "s3://nowhere/x.tar", status=1).stderr
    headrace("nonsense", status=2)
    headrace("ls", status=2)
    assert headrace("--version").stdout.strip()
    assert "--profile" in headrace("serve", "--help").stdout


def test_a_closed_pipe_is_no_traceback(server):
    env = {**os.environ, **server.environment, "PYTHONPATH": str(TREE / "python")}
    done = subprocess.run(
        f"{sys.executable} -m headrace index 's3://data/train-{{0..3}}.tar' --json | head -c 1",
        shell=True, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_the_examples_run(server, buckets, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from headrace.demo import data
    from headrace.serve import Server

    root = tmp_path / "digits"
    root.mkdir()
    data.write_digits(root)
    with Server(root) as digits:
        env = {**os.environ, **digits.environment, "PYTHONPATH": str(TREE / "python")}
        for example in sorted((TREE / "examples").glob("*.py")):
            done = subprocess.run(
                [sys.executable, str(example), data.TRAIN_URL], env=env, cwd=tmp_path,
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, (example.name, done.stderr)
            assert done.stdout
