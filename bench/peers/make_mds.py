# SPDX-License-Identifier: Apache-2.0
"""Writes the benchmark's samples as an MDS data set with mosaicml-streaming's own writer.

python make_mds.py OUT SAMPLES MEAN_BYTES CLASSES SHARD_BYTES
"""

import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from workload import Workload


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def main():
    import transformers.feature_extraction_utils
    import transformers.tokenization_utils_base  # noqa: F401

    stand_in("torchvision")
    stand_in("torchvision.datasets", VisionDataset=object)
    stand_in("torchvision.transforms")
    stand_in("torchvision.transforms.functional", to_tensor=None)
    from streaming import MDSWriter

    out, *numbers = sys.argv[1:]
    samples, mean_bytes, classes, shard_bytes = map(int, numbers)
    workload = Workload(samples, mean_bytes, classes, shard_bytes)
    with MDSWriter(
        out=out, columns={"bin": "bytes", "cls": "int"}, size_limit=shard_bytes
    ) as writer:
        for i in range(samples):
            writer.write({"bin": workload.payload(i), "cls": workload.label(i)})


main()
