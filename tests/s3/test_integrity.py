# SPDX-License-Identifier: Apache-2.0
"""The index pass against the store's own checksums, through the whole product: docs/integrity.md.

The embedded server gives CRC64NVME (or another, or none) of whole objects to HEAD, and damages bodies as told.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from ceph_rgw import CephGateway
from fake_cloud import small_tars

import headrace as hr
from headrace.serve import Server

# The body of sample 16, "16", the first of its shard: behind its header of 512 bytes.
AT = 512
KEY = "bucket/data/train-001.tar"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    for key, body in small_tars().items():
        path = tmp_path / "root/bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return tmp_path / "root"


def _texts(server: Server, folder: Path) -> list[str]:
    with hr.open(
        "s3://bucket/data/",
        endpoint_url=server.endpoint_url,
        anonymous=True,
        index_dir=folder,
        attempts_max=2,
    ) as ds:
        return [str(int(ds[i]["txt"])) for i in range(len(ds))]


def _server(bucket: Path, fault: str, checksum: str) -> Server:
    return Server(bucket, anonymous=True, words=["--checksum", checksum, "--fault", fault])


@pytest.mark.parametrize("checksum", ["crc64nvme", "crc32c", "crc32"])
def test_a_bit_that_flips_once_is_read_again(bucket, tmp_path, caplog, checksum):
    caplog.set_level(logging.INFO)
    with _server(bucket, f"flip,key={KEY},object_at={AT},times=1,op=GetObject", checksum) as server:
        assert _texts(server, tmp_path / "index") == [str(i) for i in range(48)]
    assert f"{checksum.upper()} expected=" in caplog.text
    assert "reading it again" in caplog.text
    assert "3 of 3 shards agree with the store's checksums" in caplog.text


@pytest.mark.parametrize("checksum", ["crc64nvme", "crc32c", "crc32"])
def test_a_bit_that_rots_is_an_error_with_both_values(bucket, tmp_path, checksum):
    with (
        _server(bucket, f"flip,key={KEY},object_at={AT},op=GetObject", checksum) as server,
        pytest.raises(
            hr.CorruptError, match=rf"train-001\.tar.*{checksum.upper()} expected=[0-9a-f]+ got="
        ),
    ):
        _texts(server, tmp_path / "index")


def test_without_checksums_nothing_is_claimed(bucket, tmp_path, caplog):
    """What would have happened: the damage is certified by the index."""
    caplog.set_level(logging.INFO)
    with (
        _server(bucket, f"flip,key={KEY},object_at={AT},times=1,op=GetObject", "none") as server,
        pytest.raises(hr.CorruptError),  # the true bytes, against the damaged index
    ):
        _texts(server, tmp_path / "index")
    assert "agree with the store" not in caplog.text


def test_ceph_gives_no_false_alarm_and_finds_its_md5s(
    ceph: CephGateway, tmp_path: Path, caplog
) -> None:
    caplog.set_level(logging.INFO)
    client = ceph.client()
    client.create_bucket(Bucket="sums")
    bodies = small_tars()
    for key, body in bodies.items():
        client.put_object(Bucket="sums", Key=key, Body=body)
    # The ETag of a multipart upload is of its parts, "...-1".
    key = "data/train-001.tar"
    upload = client.create_multipart_upload(Bucket="sums", Key=key)["UploadId"]
    where = {"Bucket": "sums", "Key": key, "UploadId": upload}
    part = client.upload_part(**where, PartNumber=1, Body=bodies[key])
    parts = [{"ETag": part["ETag"], "PartNumber": 1}]
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})

    with hr.open("s3://sums/data/", index_dir=tmp_path, **ceph.open_options()) as ds:
        assert len(ds) == 48

    assert "reading it again" not in caplog.text
    assert "2 of 3 shards agree with the store's checksums" in caplog.text
