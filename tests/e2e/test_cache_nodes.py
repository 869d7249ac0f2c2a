# SPDX-License-Identifier: Apache-2.0
"""Nodes that share a data set, each with a disk cache smaller than what it reads in an epoch.

Counted at the server: what a node is not spared by its disk it asks for, and a shard is one block.
"""

import random

import pytest
from small_data import write_tar

import headrace as hr
from headrace.serve import Server

NODES, SHARDS, EPOCHS = 8, 128, 12
SHARE = SHARDS // NODES
BLOCK_BYTES = 512 << 10  # docs/cache.md


@pytest.fixture(scope="module")
def node_server(tmp_path_factory):
    """128 shards of one sample, each just inside one block of the cache."""
    root = tmp_path_factory.mktemp("nodes")
    (root / "data").mkdir()
    for shard in range(SHARDS):
        content = random.Random(shard).randbytes(500_000)
        write_tar(root / f"data/{shard:03}.tar", shard, 1, lambda _, c=content: {"bin": c})
    with Server(root) as running:
        yield running


def test_what_the_next_epochs_need_stays_on_each_node(node_server, tmp_path):
    """Room for one share of eight: 41 % by Belady with 4 epochs ahead, 13 % pinned (docs/cache.md)."""
    ranks = (0, 5)
    loaders = []
    for rank in ranks:
        data = hr.open(
            "s3://data/{000..127}.tar",
            cache_dir=tmp_path / str(rank),
            cache_bytes=SHARE * (BLOCK_BYTES + 4096),
            **node_server.options,
        )
        options = {"rank": rank, "world_size": NODES, "memory": "40MB", "seed": 3}
        loaders.append(data.loader(batch_size=4, block=1, lanes=2, **options))
    asked = []
    for _ in range(EPOCHS):
        node_server.stats(reset=True)
        rows = sum(int(batch.valid.sum()) for loader in loaders for batch in loader)
        assert rows == SHARE * len(ranks)
        asked.append(node_server.stats()["by_op"].get("GetObject", 0))
    late = asked[4:]
    hits = 1 - sum(late) / (len(late) * SHARE * len(ranks))
    assert 0.30 < hits < 0.52, asked
