# SPDX-License-Identifier: Apache-2.0
"""mosaicml-streaming's order of an epoch, through its own generate_work (partition and shuffle).

Its data set object is stood in for by the members that generate_work reads, with the defaults of
StreamingDataset; `--check` runs StreamingDataset itself over real MDS shards and compares.
"""

from __future__ import annotations

import sys
import types

import numpy as np
import torch
import transformers.feature_extraction_utils  # before the stand-in below is there
import transformers.tokenization_utils_base  # noqa: F401
from peer import Spec, main


def stand_in(name, **members):  # torchvision wants a CUDA build of torch; nothing here calls it
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


stand_in("torchvision")
stand_in("torchvision.datasets", VisionDataset=object)
stand_in("torchvision.transforms")
stand_in("torchvision.transforms.functional", to_tensor=None)
from streaming import MDSWriter, StreamingDataset  # noqa: E402
from streaming.base.batching import generate_work  # noqa: E402
from streaming.base.world import World  # noqa: E402


def order(spec: Spec) -> np.ndarray:
    algo = spec.options.get("algo", "py1e")
    nodes = spec.options.get("nodes") or (64 if algo in ("py1s", "py2s") else 1)
    sizes = np.array(spec.shards, np.int64)
    dataset = types.SimpleNamespace(
        num_canonical_nodes=nodes,
        batch_size=spec.batch,
        partition_algo="relaxed",
        epoch_size=int(sizes.sum()),
        initial_physical_nodes=1,
        shuffle=True,
        shuffle_algo=algo,
        shuffle_seed=spec.seed,
        shuffle_block_size=spec.options.get("block") or max(4_000_000 // nodes, 1 << 18),
        resample_streams=lambda epoch: (sizes, np.arange(sizes.sum())),
    )
    work = generate_work("random", dataset, World(1, spec.ranks, spec.workers, 0), 0, 0)
    # [node, rank, worker, batch of the worker, row]; a DataLoader takes a batch of each in turn
    steps = work[0].transpose(2, 1, 0, 3).reshape(-1, spec.ranks, spec.batch)
    return steps[(steps >= 0).all(axis=(1, 2))].astype(np.int32)


def real(spec: Spec, folder: str) -> np.ndarray:
    with MDSWriter(out=folder, columns={"id": "int"}, size_limit=12 * spec.shards[0] + 175) as out:
        for number in range(sum(spec.shards)):
            out.write({"id": number})
    dataset = StreamingDataset(
        local=folder,
        shuffle=True,
        batch_size=spec.batch,
        shuffle_seed=spec.seed,
        shuffle_algo=spec.options.get("algo", "py1e"),
        shuffle_block_size=spec.options.get("block"),
        num_canonical_nodes=spec.options.get("nodes"),
    )
    if [shard.samples for shard in dataset.shards] != spec.shards:
        raise SystemExit(f"shards of {[shard.samples for shard in dataset.shards]}")
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=spec.batch, num_workers=spec.workers, drop_last=True
    )
    return np.array([made["id"].numpy() for made in loader], np.int32)[:, None, :]


if __name__ == "__main__":
    main("mosaicml-streaming", order, real)
