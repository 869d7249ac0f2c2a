# SPDX-License-Identifier: Apache-2.0
"""No secret is ever said, second half: files that a job or a command writes, Parquet, the stream order.

The canaries, the search and the servers are test_secrets.py's.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback

import pytest
import test_secrets
from fake_cloud import FakeCloud
from test_secrets import KEY_ID, SECRET, TOKEN, _files_under, _keys, _open, _search

import headrace as hr

cloud, machine, presigned = test_secrets.cloud, test_secrets.machine, test_secrets.presigned


def _parquet_in(cloud: FakeCloud) -> str:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": list(range(300)), "t": [f"text {i}" for i in range(300)]}), sink, row_group_size=64)
    cloud.objects["table/part-0.parquet"] = sink.getvalue().to_pybytes()
    return "s3://bucket/table/"


def _run(cloud: FakeCloud, *words: str) -> bytes:
    environment = {
        **os.environ, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN,
        "AWS_ENDPOINT_URL": cloud.url, "AWS_REGION": "us-east-1", "HEADRACE_LOG": "debug",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words], env=environment, capture_output=True, timeout=60, check=False
    )
    _search(" ".join(words), done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_of_ledgers_their_audit_and_the_report_of_a_probe(cloud, machine):
    with _open(cloud, index_dir=machine / "index") as ds:
        for _ in ds.loader(batch_size=8, ledger=str(machine / "ledger")):
            pass
    assert b"proven" in _run(cloud, "audit", str(machine / "ledger"), "--url", "s3://bucket/data/", "--json")
    cloud.objects["data/train-999.tar"] = cloud.objects["data/train-000.tar"] + bytes(100 << 10)  # enough to measure by
    report = machine / "probe.json"
    report.write_bytes(_run(cloud, "probe", "s3://bucket/data/", "--json", "--batch", "8", "--step-ms", "5"))
    assert json.loads(report.read_text())
    _run(cloud, "plan", "s3://bucket/data/", "--json", "--batch", "8", "--step-ms", "5", "--probe", str(report))
    _search("files", _files_under(machine))


def test_of_parquet_read_wrongly_and_rightly(cloud, machine, caplog, capfd):
    caplog.set_level(1)
    logging.getLogger("headrace").setLevel(1)
    url = _parquet_in(cloud)
    options = {"endpoint_url": cloud.url, "region": "us-east-1", "attempts_max": 2, **_keys()}
    with hr.open(url, index_dir=machine / "index", **options) as ds:
        loader = ds.loader(batch_size=50)
        assert sum(len(batch["n"]) for batch in loader) == 300
        _search("state", repr(ds) + json.dumps(loader.state_dict(), default=str) + repr(loader.stats()))
        whole = cloud.objects["table/part-0.parquet"]
        cloud.objects["table/part-0.parquet"] = b"\0" * len(whole)  # the ETag is its length: nobody notices but the reader
        with pytest.raises(hr.Error) as failure:
            for _ in ds.loader(batch_size=50):
                pass
        _search("error", "".join(traceback.format_exception(failure.value)))
    _search("log", caplog.text + "".join(capfd.readouterr()))
    _search("files", _files_under(machine))


def test_of_presigned_parquet(presigned, cloud, machine, caplog, capfd):
    caplog.set_level(1)
    _parquet_in(cloud)
    urls = presigned.urls(["table/part-0.parquet"])
    with hr.open(urls, index_dir=machine / "index") as ds:
        loader = ds.loader(batch_size=50)
        assert sum(len(batch["n"]) for batch in loader) == 300
        _search("state", repr(ds) + json.dumps(loader.state_dict(), default=str))
        presigned.status = 403
        with pytest.raises(hr.Error) as failure:
            for _ in ds.loader(batch_size=50):
                pass
    _search("error", str(failure.value))
    _search("log", caplog.text + "".join(capfd.readouterr()))
    _search("files", _files_under(machine))


def test_of_the_stream_order(cloud, presigned, machine, caplog, capfd):
    caplog.set_level(1)
    for source, options in (
        ("s3://bucket/data/", {"endpoint_url": cloud.url, "region": "us-east-1", **_keys()}),
        (presigned.urls(sorted(cloud.objects)), {}),
    ):
        with hr.open(source, order="stream", index_dir=machine / "index", attempts_max=2, **options) as ds:
            loader = ds.loader(batch_size=8)
            assert sum(len(batch["txt"]) for batch in loader) == 48
            _search("state", repr(ds) + json.dumps(loader.state_dict(), default=str))
            kept = dict(cloud.objects)
            for key, body in kept.items():  # its tar headers are wrong: read twice, then an error
                cloud.objects[key] = b"x" * len(body)
            with pytest.raises(hr.Error) as failure:
                for _ in ds.loader(batch_size=8):
                    pass
            cloud.objects.update(kept)
            _search("error", str(failure.value))
    _search("log", caplog.text + "".join(capfd.readouterr()))
    _search("files", _files_under(machine))
