# SPDX-License-Identifier: Apache-2.0
"""Contender: mosaicml-streaming, 4 workers, its default shuffle, a fresh local directory.

Two repairs, without which it does not run here: torchvision (which wants a CUDA build of torch) is
replaced by two names that nothing here calls, and the S3 client that the forked workers would
share with their parent is dropped before the fork (it mixes up replies over plain HTTP).
"""

import os
import shutil
import sys
import tempfile
import types

from meter import Meter, ids_of, packed

meter = Meter()
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers.feature_extraction_utils  # noqa: E402  (before the stand-in below is there)
import transformers.tokenization_utils_base  # noqa: E402, F401


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


stand_in("torchvision")
stand_in("torchvision.datasets", VisionDataset=object)
stand_in("torchvision.transforms")
stand_in("torchvision.transforms.functional", to_tensor=None)
from streaming import StreamingDataset  # noqa: E402

meter.imported()
spec = meter.spec


def collate(samples):
    values, offsets = packed([sample["bin"] for sample in samples])
    classes = np.array([sample["cls"] for sample in samples])
    return torch.from_numpy(values.copy()), torch.from_numpy(offsets), torch.from_numpy(classes)


def main():
    os.environ["S3_ENDPOINT_URL"] = spec["endpoint"]
    options = dict(spec["options"])
    workers = options.pop("workers")
    local = spec.get("cache") or tempfile.mkdtemp(prefix="headrace-bench-mosaic-")
    dataset = StreamingDataset(
        remote=spec["url"],
        local=local,
        shuffle=True,
        batch_size=spec["batch"],
        shuffle_seed=spec["seed"],
        **options,
    )
    for stream in dataset.streams:
        stream._downloader.clean_up()
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=spec["batch"], num_workers=workers, collate_fn=collate
    )
    meter.begin()
    for values, offsets, classes in loader:
        ends = offsets.numpy()
        meter.batch(ids_of(values.numpy(), ends), classes.numpy(), int(ends[-1]))
    del loader
    on_disk = sum(entry.stat().st_size for entry in os.scandir(local))
    meter.finish(["mosaicml-streaming", "torch", "boto3", "numpy"], disk_bytes=on_disk)
    if "cache" not in spec:
        shutil.rmtree(local, ignore_errors=True)


if __name__ == "__main__":
    main()
