# SPDX-License-Identifier: Apache-2.0
"""headrace against an S3 service that other people wrote: Ceph's RADOS gateway.

What boto3 put there must come out as the fixtures' expected.jsonl says, which was made by the
formats' own readers; errors must be the ones that users know.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from ceph_rgw import CephGateway

FIXTURES = Path(__file__).parents[1] / "fixtures"
# A list page holds at most 1,000 keys (S3 and Ceph alike): 1,100 take two.
MANY = 1100


def expected(fixture: str) -> list[dict[str, Any]]:
    lines = (FIXTURES / fixture / "expected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def fingerprint(fields: dict[str, Any]) -> dict[str, tuple[int, str]]:
    return {name: (len(value), hashlib.sha256(value).hexdigest()) for name, value in fields.items()}


def wanted_fingerprint(line: dict[str, Any]) -> dict[str, tuple[int, str]]:
    return {name: (field["len"], field["sha256"]) for name, field in line["fields"].items()}


def tiny_tar(key: str, text: bytes) -> bytes:
    """A tar of one sample with the one member ``key``.txt."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(f"{key}.txt")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return out.getvalue()


@pytest.fixture(scope="module")
def buckets(ceph: CephGateway) -> CephGateway:
    """The gateway with a tar set, an MDS set and many tiny tars, each in a bucket of its own."""
    ceph.put_folder(FIXTURES / "wds-shardwriter" / "data", "tars", "train/")
    ceph.put_folder(FIXTURES / "mds-medium" / "data", "mds", "set/")
    client = ceph.client()
    client.create_bucket(Bucket="many")

    def put(i: int) -> None:
        body = tiny_tar(f"{i:06d}", b"sample %d" % i)
        client.put_object(Bucket="many", Key=f"part/{i:06d}.tar", Body=body)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(MANY)))
    return ceph


def open_on(ceph: CephGateway, url: str, folder: Path, **options: Any) -> Any:
    import headrace as hr

    return hr.open(url, index_dir=folder, **{**ceph.open_options(), **options})


def test_the_gateway_checks_signatures_and_knows_ranges(ceph: CephGateway) -> None:
    client = ceph.client()
    client.create_bucket(Bucket="starter")
    client.put_object(Bucket="starter", Key="word", Body=b"hello")

    part = client.get_object(Bucket="starter", Key="word", Range="bytes=1-2")["Body"].read()
    with pytest.raises(botocore.exceptions.ClientError) as fault:
        ceph.client(aws_secret_access_key="wrong").get_object(Bucket="starter", Key="word")

    assert part == b"el"
    assert fault.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_a_tar_set_reads_as_its_own_reader_says(buckets: CephGateway, tmp_path: Path) -> None:
    lines = expected("wds-shardwriter")

    ds = open_on(buckets, "s3://tars/train/train-{000000..000003}.tar", tmp_path)

    assert len(ds) == len(lines) == 40
    for i, line in enumerate(lines):
        assert ds.key(i) == line["key"]
        assert fingerprint(ds.raw(i)) == wanted_fingerprint(line)


def test_an_mds_set_reads_as_its_own_reader_says(buckets: CephGateway, tmp_path: Path) -> None:
    lines = expected("mds-medium")

    ds = open_on(buckets, "s3://mds/set/", tmp_path)

    assert len(ds) == len(lines) == 600
    for i, line in enumerate(lines):
        assert fingerprint(ds.raw(i)) == wanted_fingerprint(line)


@pytest.mark.parametrize(
    ("url", "fixture", "column"),
    [("s3://tars/train/", "wds-shardwriter", "jpg"), ("s3://mds/set/", "mds-medium", "img")],
)
def test_a_shuffled_epoch_delivers_every_sample_once(
    buckets: CephGateway, tmp_path: Path, url: str, fixture: str, column: str
) -> None:
    lines = expected(fixture)
    ds = open_on(buckets, url, tmp_path)

    seen: dict[int, tuple[int, str]] = {}
    with ds.loader(batch_size=8, seed=3, decode={column: bytes}, remainder="short") as loader:
        for batch in loader:
            for i, row in zip(batch.ids.tolist(), batch[column], strict=True):
                assert i not in seen
                seen[i] = (len(row), hashlib.sha256(row).hexdigest())

    assert seen == {i: wanted_fingerprint(line)[column] for i, line in enumerate(lines)}


def test_a_list_of_more_than_one_page_is_read_whole(buckets: CephGateway, tmp_path: Path) -> None:
    ds = open_on(buckets, "s3://many/part/", tmp_path)

    assert [shard[0].rsplit("/", 1)[-1] for shard in ds.shards] == [
        f"{i:06d}.tar" for i in range(MANY)
    ]
    assert [ds.raw(i)["txt"] for i in (0, 999, 1000, MANY - 1)] == [
        b"sample %d" % i for i in (0, 999, 1000, MANY - 1)
    ]


def test_a_wrong_secret_is_an_access_error(buckets: CephGateway, tmp_path: Path) -> None:
    import headrace as hr

    with pytest.raises(hr.AccessError, match="SignatureDoesNotMatch") as fault:
        open_on(buckets, "s3://tars/train/", tmp_path, aws_secret_access_key="wrongwrongwrong")

    assert isinstance(fault.value, PermissionError)
    assert "wrongwrongwrong" not in str(fault.value)


def test_an_unknown_access_key_is_an_access_error(buckets: CephGateway, tmp_path: Path) -> None:
    import headrace as hr

    with pytest.raises(hr.AccessError, match="InvalidAccessKeyId"):
        open_on(buckets, "s3://tars/train/", tmp_path, aws_access_key_id="nobody")


def test_a_missing_bucket_is_file_not_found(buckets: CephGateway, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-bucket"):
        open_on(buckets, "s3://no-such-bucket/train/", tmp_path)


def test_a_missing_shard_is_file_not_found(buckets: CephGateway, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train-000004\.tar.*6 of 10"):
        open_on(buckets, "s3://tars/train/train-{000000..000009}.tar", tmp_path)


def test_a_prefix_without_shards_is_file_not_found(buckets: CephGateway, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        open_on(buckets, "s3://tars/nothing-here/", tmp_path)


def test_a_shard_that_was_replaced_after_indexing_is_a_mismatch(
    ceph: CephGateway, tmp_path: Path
) -> None:
    import headrace as hr

    client = ceph.client()
    client.create_bucket(Bucket="changing")
    client.put_object(Bucket="changing", Key="a.tar", Body=tiny_tar("x", b"before"))
    ds = open_on(ceph, "s3://changing/a.tar", tmp_path)
    client.put_object(Bucket="changing", Key="a.tar", Body=tiny_tar("x", b"after!"))

    with pytest.raises(hr.MismatchError, match=r"a\.tar"):
        ds.raw(0)
