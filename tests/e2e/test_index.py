# SPDX-License-Identifier: Apache-2.0
"""The making of an index: what it reads when it was cut off, when shards changed, from headers
alone and on a cluster. Requests are counted by the server."""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from small_data import write_tar

import headrace as hr
from headrace.indexing import IndexJob, parts_from_ray
from headrace.serve import Server

TREE = Path(__file__).resolve().parents[2]
EACH, SHARDS = 40, 8


def fields(i):
    return {"bin": random.Random(i).randbytes(20_000), "cls": str(i % 7).encode()}


def write_shard(folder, shard, first, count=EACH):
    write_tar(folder / f"t-{shard:02}.tar", first, count, fields)


@pytest.fixture
def world(tmp_path):
    folder = tmp_path / "buckets" / "b"
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        write_shard(folder, shard, shard * EACH)
    with Server(tmp_path / "buckets") as server:
        yield server, folder, {**server.options, "index_dir": tmp_path / "index"}


def gets(server):
    return server.stats()["by_op"].get("GetObject", 0)


def fresh_name(server, tmp_path, **options):
    """The name of an index that is built from nothing: a hash of all it says."""
    with hr.open("s3://b", **server.options, index_dir=tmp_path / "fresh", rebuild=True, **options) as ds:
        return ds.index_name


def test_only_the_shard_that_was_replaced_is_read(world, tmp_path):
    server, folder, options = world
    hr.open("s3://b", **options).close()
    write_shard(folder, 3, 5000)  # the same size: only the ETag tells
    job = IndexJob("s3://b", **options, refresh=True)
    assert (job.to_read(), job.cost().shards_in_earlier) == ([3], SHARDS - 1)
    server.stats(reset=True)
    with hr.open("s3://b", **options) as ds:
        assert gets(server) == 1
        assert len(ds) == SHARDS * EACH
        assert ds.key(3 * EACH) == "s/005000"
        name = ds.index_name
    assert name == fresh_name(server, tmp_path)


def test_shards_that_come_and_go_cost_what_they_hold(world, tmp_path):
    server, folder, options = world
    hr.open("s3://b", **options).close()
    (folder / "t-02.tar").unlink()
    write_shard(folder, 9, 9000, count=7)
    server.stats(reset=True)
    with hr.open("s3://b", **options) as ds:
        assert gets(server) == 1
        assert len(ds) == (SHARDS - 1) * EACH + 7
        assert ds[len(ds) - 1]["__key__"] == "s/009006"
        name = ds.index_name
    assert name == fresh_name(server, tmp_path)


def test_an_index_beside_the_shards_is_brought_up_to_date_when_asked(world, tmp_path):
    server, folder, options = world
    options.pop("index_dir")
    hr.open("s3://b", **options, save="beside", index_dir=tmp_path / "one").close()
    write_shard(folder, 1, 7000)
    with pytest.raises(hr.MismatchError, match=r"t-01\.tar"):
        hr.open("s3://b", **options, index_dir=tmp_path / "two")
    server.stats(reset=True)
    with hr.open("s3://b", **options, save="beside", index_dir=tmp_path / "two", refresh=True) as ds:
        assert gets(server) == 3  # the index beside, looked at and then read for its shards; the shard
        assert ds.key(EACH) == "s/007000"


def test_samples_without_a_field_are_counted_by_shard_from_kept_parts(world, tmp_path):
    server, folder, options = world
    with tarfile.open(folder / "t-05.tar", "w"):
        pass
    write_tar(folder / "t-05.tar", 600, 10, lambda i: {"bin": b"x" * 100})  # no cls
    hr.open("s3://b", **options).close()
    assert len(list((tmp_path / "index").glob("*/parts/*.part"))) == SHARDS
    write_shard(folder, 5, 700)
    server.stats(reset=True)
    with hr.open("s3://b", **options) as ds:
        assert gets(server) == 1
        assert dict(ds.core.fields()) == {"bin": SHARDS * EACH, "cls": SHARDS * EACH}
    assert not list((tmp_path / "index").glob("*/parts/*.part"))


def test_a_rebuild_reads_all_whatever_was_kept(world, tmp_path):
    server, folder, options = world
    write_tar(folder / "t-05.tar", 600, 10, lambda i: {"bin": b"x" * 100})  # no cls: parts stay
    hr.open("s3://b", **options).close()
    assert IndexJob("s3://b", **options, rebuild=True).cost().shards_to_read == SHARDS
    server.stats(reset=True)
    hr.open("s3://b", **options, rebuild=True).close()
    assert gets(server) == SHARDS


def test_what_was_finished_before_sigkill_is_not_read_again(world, tmp_path):
    server, folder, options = world
    code = (
        "import sys, headrace as hr; "
        "hr.open('s3://b', endpoint_url=sys.argv[1], index_dir=sys.argv[2], progress=print, "
        "read_timeout=60)"
    )
    with Server(folder.parent, words=["--fault", "stall,key=b/t-07.tar,op=GetObject"]) as stuck:
        environment = {**os.environ, **stuck.environment}
        child = subprocess.Popen(
            [sys.executable, "-c", code, stuck.endpoint_url, str(tmp_path / "index")], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 30
        while len(list((tmp_path / "index").glob("*/parts/*.part"))) < SHARDS - 1:
            assert time.monotonic() < until
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
    job = IndexJob("s3://b", **options, refresh=True)
    assert (job.to_read(), job.cost().shards_in_parts) == ([7], SHARDS - 1)
    server.stats(reset=True)
    with hr.open("s3://b", **options) as ds:
        assert gets(server) == 1
        assert ds.index_name == fresh_name(server, tmp_path)


def test_headers_alone_find_the_same_samples_without_checksums(tmp_path):
    folder = tmp_path / "buckets" / "b"
    folder.mkdir(parents=True)
    write_tar(folder / "big.tar", 0, 4, lambda i: {"bin": bytes([i]) * 9_000_000})
    with Server(tmp_path / "buckets") as server:
        full = hr.open("s3://b", **server.options, index_dir=tmp_path / "full")
        server.stats(reset=True)
        hopped = hr.open("s3://b", **server.options, index_dir=tmp_path / "hop", checksums="none")
        read = server.stats()["body_bytes"]
        assert read < 4_000_000  # of 36 MB
        assert [hopped.extent(i) for i in range(4)] == [full.extent(i) for i in range(4)]
        assert (full.core.has_checksums, hopped.core.has_checksums) == (True, False)
        again = hr.open("s3://b", **server.options, index_dir=tmp_path / "hop", checksums="full")
        assert again.core.has_checksums
        with pytest.raises(hr.OptionError, match="checksums"):
            hr.open("s3://b", **server.options, checksums="some")


def test_headers_alone_are_refused_where_all_bytes_are_needed(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(hr.UnsupportedError, match="all bytes are needed"):
        hr.open(tmp_path, index_dir=tmp_path / "index", checksums="none")


def test_one_big_shard_is_read_over_several_connections(tmp_path):
    folder = tmp_path / "buckets" / "b"
    folder.mkdir(parents=True)
    write_tar(folder / "big.tar", 0, 60, lambda i: {"bin": bytes([i]) * 1_000_000})
    with Server(tmp_path / "buckets", profile="s3") as server:
        with hr.open("s3://b", **server.options, index_dir=tmp_path / "index") as ds:
            assert len(ds) == 60
        stats = server.stats()
        assert stats["by_op"]["GetObject"] >= 15  # of 4 MiB
        assert stats["in_flight_max"] >= 4


def test_parts_made_elsewhere_are_the_build(world, tmp_path):
    server, _, options = world
    job = IndexJob("s3://b", **options, refresh=True)
    other = IndexJob("s3://b", **server.options, index_dir=tmp_path / "other")
    for numbers in ([0, 5], [1, 2, 3, 4, 6, 7]):
        job.keep(numbers, other._core.parts_of(numbers))
    server.stats(reset=True)
    with hr.open("s3://b", **options) as ds:
        assert gets(server) == 0
        assert ds.index_name == fresh_name(server, tmp_path)


def test_a_part_of_another_state_or_damaged_is_refused(world, tmp_path):
    _, _, options = world
    job = IndexJob("s3://b", **options)
    [(name, content)] = job._core.parts_of([2])
    with pytest.raises(hr.MismatchError, match="another state"):
        job._core.keep(3, name, content)
    flipped = bytes([*content[:200], content[200] ^ 1, *content[201:]])
    with pytest.raises(hr.CorruptError):
        job._core.keep(2, name, flipped)
    with pytest.raises(hr.OptionError, match="there are 8"):
        job._core.parts_of([8])


def test_the_cost_is_arithmetic_over_the_listing(world):
    server, folder, options = world
    server.stats(reset=True)
    cost = IndexJob("s3://b", **options, refresh=True).cost()
    assert gets(server) == 0
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.tar"))]
    assert (cost.shards, cost.bytes, cost.bytes_to_read) == (SHARDS, sum(sizes), sum(sizes))
    assert cost.requests == 2 * SHARDS  # each below 4 MiB: a GET, and a HEAD for its checksum
    assert cost.usd is None  # nobody knows what this server asks for


def test_the_command_says_the_cost_first_and_stops_when_told(world, tmp_path):
    server, _, _ = world
    pytest.importorskip("typer")

    def run(*words):
        environment = {**os.environ, **server.environment, "COLUMNS": "200"}
        words = [sys.executable, "-m", "headrace", *words]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done

    server.stats(reset=True)
    said = json.loads(run("index", "s3://b", "--dry-run", "--json", "--price", "get=0.4").stdout)
    assert gets(server) == 0
    # 16 requests, and 6 LISTs at 12.5 times a GET's price.
    assert said["usd"] == pytest.approx((16 + 6 * 12.5) / 1000 * 0.4)
    done = run("index", "s3://b", "--json")
    assert "reads 8 shards" in done.stderr
    assert json.loads(done.stdout)["samples"] == SHARDS * EACH
    assert "reads" not in run("index", "s3://b").stderr.split("samples")[0]  # it is there


@pytest.mark.slow
def test_a_ray_cluster_of_one_node_finds_the_same(world, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    server, _, options = world
    for name, value in {**server.environment, "PYTHONPATH": str(TREE / "python")}.items():
        monkeypatch.setenv(name, value)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        job = IndexJob("s3://b", index_dir=options["index_dir"])
        seen = []
        assert parts_from_ray(job, "auto", progress=lambda *step: seen.append(step)) == SHARDS
        assert seen[-1][1] == seen[-1][2] > 0
        assert job.to_read() == []
    finally:
        ray.shutdown()
    with hr.open("s3://b", **options) as ds:
        assert ds.index_name == fresh_name(server, tmp_path)


def test_secrets_do_not_go_to_a_cluster(world, monkeypatch):
    _, _, options = world
    monkeypatch.setitem(sys.modules, "ray", object())
    with pytest.raises(hr.OptionError, match="aws_secret_access_key"):
        parts_from_ray(IndexJob("s3://b", **options), "local")
