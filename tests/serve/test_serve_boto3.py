# SPDX-License-Identifier: Apache-2.0
"""headrace-serve against boto3: what another client of S3 makes of it, signatures checked."""

from __future__ import annotations

import base64
import concurrent.futures
import datetime
import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import tarfile
import urllib.error
import urllib.request

import pytest

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError  # noqa: E402

from headrace.serve import server_program  # noqa: E402

ODD_KEYS = [
    "a b",
    "a+b",
    "a%41b",
    "a?b",
    "a#b",
    "a&b=c",
    "a/b/c",
    "a-b",
    "a.b",
    "a0",
    "ü",
    "u\u0308",
    "emoji/\U0001f600",
    "x<y>\"'",
    "tab\there",
    "line\nfeed",
    "\x01ctl",
    "soap",
    "~tilde*(star)!",
    "back\\slash",
    "k" * 255 + "/" + "l" * 255 + "/" + "m" * 255 + "/" + "n" * 255,
]


def code_of(call, **arguments) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


@pytest.fixture
def s3(serve, client):
    server = serve()
    s3 = client(server)
    s3.create_bucket(Bucket="bkt")
    s3.root = server.root
    s3.server = server
    return s3


def test_odd_keys_survive_put_list_get_delete(s3):
    for key in ODD_KEYS:
        s3.put_object(Bucket="bkt", Key=key, Body=key.encode())
    expected = sorted(ODD_KEYS, key=lambda k: k.encode())
    for page_size in (1, 4, 1000):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bkt", PaginationConfig={"PageSize": page_size})
        assert [o["Key"] for page in pages for o in page.get("Contents", [])] == expected
    for key in ODD_KEYS:
        assert s3.get_object(Bucket="bkt", Key=key)["Body"].read() == key.encode()
        s3.delete_object(Bucket="bkt", Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket="bkt")


def test_list_by_prefix_delimiter_and_start_after(s3):
    for key in ("a/1", "a/2", "a-x", "b/c/1", "b/d", "e"):
        s3.put_object(Bucket="bkt", Key=key, Body=b"x")
    page = s3.list_objects_v2(Bucket="bkt", Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["a/", "b/"]
    assert [o["Key"] for o in page["Contents"]] == ["a-x", "e"]
    page = s3.list_objects_v2(Bucket="bkt", Prefix="b/", Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["b/c/"]
    page = s3.list_objects_v2(Bucket="bkt", StartAfter="a/1", MaxKeys=2)
    assert [o["Key"] for o in page["Contents"]] == ["a/2", "b/c/1"]
    assert page["IsTruncated"]
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bkt"]
    assert s3.get_bucket_location(Bucket="bkt")["LocationConstraint"] is None


def test_heads_gets_and_ranges(s3):
    data = os.urandom(1_000_000)
    (s3.root / "bkt" / "file").write_bytes(data)
    head = s3.head_object(Bucket="bkt", Key="file")
    listed = s3.list_objects_v2(Bucket="bkt")["Contents"][0]
    assert head["ContentLength"] == listed["Size"] == len(data)
    assert head["ETag"] == listed["ETag"]
    assert head["LastModified"] == listed["LastModified"].replace(microsecond=0)
    for text, want in {
        "bytes=0-0": data[:1],
        "bytes=17-460016": data[17:460017],
        "bytes=999990-": data[999990:],
        "bytes=-7": data[-7:],
        "bytes=999999-2000000": data[999999:],
    }.items():
        reply = s3.get_object(Bucket="bkt", Key="file", Range=text)
        assert reply["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert reply["Body"].read() == want
        assert reply["ETag"] == head["ETag"]
    assert s3.get_object(Bucket="bkt", Key="file")["Body"].read() == data
    assert code_of(s3.get_object, Bucket="bkt", Key="file", Range="bytes=1000000-") == "InvalidRange"
    assert code_of(s3.get_object, Bucket="bkt", Key="none") == "NoSuchKey"
    assert code_of(s3.get_object, Bucket="none", Key="none") == "NoSuchBucket"
    assert code_of(s3.head_object, Bucket="bkt", Key="none") == "404"
    assert code_of(s3.head_bucket, Bucket="none") == "404"


def test_conditionals(s3):
    tag = s3.put_object(Bucket="bkt", Key="k", Body=b"one")["ETag"]
    assert s3.get_object(Bucket="bkt", Key="k", IfMatch=tag)["Body"].read() == b"one"
    assert code_of(s3.get_object, Bucket="bkt", Key="k", IfNoneMatch=tag) == "304"
    long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    assert code_of(s3.get_object, Bucket="bkt", Key="k", IfUnmodifiedSince=long_ago) == "PreconditionFailed"
    assert s3.get_object(Bucket="bkt", Key="k", IfModifiedSince=long_ago)["Body"].read() == b"one"
    s3.put_object(Bucket="bkt", Key="k", Body=b"two")
    assert code_of(s3.get_object, Bucket="bkt", Key="k", IfMatch=tag) == "PreconditionFailed"


def test_of_ten_writers_of_a_new_key_one_wins(s3, client):
    def put(i: int) -> int | str:
        try:
            client(s3.server).put_object(Bucket="bkt", Key="deep/er/key", Body=str(i).encode(), IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"]
        return i

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        results = list(pool.map(put, range(10)))
    winners = [r for r in results if isinstance(r, int)]
    assert len(winners) == 1
    assert [r for r in results if r not in winners] == ["PreconditionFailed"] * 9
    assert s3.get_object(Bucket="bkt", Key="deep/er/key")["Body"].read() == str(winners[0]).encode()


def test_put_checks_what_it_is_told(s3):
    good = base64.b64encode(hashlib.md5(b"body").digest()).decode()
    s3.put_object(Bucket="bkt", Key="k", Body=b"body", ContentMD5=good)
    assert code_of(s3.put_object, Bucket="bkt", Key="l", Body=b"other", ContentMD5=good) == "BadDigest"
    assert code_of(s3.put_object, Bucket="bkt", Key="l", Body=b"body", ChecksumCRC32="AAAAAA==") == "BadDigest"
    assert code_of(s3.put_object, Bucket="bkt", Key="l", Body=b"body", ChecksumSHA256="A" * 43 + "=") == "BadDigest"
    assert code_of(s3.head_object, Bucket="bkt", Key="l") == "404"
    for algorithm in ("CRC32", "SHA256"):
        s3.put_object(Bucket="bkt", Key="l", Body=b"body", ChecksumAlgorithm=algorithm)
    s3.put_object(Bucket="bkt", Key="large", Body=io.BytesIO(b"x" * 5_000_000))
    assert (s3.root / "bkt" / "large").stat().st_size == 5_000_000
    s3.put_object(Bucket="bkt", Key="empty", Body=b"")
    assert s3.get_object(Bucket="bkt", Key="empty")["Body"].read() == b""


def test_who_may_not_come_in(s3, client):
    s3.put_object(Bucket="bkt", Key="k", Body=b"x")
    wrong = client(s3.server, secret="wrong")
    assert code_of(wrong.get_object, Bucket="bkt", Key="k") == "SignatureDoesNotMatch"
    assert code_of(wrong.list_objects_v2, Bucket="bkt", Prefix="a b+c/ü") == "SignatureDoesNotMatch"
    assert code_of(client(s3.server, access="nobody").get_object, Bucket="bkt", Key="k") == "InvalidAccessKeyId"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(s3.server.url + "/bkt/k")
    assert refused.value.code == 403
    assert b"AccessDenied" in refused.value.read()


@pytest.mark.parametrize(("minutes", "accepted"), [(14, True), (16, False), (-16, False)])
def test_clock_skew(s3, monkeypatch, minutes, accepted):
    import botocore.auth

    s3.put_object(Bucket="bkt", Key="k", Body=b"x")
    now = botocore.auth.get_current_datetime

    def shifted(*arguments, **options):
        return now(*arguments, **options) + datetime.timedelta(minutes=minutes)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", shifted)
    if accepted:
        assert s3.get_object(Bucket="bkt", Key="k")["Body"].read() == b"x"
    else:
        assert code_of(s3.get_object, Bucket="bkt", Key="k") == "RequestTimeTooSkewed"


def test_presigned_urls(s3, client):
    s3.put_object(Bucket="bkt", Key="a b", Body=b"x")
    v4 = client(s3.server, signature_version="s3v4")
    url = v4.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "a b"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == b"x"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url.replace("a%20b", "a%20c"))


def test_outside_the_folder_is_out_of_reach(s3):
    (s3.root.parent / "secret").write_text("s")
    (s3.root / "bkt" / "link").symlink_to(s3.root.parent / "secret")
    assert code_of(s3.get_object, Bucket="bkt", Key="link") == "AccessDenied"
    assert code_of(s3.get_object, Bucket="bkt", Key="../../secret") in ("NoSuchKey", "AccessDenied")
    assert code_of(s3.put_object, Bucket="bkt", Key="a//b", Body=b"") == "InvalidArgument"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bkt").get("Contents", [])] == []


def test_synthetic_shards_are_tars_and_any_two_readings_agree(serve, client):
    server = serve("--anonymous", "--synthetic", "syn=samples=120,bytes=20000,shard=1MB,classes=10")
    s3 = client(server)
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket="syn")["Contents"]]
    assert keys == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]
    sample = 0
    for key in keys:
        whole = s3.get_object(Bucket="syn", Key=key)["Body"].read()
        joined = b"".join(
            s3.get_object(Bucket="syn", Key=key, Range=f"bytes={at}-{at + 77_776}")["Body"].read()
            for at in range(0, len(whole), 77_777)
        )
        assert joined == whole
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            names = tar.getnames()
            for name in names[::2]:
                assert name == f"{sample:09d}.bin"
                payload = tar.extractfile(name).read()
                number, _crc, length = struct.unpack("<QII", payload[:16])
                assert (number, length) == (sample, len(payload) - 16)
                assert 0 <= int(tar.extractfile(f"{sample:09d}.cls").read()) < 10
                sample += 1
    assert sample == 120


def test_log_stats_and_faults_over_http(serve, client, tmp_path):
    log = tmp_path / "log.jsonl"
    server = serve("--anonymous", "--log", str(log), "--fault", "status,status=503,times=1")
    (server.root / "bkt").mkdir()
    (server.root / "bkt" / "k").write_bytes(b"0123456789")
    s3 = client(server)
    assert code_of(s3.get_object, Bucket="bkt", Key="k") == "SlowDown"
    assert s3.get_object(Bucket="bkt", Key="k", Range="bytes=2-4")["Body"].read() == b"234"
    stats = json.load(urllib.request.urlopen(server.url + "/-/stats"))
    assert stats["by_op"]["GetObject"] == 2
    assert stats["faults"] == 1
    rules = json.dumps({"rules": [{"kind": "truncate", "at": 3}]}).encode()
    urllib.request.urlopen(server.url + "/-/faults", data=rules)
    with pytest.raises(Exception, match=r"(?i)incomplete"):
        s3.get_object(Bucket="bkt", Key="k")["Body"].read()
    urllib.request.urlopen(urllib.request.Request(server.url + "/-/log", method="POST"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["status"], line["bytes"], line.get("fault")) for line in lines] == [
        (503, lines[0]["bytes"], "status"),
        (206, 3, None),
        (200, 3, "truncate"),
    ]
    assert lines[1]["range"] == "bytes=2-4"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(serve, ending):
    server = serve("--anonymous")
    server.process.send_signal(ending)
    assert server.process.wait(timeout=5) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--profile", "sunny"], "no such profile"),
        (["--fault", "explode"], "one of status"),
        (["--port", "70000"], "up to 65535"),
        (["--nonsense"], "no such option"),
        (["--sigma"], "wants a value"),
        (["--clock-offset", "soon"], "want seconds"),
        (["--clock-offset", "-99999999"], "up to a year"),
        ([], "nothing to serve"),
    ],
)
def test_wrong_options_are_named(options, words):
    done = subprocess.run([server_program(), *options], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert words in done.stderr
