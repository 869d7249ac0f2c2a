# SPDX-License-Identifier: Apache-2.0
"""Contender: webdataset over HTTP (curl), workers and a 1,000-sample buffer as its documentation
recommends; batches are packed into one tensor in the worker, which is its fastest form here."""

import random

from meter import Meter, ids_of, packed

meter = Meter()
import numpy as np  # noqa: E402
import torch  # noqa: E402
import webdataset as wds  # noqa: E402

meter.imported()
spec = meter.spec


def collate(samples):
    payloads, labels = zip(*samples, strict=True)
    values, offsets = packed(payloads)
    classes = np.array([int(label) for label in labels])
    return torch.from_numpy(values.copy()), torch.from_numpy(offsets), torch.from_numpy(classes)


def main():
    urls = [f"{spec['endpoint']}/{spec['bucket']}/{key}" for key in spec["shards"]]
    dataset = (
        wds.WebDataset(urls, shardshuffle=100, seed=spec["seed"])
        .shuffle(1000, rng=random.Random(spec["seed"]))
        .to_tuple("bin", "cls")
        .batched(spec["batch"], collation_fn=collate)
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=spec["options"]["workers"])
    meter.begin()
    for values, offsets, classes in loader:
        ends = offsets.numpy()
        meter.batch(ids_of(values.numpy(), ends), classes.numpy(), int(ends[-1]))
    del loader
    meter.finish(["webdataset", "torch", "numpy"])


if __name__ == "__main__":
    main()
