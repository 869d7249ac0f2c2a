# SPDX-License-Identifier: Apache-2.0
"""The demo's data: scikit-learn's handwritten digits as WebDataset tars, written by the webdataset
package.

1,797 scanned digits. Training shards are sorted by class, the worst case for a loader that shuffles
in a buffer.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["TRAIN_URL", "VALID_URL", "write_digits"]

BUCKET = "digits"
TRAIN_SHARDS, VALID_SHARDS = 12, 2
VALID_SAMPLES = 297
PIXELS = 32  # the 8 x 8 scans, enlarged
TRAIN_URL = f"s3://{BUCKET}/train-{{000000..{TRAIN_SHARDS - 1:06d}}}.tar"
VALID_URL = f"s3://{BUCKET}/valid-{{000000..{VALID_SHARDS - 1:06d}}}.tar"


def _jpeg(scan: npt.NDArray[np.float64]) -> bytes:
    from PIL import Image

    grey = Image.fromarray((scan * (255 / 16)).astype(np.uint8), "L")
    out = io.BytesIO()
    grey.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC).convert("RGB").save(
        out, "JPEG", quality=90
    )
    return out.getvalue()


def _write_shards(
    folder: Path,
    name: str,
    shards: int,
    scans: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
) -> None:
    import webdataset

    for shard, rows in enumerate(np.array_split(np.arange(len(labels)), shards)):
        with webdataset.TarWriter(str(folder / f"{name}-{shard:06d}.tar")) as writer:
            for row in rows:
                writer.write(
                    {
                        "__key__": f"{name}/{row:06d}",
                        "jpg": _jpeg(scans[row]),
                        "cls": int(labels[row]),
                    }
                )


def write_digits(root: Path) -> tuple[int, int]:
    """Writes the bucket under ``root``; returns the numbers of training and validation samples."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    shuffled = np.random.default_rng(0).permutation(len(digits.target))
    valid, train = shuffled[:VALID_SAMPLES], shuffled[VALID_SAMPLES:]
    train = train[np.argsort(digits.target[train], kind="stable")]  # class after class
    folder = root / BUCKET
    folder.mkdir(parents=True)
    _write_shards(folder, "train", TRAIN_SHARDS, digits.images[train], digits.target[train])
    _write_shards(folder, "valid", VALID_SHARDS, digits.images[valid], digits.target[valid])
    return len(train), len(valid)
