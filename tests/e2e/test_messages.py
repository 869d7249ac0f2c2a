# SPDX-License-Identifier: Apache-2.0
"""What users read when something is wrong: each message names the object, the cause and what to do."""

import json
import re

import pytest
from small_data import sample_fields, write_tar

import headrace as hr
from headrace.serve import Server


def refused(kind, source, options, *parts, loader=None):
    with pytest.raises(kind) as caught:
        ds = hr.open(source, **options)
        if loader is not None:
            list(ds.loader(**loader))
    text = str(caught.value)
    print(text)  # shown by pytest -s, for the record
    for part in parts:
        assert part.lower() in text.lower(), (part, text)
    assert "headrace-secret" not in text
    return text


def test_missing_bucket(server):
    refused(FileNotFoundError, "s3://nowhere/a.tar", server.options, "nowhere", "bucket")


def test_missing_key(server):
    refused(FileNotFoundError, "s3://data/nothing.tar", server.options, "s3://data/nothing.tar")


def test_empty_prefix(server):
    refused(FileNotFoundError, "s3://empty/", server.options, "s3://empty")


def test_wrong_key(server):
    options = {**server.options, "aws_secret_access_key": "wrong-secret-value"}
    text = refused(PermissionError, "s3://data/train-0.tar", options, "SignatureDoesNotMatch")
    assert "wrong-secret-value" not in text


def test_unknown_access_key(server):
    options = {**server.options, "aws_access_key_id": "AKIDNOBODY"}
    refused(PermissionError, "s3://data/train-0.tar", options, "InvalidAccessKeyId")


def test_no_credentials(server):
    options = {"endpoint_url": server.endpoint_url, "region": "us-east-1"}
    refused(PermissionError, "s3://data/train-0.tar", options, "credentials", "anonymous")


def test_anonymous_is_refused_by_a_private_bucket(server):
    options = {"endpoint_url": server.endpoint_url, "region": "us-east-1", "anonymous": True}
    refused(PermissionError, "s3://data/train-0.tar", options, "AccessDenied")


def test_nobody_listens():
    options = {"endpoint_url": "http://127.0.0.1:9", "region": "us-east-1", "anonymous": True, "retry_seconds_max": 1}
    refused(ConnectionError, "s3://data/train-0.tar", options, "127.0.0.1:9", "connect")


def test_shard_changed_after_indexing(tmp_path):
    bucket = tmp_path / "data"
    bucket.mkdir()
    write_tar(bucket / "a.tar", 0, 50, sample_fields)
    with Server(tmp_path) as server:
        ds = hr.open("s3://data/a.tar", **server.options)
        write_tar(bucket / "a.tar", 50, 50, sample_fields)
        with pytest.raises(hr.MismatchError) as caught:
            list(ds.loader(batch_size=10))
        text = str(caught.value)
        print(text)
        assert "s3://data/a.tar" in text
        assert "changed" in text.lower() or "etag" in text.lower()


def test_index_of_another_data_set(tmp_path, buckets, server):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, first in ((here, 0), (there, 20)):
        folder.mkdir()
        write_tar(folder / f"{folder.name}.tar", first, 20 + first, sample_fields)
    hr.open(here / "here.tar", save=str(tmp_path / "here.hridx"))
    refused(
        hr.MismatchError, there / "there.tar", {"index": str(tmp_path / "here.hridx")},
        "another data set", "headrace index",
    )  # fmt: skip


def test_corrupt_index(tmp_path):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    path = tmp_path / "a.hridx"
    hr.open(tmp_path / "a.tar", save=str(path))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    refused(hr.CorruptError, tmp_path / "a.tar", {"index": str(path)}, "a.hridx")


def test_mixed_formats():
    refused(hr.OptionError, ["s3://data/a.tar", "s3://data/b.parquet"], {}, "several formats")


def test_unknown_format_is_said(tmp_path):
    (tmp_path / "b.xyz").write_bytes(b"x")
    (tmp_path / "b.lance").write_bytes(b"x")
    refused(hr.NotFoundError, tmp_path / "b.xyz", {}, "no shards", ".tar", ".parquet", "objects")
    refused(hr.UnsupportedError, tmp_path / "b.lance", {}, "docs/formats/lance.md")
    refused(hr.OptionError, tmp_path / "b.lance", {"format": "lance"}, "'lance'", "'webdataset'")


def test_field_missing_in_one_sample(tmp_path):
    def fields(i):
        return {"cls": b"1"} if i == 7 else {"cls": b"1", "bin": b"x" * 100}

    write_tar(tmp_path / "a.tar", 0, 20, fields)
    loader = {"batch_size": 10, "shuffle": False, "decode": {"bin": bytes}}
    refused(
        hr.Error, tmp_path / "a.tar", {}, "s/000007", '"bin"', "cls", "on_bad_sample", loader=loader
    )
    ds = hr.open(tmp_path / "a.tar")
    got = list(ds.loader(**loader, on_bad_sample="skip"))
    assert got[0].valid.tolist() == [True] * 7 + [False] + [True] * 2
    assert got[0].ids.tolist()[7] == 8, "the hole is filled by the next good row"
    assert [(row, key) for row, _, key, *_ in got[0].skipped] == [(7, "s/000007")]


def test_undecodable_image(tmp_path):
    def fields(i):
        content = sample_fields(i)["png"]
        return {"png": content[: len(content) // 2] if i == 3 else content}

    write_tar(tmp_path / "a.tar", 0, 10, fields)
    loader = {"batch_size": 5, "shuffle": False, "decode": {"png": hr.decode.image(size=8)}}
    refused(hr.CorruptError, tmp_path / "a.tar", {}, "s/000003", "png", "a.tar", loader=loader)


def test_batch_larger_than_the_data_set(dataset):
    with pytest.raises(hr.OptionError, match=r"601.*600|600.*601"):
        iter(dataset.loader(batch_size=601))


def test_memory_too_small_for_one_batch(dataset):
    with pytest.raises(hr.Error, match="memory") as caught:
        list(dataset.loader(batch_size=64, memory="64KiB"))
    print(caught.value)


def test_unknown_options_suggest_the_nearest(server):
    refused(hr.OptionError, "s3://data/a.tar", {"endpont_url": "x", "regoin": "y"},
            "did you mean 'endpoint_url'", "did you mean 'region'", "2 faults")  # fmt: skip


def test_a_state_of_another_data_set(tmp_path, dataset):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    state = hr.open(tmp_path / "a.tar").loader(batch_size=4).state_dict()
    with pytest.raises(hr.MismatchError, match="order_hash") as caught:
        dataset.loader(batch_size=4).load_state_dict(json.loads(json.dumps(state)))
    print(caught.value)


@pytest.mark.parametrize("wrong_by", [-7200, 7200])
def test_clock_skew_is_mended_and_said(buckets, caplog, wrong_by):
    """A machine whose clock is two hours wrong reads all the same, and its log says so."""
    with (
        Server(buckets, words=["--clock-offset", str(-wrong_by)]) as elsewhere,
        hr.open("s3://data/train-0.tar", **elsewhere.options) as ds,
    ):
        assert ds.raw(0)
    said = [r.getMessage() for r in caplog.records if "clock is off by" in r.getMessage()]
    assert len(said) == 1
    off_by = int(re.search(r"off by (-?\d+) s", said[0]).group(1))
    assert abs(off_by - wrong_by) <= 5
