#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""D(1), D(4), D(32) of the text parts' orders over documents, which is what neighbours share; the
study's own lines count sources. Needs no training.

    mixing.py [--scale small]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import study  # finds the other modules
from corpus import load_corpus
from orders import epoch_of
from plan import ORDERS, SEEDS, SIZES, parts

import quality


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=list(SIZES), default="small")
    scale = parser.parse_args().scale
    folder = study.ROOT / "build" / "train-study"
    for name in ("c", "e"):
        part = parts(scale)[name]
        documents = load_corpus(part.samples, part.test_samples, folder).documents
        print(f"{name}: {documents.max() + 1} documents, c = {part.block}, L = {part.lanes}")
        for order in ORDERS:
            found = [
                [
                    quality.design_effect(
                        documents[epoch_of(part, order, seed, 0, folder).reshape(-1)],
                        part.batch,
                        windows,
                    )
                    for windows in study.WINDOWS
                ]
                for seed in SEEDS
            ]
            print(f"  {order:11}", *(f"{d:6.2f}" for d in np.mean(found, axis=0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
