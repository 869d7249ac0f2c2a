# SPDX-License-Identifier: Apache-2.0
"""What the three peer_*.py scripts share: their command line, and the shape of what they write.

    peer_NAME.py SPEC.json OUT.npy    writes sample numbers, int32 [steps, ranks, batch of a rank]
    peer_NAME.py --check              the peer's own DataLoader over real files gives the same

They run in the peers' environment (bench/quality/setup) and know nothing of headrace. An order ends
with the last step at which every rank has a full batch.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spec:
    shards: list[int]  # samples of each
    batch: int  # of a rank
    seed: int
    ranks: int = 1
    workers: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    one_seed: bool = False  # every worker the same, as with webdataset's seed=

    def same_seed(self, worker: int) -> int:
        return 0 if self.one_seed else worker


Orderer = Callable[[Spec], np.ndarray]

CHECKS: dict[str, list[dict[str, Any]]] = {
    "webdataset": [{"shardshuffle": 100, "buffer": 60}],
    "mosaicml-streaming": [
        {"algo": "py1e", "block": 300},
        {"algo": "py1br", "block": 300},
        {"algo": "py1s", "nodes": 4},
    ],
    "litdata": [{}],
}


def main(name: str, order: Orderer, real: Callable[[Spec, str], np.ndarray]) -> None:
    if sys.argv[1:] != ["--check"]:
        spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
        np.save(sys.argv[2], order(spec))
        return
    for workers in (1, 3):
        for options in CHECKS[name]:
            spec = Spec([40] * 30 + [23], 16, 5, 1, workers, options, one_seed=True)
            with tempfile.TemporaryDirectory() as folder:
                theirs, ours = real(spec, folder), order(spec)
            if not np.array_equal(theirs, ours):
                same = np.equal(theirs, ours).mean() if theirs.shape == ours.shape else 0
                raise SystemExit(f"{name} {options} {workers} workers: {same:.0%} the same")
    print(f"{name} {importlib.metadata.version(name)}: as its own DataLoader, {len(ours)} steps")
