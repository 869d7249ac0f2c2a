# SPDX-License-Identifier: Apache-2.0
"""Writes the benchmark's samples as a litdata data set with litdata's own writer.

python make_litdata.py OUT SAMPLES MEAN_BYTES CLASSES SHARD_BYTES
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from workload import Workload


def sample(workload, i):
    return {"bin": workload.payload(i), "cls": workload.label(i)}


def main():
    from litdata import optimize

    out, *numbers = sys.argv[1:]
    samples, mean_bytes, classes, shard_bytes = map(int, numbers)
    workload = Workload(samples, mean_bytes, classes, shard_bytes)
    optimize(
        fn=partial(sample, workload),
        inputs=list(range(samples)),
        output_dir=out,
        chunk_bytes=shard_bytes,
        num_workers=1,
        reorder_files=False,
    )


if __name__ == "__main__":
    main()
