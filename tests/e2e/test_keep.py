# SPDX-License-Identifier: Apache-2.0
"""A data set that fits in half of the memory is read from the store once, however often it is used."""

from pathlib import Path

import pytest
from small_data import SAMPLES

import headrace as hr

RANGE_BYTES = 4 << 20  # of one load, src/cache/keep_store.h


@pytest.fixture
def shards(buckets):
    return [path.stat().st_size for path in sorted(Path(buckets, "data").glob("train-*.tar"))]


@pytest.fixture
def indexed(server, url, dataset):
    """The data set, whose index exists, and a server that has counted nothing yet."""
    server.stats(reset=True)
    return dataset


def ranges(sizes):
    return sum(-(-size // RANGE_BYTES) for size in sizes)


def ids(batches):
    return sorted(int(i) for batch in batches for i in batch.ids[batch.valid])


def test_epochs_and_validation_passes_ask_for_each_byte_once(server, indexed, shards):
    loader = indexed.loader(batch_size=50, seed=1)
    for _ in range(3):
        assert ids(loader) == list(range(SAMPLES))
    validation = indexed.loader(batch_size=50, shuffle=False, remainder="short")
    for _ in range(3):
        assert ids(validation) == list(range(SAMPLES))
    done = server.stats()
    assert done["requests"] <= ranges(shards) + 4
    assert done["body_bytes"] <= 1.02 * sum(shards)
    stats = loader.stats()
    assert stats["bytes_received"] == sum(shards)  # once in three epochs
    assert validation.stats()["bytes_received"] == 0


def test_a_stated_memory_keeps_it_too(server, indexed, shards):
    loader = indexed.loader(batch_size=50, seed=1, memory="16MiB")
    for _ in range(3):
        assert len(ids(loader)) == SAMPLES
    assert server.stats()["body_bytes"] <= 1.02 * sum(shards)


def test_a_larger_one_is_read_each_epoch(server, indexed, shards):
    memory = int(1.5 * sum(shards))
    loader = indexed.loader(batch_size=8, seed=1, block=8, lanes=16, memory=memory)
    for _ in range(2):
        assert len(ids(loader)) == SAMPLES
    assert server.stats()["body_bytes"] > 1.9 * sum(shards)


def test_the_memory_comes_back_when_the_data_set_closes(server, url, shards):
    def kept(dataset):
        loader = dataset.loader(batch_size=50, seed=1)
        assert len(ids(loader)) == SAMPLES
        loader.close()
        return loader.stats()["memory_used"]  # of the process: none was stated

    with hr.open(url, **server.options) as first:
        alone = kept(first)
        assert sum(shards) <= alone <= 1.3 * sum(shards)
        with hr.open(url, **server.options) as second:
            assert kept(second) == 2 * alone
        assert kept(first) == alone
    with hr.open(url, **server.options) as third:
        assert kept(third) == alone
