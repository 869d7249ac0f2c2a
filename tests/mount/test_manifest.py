# SPDX-License-Identifier: Apache-2.0
"""A mount of a manifest: its shards are all there is, in the versions that it names; no LIST."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import CorruptError, NotFoundError
from headrace.mount import Mount


@pytest.fixture
def manifest(place, put, tmp_path) -> Path:
    """Of two shards out of three objects; ETags by HEAD of the server, as boto3 has them."""
    put("data/b/one.tar", b"1" * 300_000)
    put("data/two.tar", b"2" * 5)
    put("data/not-in-it.tar", b"3")
    rows = [row_of(place, key) for key in ("b/one.tar", "two.tar")]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"headrace_manifest": 1, "format": "webdataset", "shards": rows}))
    return path


def row_of(place, key: str) -> dict[str, Any]:
    import boto3

    client = boto3.client("s3", endpoint_url=place.server.endpoint_url, **keys_of(place))
    found = client.head_object(Bucket="bucket", Key=f"data/{key}")
    return {"key": key, "bytes": found["ContentLength"], "etag": found["ETag"].strip('"')}


def keys_of(place) -> dict[str, str]:
    of = place.server.environment
    return {
        "aws_access_key_id": of["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": of["AWS_SECRET_ACCESS_KEY"],
        "region_name": "us-east-1",
    }


@pytest.fixture
def there(place, manifest, tmp_path):
    folder = tmp_path / "by-manifest"
    folder.mkdir()
    words = ["--log-file", str(place.log), "--plan-socket", str(tmp_path / "plan")]
    place.server.stats(reset=True)
    with Mount(
        "s3://bucket/data",
        folder,
        words=words,
        manifest=manifest,
        environment=place.server.environment,
    ):
        yield folder


def test_a_manifests_shards_are_all_there_is_and_nothing_is_listed(place, there):
    assert sorted(str(p.relative_to(there)) for p in there.rglob("*")) == [
        "b",
        "b/one.tar",
        "two.tar",
    ]
    assert (there / "b/one.tar").stat().st_size == 300_000
    assert not (there / "not-in-it.tar").exists()
    assert (there / "b/one.tar").read_bytes() == b"1" * 300_000
    assert (there / "two.tar").read_bytes() == b"2" * 5
    done = place.server.stats()["by_op"]
    assert (done["ListObjectsV2"], done["HeadObject"], done["GetObject"]) == (0, 0, 2)


def test_a_shard_that_is_another_than_the_manifests_is_estale_for_good(put, there):
    put("data/two.tar", b"4" * 5)
    for _ in range(2):
        with pytest.raises(OSError, match=rf"\[Errno {errno.ESTALE}\]"):
            (there / "two.tar").read_bytes()
    assert (there / "b/one.tar").read_bytes() == b"1" * 300_000


def test_the_command_line_mounts_a_manifest(place, manifest, tmp_path):
    folder = tmp_path / "by-command"
    folder.mkdir()
    words = ["--manifest", str(manifest), "--log-file", str(place.log)]
    run = [sys.executable, "-m", "headrace", "mount", "s3://bucket/data", str(folder), *words]
    environment = {**os.environ, **place.server.environment}
    subprocess.run(run, check=True, env=environment, timeout=60)
    try:
        assert sorted(os.listdir(folder)) == ["b", "two.tar"]
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_manifest_that_is_none_is_refused(place, put, tmp_path):
    put("f", b"x")
    row = {"key": "f", "bytes": 1}
    whole = {"headrace_manifest": 1, "format": "webdataset", "shards": [row]}
    path = tmp_path / "m.json"
    for text, reason in [("nonsense", "no manifest"), (json.dumps(whole), "has no ETag")]:
        path.write_text(text)
        with pytest.raises(CorruptError, match=reason):
            Mount("s3://bucket", tmp_path, manifest=path, environment=place.server.environment)
    with pytest.raises(NotFoundError, match="nowhere"):
        Mount("s3://bucket", tmp_path, manifest=tmp_path / "nowhere")
