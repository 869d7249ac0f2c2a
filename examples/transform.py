# SPDX-License-Identifier: Apache-2.0
"""A Python function on every sample, with randomness that survives a resume.

    python examples/transform.py s3://bucket/train-{000000..001023}.tar
"""

import sys

import numpy as np

import headrace as hr


def prepare(sample: dict) -> dict:
    """Adds noise: hr.rng() depends on (seed, epoch, sample) and on nothing else."""
    image = sample["jpg"].astype(np.float32) / 255
    noise = hr.rng().normal(0, 0.02, image.shape).astype(np.float32)
    return {"image": image + noise, "label": sample["cls"]}


ds = hr.open(sys.argv[1])
loader = ds.loader(
    batch_size=32, decode={"jpg": hr.decode.image(size=32), "cls": int}, transform=prepare
)
for batch in loader:
    print(batch)
    break
