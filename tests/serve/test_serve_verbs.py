# SPDX-License-Identifier: Apache-2.0
"""The verbs that write in other ways than PutObject, virtual hosts, and checksums, as boto3 meets them."""

from __future__ import annotations

import base64
import io
import urllib.request
import zlib

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1 << 20


@pytest.fixture
def server(serve):
    running = serve()
    (running.root / "bkt").mkdir()
    return running


@pytest.fixture
def s3(server, client):
    return client(server)


def code(error):
    return error.value.response["Error"]["Code"]


def test_a_multipart_upload_is_its_parts_in_order(s3):
    upload = s3.create_multipart_upload(Bucket="bkt", Key="a/b é.bin")["UploadId"]
    where = {"Bucket": "bkt", "Key": "a/b é.bin", "UploadId": upload}
    pieces = {2: b"2" * (5 * MIB), 1: b"1" * (5 * MIB), 7: b"the end"}
    tags = {n: s3.upload_part(**where, PartNumber=n, Body=body)["ETag"] for n, body in pieces.items()}
    assert [part["PartNumber"] for part in s3.list_parts(**where)["Parts"]] == [1, 2, 7]
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket="bkt")["Uploads"]] == ["a/b é.bin"]
    assert s3.list_objects_v2(Bucket="bkt")["KeyCount"] == 0
    parts = [{"PartNumber": n, "ETag": tags[n]} for n in sorted(tags)]
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    got = s3.get_object(Bucket="bkt", Key="a/b é.bin")
    assert got["Body"].read() == pieces[1] + pieces[2] + pieces[7]
    assert got["ETag"] == done["ETag"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="bkt")
    with pytest.raises(ClientError) as error:
        s3.upload_part(**where, PartNumber=1, Body=b"late")
    assert code(error) == "NoSuchUpload"


def test_what_completing_refuses(s3):
    upload = s3.create_multipart_upload(Bucket="bkt", Key="k")["UploadId"]
    where = {"Bucket": "bkt", "Key": "k", "UploadId": upload}
    tags = {n: s3.upload_part(**where, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2)}
    for numbers, words in (([2, 1], "InvalidPartOrder"), ([1, 2], "EntityTooSmall"), ([1, 3], "InvalidPart")):
        parts = [{"PartNumber": n, "ETag": tags.get(n, tags[1])} for n in numbers]
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        assert code(error) == words
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tags[2]}]})
    assert code(error) == "InvalidPart"
    with pytest.raises(ClientError) as error:
        s3.upload_part(**where, PartNumber=10_001, Body=b"x")
    assert code(error) == "InvalidArgument"
    for bad in ("../../etc", "0" * 32):
        with pytest.raises(ClientError) as error:
            s3.list_parts(Bucket="bkt", Key="k", UploadId=bad)
        assert code(error) == "NoSuchUpload"
    with pytest.raises(ClientError) as error:  # of another key
        s3.list_parts(Bucket="bkt", Key="other", UploadId=upload)
    assert code(error) == "NoSuchUpload"


def test_aborting_leaves_nothing(s3, server):
    upload = s3.create_multipart_upload(Bucket="bkt", Key="k")["UploadId"]
    s3.upload_part(Bucket="bkt", Key="k", UploadId=upload, PartNumber=1, Body=b"x" * 100)
    s3.abort_multipart_upload(Bucket="bkt", Key="k", UploadId=upload)
    assert list((server.root / "bkt").iterdir()) == []


def test_boto3s_transfer_manager_uploads_and_downloads(s3, tmp_path):
    content = bytes(range(256)) * (17 * MIB // 256)
    s3.upload_fileobj(io.BytesIO(content), "bkt", "big")  # 8 MiB parts
    s3.download_file("bkt", "big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


def test_copies_of_objects_and_parts(s3, client, serve):
    s3.put_object(Bucket="bkt", Key="a +%.bin", Body=b"0123456789" * MIB)
    s3.copy_object(Bucket="bkt", Key="copy", CopySource={"Bucket": "bkt", "Key": "a +%.bin"})
    assert s3.get_object(Bucket="bkt", Key="copy")["Body"].read() == b"0123456789" * MIB
    upload = s3.create_multipart_upload(Bucket="bkt", Key="part")["UploadId"]
    where = {"Bucket": "bkt", "Key": "part", "UploadId": upload}
    copied = s3.upload_part_copy(**where, PartNumber=1, CopySource="bkt/copy", CopySourceRange="bytes=5-14")
    parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="bkt", Key="part")["Body"].read() == b"5678901234"
    for source, words in (("bkt/none", "NoSuchKey"), ("none/x", "NoSuchBucket"), ("nonsense", "InvalidArgument")):
        with pytest.raises(ClientError) as error:
            s3.copy_object(Bucket="bkt", Key="y", CopySource=source)
        assert code(error) == words
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket="bkt", Key="y", CopySource="bkt/copy", CopySourceIfMatch='"other"')
    assert code(error) == "PreconditionFailed"


def test_deleting_many_and_buckets(s3):
    keys = ["a", "b/c", "ünï & <x>", "d"]
    for key in keys:
        s3.put_object(Bucket="bkt", Key=key, Body=b"x")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket="bkt")
    assert code(error) == "BucketNotEmpty"
    listed = [{"Key": key} for key in [*keys, "was never there"]]
    done = s3.delete_objects(Bucket="bkt", Delete={"Objects": listed})
    assert [d["Key"] for d in done["Deleted"]] == [*keys, "was never there"]
    assert s3.list_objects_v2(Bucket="bkt")["KeyCount"] == 0
    assert "Deleted" not in s3.delete_objects(Bucket="bkt", Delete={"Objects": listed, "Quiet": True})
    s3.delete_bucket(Bucket="bkt")
    s3.create_bucket(Bucket="other")
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["other"]
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket="bkt")
    assert code(error) == "404"


def crc64nvme(data):
    """Bit by bit, as the polynomial says (CRC-64/NVME, reflected)."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


@pytest.mark.parametrize("kind", ["crc64nvme", "crc32", "none"])
def test_checksum_mode_answers_with_the_whole_objects_checksum(serve, client, kind):
    server = serve("--checksum", kind)
    (server.root / "bkt").mkdir()
    s3 = client(server)
    body = b"123456789" * 5
    s3.put_object(Bucket="bkt", Key="k", Body=body)
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888  # the catalogue's check value
    wanted = {
        "crc64nvme": ("ChecksumCRC64NVME", base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()),
        "crc32": ("ChecksumCRC32", base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()),
    }.get(kind)
    got = s3.head_object(Bucket="bkt", Key="k", ChecksumMode="ENABLED")
    assert {name: got[name] for name in got if name.startswith("Checksum")} == (
        {wanted[0]: wanted[1], "ChecksumType": "FULL_OBJECT"} if wanted else {}
    )
    plain = s3.head_object(Bucket="bkt", Key="k", ChecksumMode="DISABLED")
    ranged = s3.get_object(Bucket="bkt", Key="k", Range="bytes=1-5", ChecksumMode="ENABLED")
    assert not [name for name in [*plain, *ranged] if name.startswith("Checksum")]
    if kind != "none":  # botocore checks CRC32 itself
        assert s3.get_object(Bucket="bkt", Key="k", ChecksumMode="ENABLED")["Body"].read() == body


def test_uploads_with_a_wrong_crc64_are_refused(s3):
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bkt", Key="k", Body=b"x", ChecksumCRC64NVME="AAAAAAAAAAA=")
    assert code(error) == "BadDigest"


@pytest.fixture
def by_host(monkeypatch):
    """Names below "localhost" and "s3.test" are this machine, as they would be by DNS."""
    import socket

    real = socket.getaddrinfo

    def getaddrinfo(host, *words, **options):
        here = isinstance(host, str) and host.endswith(("localhost", ".s3.test"))
        return real("127.0.0.1" if here else host, *words, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("domain", ["localhost", "s3.test"])
def test_buckets_have_hosts_of_their_own(serve, by_host, domain):
    server = serve("--domain", "s3.test")
    (server.root / "my.bkt").mkdir()
    virtual = boto3.client(
        "s3", endpoint_url=server.url.replace("127.0.0.1", domain), region_name="us-east-1",
        aws_access_key_id="headrace", aws_secret_access_key="headrace-secret",
        config=Config(s3={"addressing_style": "virtual"}, signature_version="s3v4"),
    )  # fmt: skip
    virtual.put_object(Bucket="my.bkt", Key="a/b", Body=b"by host")
    assert [o["Key"] for o in virtual.list_objects_v2(Bucket="my.bkt")["Contents"]] == ["a/b"]
    assert (server.root / "my.bkt" / "a" / "b").read_bytes() == b"by host"
    url = virtual.generate_presigned_url("get_object", Params={"Bucket": "my.bkt", "Key": "a/b"})
    assert url.startswith(f"http://my.bkt.{domain}:")
    assert urllib.request.urlopen(url).read() == b"by host"


def test_presigned_urls_of_uploads_and_parts(server, client):
    s3 = client(server, signature_version="s3v4")
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "bkt", "Key": "signed"})
    urllib.request.urlopen(urllib.request.Request(url, b"put by URL", method="PUT"))
    upload = s3.create_multipart_upload(Bucket="bkt", Key="parts")["UploadId"]
    where = {"Bucket": "bkt", "Key": "parts", "UploadId": upload}
    url = s3.generate_presigned_url("upload_part", Params={**where, "PartNumber": 1})
    reply = urllib.request.urlopen(urllib.request.Request(url, b"a part by URL", method="PUT"))
    parts = [{"PartNumber": 1, "ETag": reply.headers["ETag"]}]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    bodies = [s3.get_object(Bucket="bkt", Key=key)["Body"].read() for key in ("signed", "parts")]
    assert bodies == [b"put by URL", b"a part by URL"]
