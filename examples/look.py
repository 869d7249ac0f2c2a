# SPDX-License-Identifier: Apache-2.0
"""Looks into a data set without training: what is there, one sample, the order of an epoch.

    python examples/look.py s3://bucket/train-{000000..001023}.tar
"""

import sys

import headrace as hr

ds = hr.open(sys.argv[1])
print(ds)
for name, value in ds[0].items():
    print(f"  {name}: {value if isinstance(value, str) else f'{len(value)} bytes'}")
print("sample 0 lies in", ds.extent(0))

order = ds.order(seed=0, epoch=0, batch_size=32)
print(order)
print("the first samples of epoch 0:", order[:8])
