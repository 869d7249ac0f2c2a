# SPDX-License-Identifier: Apache-2.0
"""The disk cache (docs/cache.md) end to end: what is read once is not asked of the store again."""

import stat
from pathlib import Path

import pytest
from small_data import SAMPLES

import headrace as hr

BLOCK_BYTES = 512 << 10  # docs/cache.md
HEADER_BYTES = 4096


@pytest.fixture
def shards(buckets):
    return [path.stat().st_size for path in sorted(Path(buckets, "data").glob("train-*.tar"))]


@pytest.fixture
def cached(server, url, dataset, tmp_path):
    """Opens the data set, whose index exists, over a cache of its own; nothing is counted before."""

    def opened(**options):
        data = hr.open(url, cache_dir=tmp_path / "disk", **server.options, **options)
        server.stats(reset=True)
        return data

    return opened


def one_epoch(dataset, shards, **options):
    """The loader after an epoch; its memory is too small to keep the data in it."""
    options = {"batch_size": 8, "seed": 1, "block": 8, "lanes": 16, **options}
    loader = dataset.loader(memory=int(1.5 * sum(shards)), **options)
    ids = sorted(int(i) for batch in loader for i in batch.ids[batch.valid])
    assert ids == list(range(SAMPLES))
    return loader


def gets(server):
    return server.stats()["by_op"].get("GetObject", 0)


def blocks(sizes):
    return sum(-(-size // BLOCK_BYTES) for size in sizes)


def block_files(folder):
    return [path for path in Path(folder, "disk").rglob("blocks/*/*") if path.is_file()]


def test_the_second_epoch_sends_no_request(server, cached, shards):
    with cached() as data:
        loader = one_epoch(data, shards)
        first = server.stats(reset=True)
        assert sum(shards) <= first["body_bytes"] < sum(shards) + 2_000  # and the counters' own reply
        one_epoch(data, shards, seed=2)
        assert gets(server) == 0
        assert loader.stats()["bytes_received"] == sum(shards)


def test_the_next_process_finds_what_is_there(server, cached, shards, tmp_path):
    with cached() as data:
        one_epoch(data, shards)
    files = block_files(tmp_path)
    assert len(files) == blocks(shards)
    assert sum(f.stat().st_size for f in files) == sum(shards) + HEADER_BYTES * blocks(shards)
    with cached() as data:
        stats = one_epoch(data, shards).stats()
        assert gets(server) == 0
    assert stats["bytes_received"] == 0
    assert stats["cache_hit_share"] == 1.0
    assert "100.0% of the bytes from the disk cache" in str(stats)


def test_a_limit_holds_and_is_used(server, cached, shards, tmp_path):
    limit = sum(shards) // 2
    with cached(cache_bytes=limit) as data:
        for _ in range(3):
            one_epoch(data, shards)
            used = sum(f.stat().st_size for f in block_files(tmp_path))
            assert limit - BLOCK_BYTES - HEADER_BYTES < used <= limit
        server.stats(reset=True)
        one_epoch(data, shards)
        assert server.stats()["body_bytes"] < 0.75 * sum(shards)


def test_only_this_user_may_enter(cached, shards, tmp_path):
    with cached() as data:
        one_epoch(data, shards)
    root = tmp_path / "disk" / "headrace-cache-v1"
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    other = tmp_path / "other" / "headrace-cache-v1"
    other.mkdir(parents=True, mode=0o755)
    with pytest.raises(PermissionError, match="nobody else can enter"):
        hr.open("file:///nowhere", cache_dir=other.parent)


def test_damage_on_disk_costs_a_request_and_no_sample(server, cached, shards, tmp_path):
    with cached() as data:
        one_epoch(data, shards)
    files = sorted(block_files(tmp_path))
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    files[1].write_bytes(files[1].read_bytes()[:-1])
    with cached() as data:
        stats = one_epoch(data, shards).stats()
        assert stats["cache_corrupt"] == 2
        assert "2 corrupt" in str(stats)
    assert gets(server) <= 2
    assert 0 < server.stats()["body_bytes"] < 2 * BLOCK_BYTES + 4_000
    with cached() as data:
        one_epoch(data, shards)
        assert gets(server) == 0


def test_options_are_checked(url, tmp_path):
    with pytest.raises(hr.OptionError, match=r"cache_bytes=.*needs cache_dir="):
        hr.open(url, cache_bytes="1GB")
    with pytest.raises(hr.OptionError, match="cache_bytes"):
        hr.open(url, cache_dir=tmp_path, cache_bytes="much")
