# SPDX-License-Identifier: Apache-2.0
"""litdata's order of an epoch, through its own FullShuffle (assignment and order inside a chunk).

Its cache is stood in for by the list of chunks that FullShuffle reads; `--check` runs litdata's
StreamingDataLoader over real chunks with real worker processes and compares.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterator

import numpy as np
from litdata import StreamingDataLoader, StreamingDataset, optimize
from litdata.streaming.item_loader import Interval
from litdata.streaming.shuffle import FullShuffle
from litdata.utilities.env import _DistributedEnv
from peer import Spec, main


def stand_in(shards: list[int]) -> types.SimpleNamespace:
    ends = np.cumsum(shards)
    intervals = [
        Interval(int(e - n), int(e - n), int(e), int(e)) for n, e in zip(shards, ends, strict=True)
    ]
    config = types.SimpleNamespace(_chunks=[{"chunk_bytes": 64 << 20}] * len(shards))
    reader = types.SimpleNamespace(_config=config, _max_cache_size=0)
    return types.SimpleNamespace(get_chunk_intervals=lambda: intervals, _reader=reader)


def order(spec: Spec) -> np.ndarray:
    shuffle = FullShuffle(stand_in(spec.shards), spec.seed, drop_last=True)
    env = _DistributedEnv(world_size=spec.ranks, global_rank=0, num_nodes=1)
    epoch = 1  # litdata counts from 1
    chunks, intervals = shuffle.get_chunks_and_intervals_per_workers(
        env, spec.workers, spec.batch, epoch
    )

    def batches(worker: int) -> Iterator[np.ndarray]:
        items: list[int] = []
        for chunk, interval in zip(chunks[worker], intervals[worker], strict=True):
            inside = np.arange(interval[1], interval[2])
            items += shuffle(inside, len(spec.shards), epoch, int(chunk))
        whole = len(items) // spec.batch * spec.batch
        yield from np.array(items[:whole], np.int32).reshape(-1, spec.batch)

    ranks = []
    for rank in range(spec.ranks):
        waiting = [batches(rank * spec.workers + worker) for worker in range(spec.workers)]
        made: list[np.ndarray] = []
        while waiting:
            for source in list(waiting):
                batch = next(source, None)
                if batch is None:
                    waiting.remove(source)
                else:
                    made.append(batch)
        ranks.append(made)
    steps = min(map(len, ranks))
    return np.stack([np.stack(made[:steps]) for made in ranks], axis=1)


def number(index: int) -> dict[str, int]:
    return {"id": index}


def real(spec: Spec, folder: str) -> np.ndarray:
    os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")
    optimize(
        fn=number,
        inputs=list(range(sum(spec.shards))),
        output_dir=folder,
        num_workers=1,
        chunk_size=spec.shards[0],
        verbose=False,
    )
    dataset = StreamingDataset(folder, shuffle=True, seed=spec.seed, drop_last=True)
    loader = StreamingDataLoader(dataset, batch_size=spec.batch, num_workers=spec.workers)
    return np.array([made["id"].numpy() for made in loader], np.int32)[:, None, :]


if __name__ == "__main__":
    main("litdata", order, real)
