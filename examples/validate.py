# SPDX-License-Identifier: Apache-2.0
"""A metric over a validation set: stored order, padded last batch, only valid rows count.

    torchrun --nproc-per-node 8 examples/validate.py s3://bucket/valid-{0000..0007}.tar
"""

import sys

import headrace as hr

ds = hr.open(sys.argv[1])
loader = ds.loader(batch_size=32, shuffle=False, decode={"cls": int})  # remainder="pad" by default
seen = total = 0
for batch in loader:
    seen += int(batch.valid.sum())
    total += int(batch["cls"][batch.valid].sum())
print(f"{seen} samples, mean class {total / seen:.3f}")
