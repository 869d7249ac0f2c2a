# SPDX-License-Identifier: Apache-2.0
"""Contender: litdata: its own chunks of 64 MB (peers/make_litdata.py), streamed with workers and
shuffled as its StreamingDataset does; batches are packed in the worker.

One repair, without which its prefetching refuses a plain-HTTP endpoint: allow_http for obstore.
"""

import os
import tempfile

from meter import Meter, ids_of, packed

meter = Meter()
import numpy as np  # noqa: E402
import torch  # noqa: E402
from litdata import StreamingDataLoader, StreamingDataset  # noqa: E402
from litdata.streaming import downloader  # noqa: E402

meter.imported()
spec = meter.spec


def collate(samples):
    values, offsets = packed([sample["bin"] for sample in samples])
    classes = np.array([sample["cls"] for sample in samples])
    return torch.from_numpy(values.copy()), torch.from_numpy(offsets), torch.from_numpy(classes)


def main():
    os.environ["AWS_ENDPOINT_URL"] = spec["endpoint"]
    options = downloader._OBSTORE_CLIENT_OPTIONS
    downloader._OBSTORE_CLIENT_OPTIONS = {**(options or {}), "allow_http": True}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-litdata-") as own:
        cache = spec.get("cache") or own
        dataset = StreamingDataset(
            f"s3://{spec['bucket']}",
            cache_dir=cache,
            shuffle=True,
            seed=spec["seed"],
            storage_options={"endpoint_url": spec["endpoint"]},
        )
        loader = StreamingDataLoader(
            dataset,
            batch_size=spec["batch"],
            num_workers=spec["options"]["workers"],
            collate_fn=collate,
        )
        meter.begin()
        for values, offsets, classes in loader:
            ends = offsets.numpy()
            meter.batch(ids_of(values.numpy(), ends), classes.numpy(), int(ends[-1]))
        del loader
        meter.finish(["litdata", "torch", "numpy"])


if __name__ == "__main__":
    main()
