# SPDX-License-Identifier: Apache-2.0
"""Manifests: written, opened, held against the store, and hostile ones."""

import json
import shutil
from pathlib import Path

import pytest
from small_data import write_tar

import headrace as hr
from headrace.manifest import manifest_of, parse_manifest
from headrace.serve import Server

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture
def world(tmp_path):
    root = tmp_path / "buckets"
    (root / "b" / "train").mkdir(parents=True)
    for shard in range(3):
        write_tar(root / "b" / "train" / f"t-{shard}.tar", shard * 5, 5, lambda i: {"txt": b"%d" % i})
    with Server(root) as server:
        yield server, root / "b", {**server.options, "index_dir": tmp_path / "index"}


def write(path, manifest):
    path.write_text(json.dumps(manifest))
    return path


def test_a_manifest_lists_what_lies_there_and_opens_it(world, tmp_path):
    _, folder, options = world
    with hr.open("s3://b/train", **options) as ds:
        manifest = manifest_of(ds)
        hashes = (ds.order_hash, ds.identity_hash)
    assert (manifest["url"], manifest["format"], manifest["samples"]) == ("s3://b/train/", "webdataset", 15)
    assert [s["bytes"] for s in manifest["shards"]] == [p.stat().st_size for p in sorted((folder / "train").iterdir())]
    write_tar(folder / "train" / "t-9.tar", 90, 2, lambda i: {"txt": b"later"})  # not of the manifest
    with hr.open(write(tmp_path / "manifest.json", manifest), **options) as ds:
        assert (len(ds), ds.order_hash, ds.identity_hash) == (15, *hashes)
    write(folder / "my.manifest.json", manifest)
    with hr.open("s3://b/my.manifest.json", **options) as ds:
        assert len(ds) == 15
    copy = tmp_path / "copy"
    shutil.copytree(folder / "train", copy)
    del manifest["url"]
    for shard in manifest["shards"]:
        del shard["etag"]
    with hr.open(copy, manifest=write(tmp_path / "m.json", manifest), index_dir=tmp_path / "index") as ds:
        assert (len(ds), ds.url) == (15, f"file://{copy}/")
    write(folder / "train" / "manifest.json", manifest)  # without "url": its own folder
    with hr.open("s3://b/train/manifest.json", **options) as ds:
        assert ds.url == "s3://b/train/"


def test_a_shard_that_differs_is_named_before_anything_is_read(world, tmp_path):
    server, folder, options = world
    with hr.open("s3://b/train", **options) as ds:
        path = write(tmp_path / "manifest.json", manifest_of(ds))
    write_tar(folder / "train" / "t-1.tar", 50, 5, lambda i: {"txt": b"other"})
    server.stats(reset=True)
    with pytest.raises(hr.MismatchError, match=r"s3://b/train/t-1\.tar: ETag: the manifest says .* store says") as e:
        hr.open(path, **options)
    assert "headrace manifest" in str(e.value)
    write_tar(folder / "train" / "t-1.tar", 50, 25, lambda i: {"txt": b"other"})
    with pytest.raises(hr.MismatchError, match=r"t-1\.tar: bytes: the manifest says 10240"):
        hr.open(path, **options)
    (folder / "train" / "t-1.tar").unlink()
    with pytest.raises(hr.NotFoundError, match=r"train/t-1\.tar: no such object"):
        hr.open(path, **options)
    assert "GetObject" not in {k for k, n in server.stats()["by_op"].items() if n}


def test_counts_are_held_against_the_index(world, tmp_path):
    _, _, options = world
    with hr.open("s3://b/train", **options) as ds:
        manifest = manifest_of(ds)
    manifest["shards"][2]["samples"], manifest["samples"] = 6, 16
    with pytest.raises(hr.MismatchError, match=r"t-2\.tar: samples: the manifest says 6, the index 5"):
        hr.open(write(tmp_path / "manifest.json", manifest), **options)


def test_formats_of_an_index_json_are_held_to_their_manifest(tmp_path):
    folder = tmp_path / "mds"
    shutil.copytree(FIXTURES / "mds-medium", folder)
    data = next(folder.rglob("index.json")).parent
    with hr.open(data, index_dir=tmp_path / "index") as ds:
        manifest, count = manifest_of(ds), len(ds)
    path = write(tmp_path / "manifest.json", manifest)
    with hr.open(path, index_dir=tmp_path / "index") as ds:
        assert (len(ds), ds.format) == (count, "mds")
    manifest["shards"].pop()
    del manifest["samples"], manifest["bytes"]
    with pytest.raises(hr.MismatchError, match="number of shards: the manifest says"):
        hr.open(write(path, manifest), index_dir=tmp_path / "index")


def test_the_command_writes_a_manifest_without_reading_data(world, tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from headrace.cli.app import app

    server, _, _ = world
    words = ["manifest", "s3://b/train", "--endpoint-url", server.endpoint_url]
    environment = {**server.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    server.stats(reset=True)
    found = json.loads(CliRunner().invoke(app, words, env=environment).stdout)
    assert found["samples"] is None
    assert "samples" not in found["shards"][0]
    assert not server.stats()["by_op"].get("GetObject")
    hr.open("s3://b/train", **server.options, index_dir=tmp_path / "cache/headrace/index").close()
    found = json.loads(CliRunner().invoke(app, words, env=environment).stdout)
    assert (found["samples"], [s["samples"] for s in found["shards"]]) == (15, [5, 5, 5])


GOOD = {"headrace_manifest": 1, "format": "webdataset", "shards": [{"key": "a.tar", "bytes": 1024}]}


def with_shard(**changes):
    return {**GOOD, "shards": [{**GOOD["shards"][0], **changes}]}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no manifest"),
        ("[" * 100_000, "no manifest"),
        ('{"a": 1}', "headrace_manifest"),
        ('{"headrace_manifest": 1, "headrace_manifest": 1}', "twice in one object"),
        ('{"headrace_manifest": NaN}', "NaN is no JSON"),
        ({**GOOD, "headrace_manifest": 2}, "version 2"),
        ({**GOOD, "more": 1}, "unknown names"),
        ({**GOOD, "format": "pickle"}, "not one of"),
        ({**GOOD, "url": "s3://b/x"}, "no folder"),
        ({**GOOD, "url": "https://h/x/?sig=1/"}, "no folder"),
        ({**GOOD, "shards": []}, "no list"),
        ({**GOOD, "shards": {"a": 1}}, "no list"),
        ({**GOOD, "shards": [1]}, "shard 0 is not an object"),
        ({**GOOD, "bytes": 1}, "the shards have 1024"),
        ({**GOOD, "shards": GOOD["shards"] * 2}, "twice"),
        (with_shard(more=1), "shard 0 is not an object"),
        (with_shard(key=""), '"key"'),
        (with_shard(key="x" * 1025), '"key"'),
        (with_shard(key="/etc/passwd"), "leaves the folder"),
        (with_shard(key="a/../../b.tar"), "leaves the folder"),
        (with_shard(key="a//b.tar"), "leaves the folder"),
        (with_shard(key="a\0.tar"), "leaves the folder"),
        (with_shard(bytes=0), '"bytes" is 0'),
        (with_shard(bytes=1.5), '"bytes" is 1.5'),
        (with_shard(bytes=True), '"bytes" is True'),
        (with_shard(bytes=1 << 60), '"bytes"'),
        (with_shard(etag=5), '"etag"'),
        (with_shard(samples=-1), '"samples" is -1'),
        ({**with_shard(samples=2), "samples": 3}, "the shards have 2"),
    ],
)
def test_hostile_manifests_are_refused_with_the_cause(text, cause):
    content = text if isinstance(text, str) else json.dumps(text)
    with pytest.raises(hr.CorruptError) as fault:
        parse_manifest(content.encode())
    assert cause in str(fault.value)
    assert len(str(fault.value)) < 300


def test_a_manifest_in_a_store_does_not_point_at_files_of_this_machine(world, tmp_path):
    _, folder, options = world
    write(folder / "evil.manifest.json", {**GOOD, "url": "file:///etc/"})
    with pytest.raises(hr.CorruptError, match="files of this machine"):
        hr.open("s3://b/evil.manifest.json", **options)
