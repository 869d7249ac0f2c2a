# SPDX-License-Identifier: Apache-2.0
"""Mixes data sets with exact shares, changes the shares while training runs, balances classes.

python examples/mixture.py s3://bucket/train-{000000..001023}.tar
"""

import sys

import headrace as hr

ds = hr.open(sys.argv[1])
labels = ds.column("cls", int)  # read once, kept beside the local index
rare, usual = ds.where(labels >= 8), ds.where(labels < 8)

mixture = hr.mix({"usual": usual, "rare": rare}, weights={"usual": 0.5, "rare": 0.5})
print(mixture)
loader = mixture.loader(batch_size=32, decode={"cls": int}, epoch_size=32 * 40)
loader.update_weights({"usual": 0.9, "rare": 0.1}, step=20)
for batch in loader:
    if loader.step in (20, 40):
        share = (batch.sources == 1).mean()
        print(f"step {loader.step}: {share:.0%} of the batch from rare")
print(loader.stats()["sources"])

# Every class equally often, by drawing with replacement.
balanced = ds.loader(batch_size=32, decode={"cls": int}, weights=hr.class_weights(labels))
print("balanced:", next(iter(balanced))["cls"])
