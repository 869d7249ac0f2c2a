# SPDX-License-Identifier: Apache-2.0
"""The orders under study, as sample numbers: headrace's from ``hr.Order``, webdataset's from
webdataset itself, which reads real tar shards of (key, nothing) and is asked for the keys.

An epoch is an array [steps, ranks, batch / ranks]. headrace gives row i of a batch to rank i mod R.
webdataset splits the shards over the ranks (``split_by_node``), and each rank shuffles its own
shards and has its own buffer: its ranks share the memory.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
from plan import Part

import headrace as hr


def write_key_shards(part: Part, folder: Path) -> list[str]:
    """Tars whose samples hold only their number: the order is all that is asked of webdataset."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, number = [], 0
    for shard, count in enumerate(part.counts):
        path = folder / f"{shard:05d}.tar"
        paths.append(str(path))
        if not path.exists():
            written = path.with_suffix(f".{os.getpid()}")
            with tarfile.open(written, "w", format=tarfile.USTAR_FORMAT) as tar:
                for i in range(number, number + count):
                    info = tarfile.TarInfo(f"{i:09d}.n")
                    info.size = 1
                    tar.addfile(info, io.BytesIO(b"0"))
            written.replace(path)
        number += count
    return paths


def webdataset_keys(paths: list[str], buffer: int, seed: int, rank: int, ranks: int) -> np.ndarray:
    """One rank's epoch through webdataset: all of its shards shuffled, then a sample buffer."""
    import webdataset as wds

    before = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks))  # where webdataset looks first
    try:
        stream = wds.WebDataset(
            paths, shardshuffle=len(paths), seed=seed, nodesplitter=wds.split_by_node
        ).shuffle(buffer, seed=seed + 1)
        return np.array([int(sample["__key__"]) for sample in stream])
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def webdataset_epoch(part: Part, paths: list[str], seed: int, epoch: int) -> np.ndarray:
    ranks = [
        webdataset_keys(
            paths, part.buffer // part.ranks, 1_000_003 * seed + 1_009 * epoch, rank, part.ranks
        )
        for rank in range(part.ranks)
    ]
    rows = part.batch // part.ranks
    return np.stack([keys.reshape(-1, rows) for keys in ranks], axis=1)


def headrace_epoch(part: Part, shuffle: str, seed: int, epoch: int) -> np.ndarray:
    order = hr.Order(
        part.counts, seed=seed, epoch=epoch, block=part.block, lanes=part.lanes, shuffle=shuffle
    )
    numbers = order.at_many(np.arange(len(order)))
    return numbers.reshape(-1, part.batch // part.ranks, part.ranks).transpose(0, 2, 1)


def epoch_of(part: Part, order: str, seed: int, epoch: int, folder: Path) -> np.ndarray:
    """Sample numbers [steps, ranks, rows]; every sample of the data set once."""
    if order == "webdataset":
        shards = folder / f"keys-{part.samples}x{part.samples_per_shard}"
        found = webdataset_epoch(part, write_key_shards(part, shards), seed, epoch)
    else:
        found = headrace_epoch(part, order, seed, epoch)
    if not np.array_equal(np.sort(found, axis=None), np.arange(part.samples)):
        raise ValueError(f"order {order}, seed {seed}, epoch {epoch}: not every sample once")
    return found
