# SPDX-License-Identifier: Apache-2.0
"""webdataset's order of an epoch, through its own shard list, splitters and shuffle filters.

Only the bytes are left out: a stage of three lines stands where tars are opened and parsed. The
DataLoader is stood in for by what it does, one batch from each worker in turn; `--check` runs the
whole of webdataset over real tars with real worker processes and compares.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import webdataset as wds
from peer import Spec, main


def worker_stream(spec: Spec, rank: int, worker: int) -> Iterator[int]:
    """Sample numbers as this worker's pipeline gives them, before it makes batches."""
    first = np.concatenate([[0], np.cumsum(spec.shards)])
    urls = [f"{i}" for i in range(len(spec.shards))]

    def split(source):  # shardlists.split_by_node, then split_by_worker
        for index, shard in enumerate(source):
            if index % spec.ranks == rank and index // spec.ranks % spec.workers == worker:
                yield shard

    def samples(source):
        for shard in source:
            s = int(shard["url"])
            yield from range(first[s], first[s + 1])

    seed = spec.seed * 1000 + spec.same_seed(rank * spec.workers + worker)
    return iter(
        wds.DataPipeline(
            wds.SimpleShardList(urls),
            split,
            wds.shuffle(spec.options["shardshuffle"], rng=random.Random(seed)),
            samples,
            wds.shuffle(spec.options["buffer"], rng=random.Random(seed + 500)),
        )
    )


def batches_of(source: Iterator[int], batch: int) -> Iterator[list[int]]:
    make = wds.batched(batch, collation_fn=None, partial=False)
    return iter(wds.DataPipeline(lambda: source, make))


def rank_batches(spec: Spec, rank: int) -> Iterator[list[int]]:
    waiting = [
        batches_of(worker_stream(spec, rank, worker), spec.batch) for worker in range(spec.workers)
    ]

    def in_turn() -> Iterator[list[int]]:
        while waiting:
            for source in list(waiting):
                made = next(source, None)
                if made is None:
                    waiting.remove(source)
                else:
                    yield made

    remix = spec.options.get("remix", 0)
    if not remix:
        return in_turn()
    # the idiom of its README: loader.unbatched().shuffle(n).batched(b), between the workers
    mixed = wds.DataPipeline(
        lambda: (sample for made in in_turn() for sample in made),
        wds.shuffle(remix, rng=random.Random(spec.seed * 1000 + 900 + rank)),
    )
    return batches_of(iter(mixed), spec.batch)


def order(spec: Spec) -> np.ndarray:
    ranks = [
        np.array(list(rank_batches(spec, rank)), np.int32).reshape(-1, spec.batch)
        for rank in range(spec.ranks)
    ]
    steps = min(len(batches) for batches in ranks)
    return np.stack([batches[:steps] for batches in ranks], axis=1)


def real(spec: Spec, folder: str) -> np.ndarray:
    """The same by webdataset's DataLoader, worker processes and tar reader; one rank."""
    number = 0
    for shard, count in enumerate(spec.shards):
        with wds.TarWriter(f"{folder}/{shard:06d}.tar") as tar:
            for _ in range(count):
                tar.write({"__key__": f"{number:09d}", "id": str(number).encode()})
                number += 1
    urls = [f"{folder}/{shard:06d}.tar" for shard in range(len(spec.shards))]
    seed = spec.seed * 1000
    data = (
        wds.WebDataset(urls, shardshuffle=spec.options["shardshuffle"], seed=seed)
        .shuffle(spec.options["buffer"], seed=seed + 500)
        .map(lambda sample: int(sample["id"]))
        .batched(spec.batch, collation_fn=None, partial=False)
    )
    loader = wds.WebLoader(data, batch_size=None, num_workers=spec.workers)
    return np.array(list(loader), np.int32)[:, None, :]


if __name__ == "__main__":
    main("webdataset", order, real)
