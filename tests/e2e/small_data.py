# SPDX-License-Identifier: Apache-2.0
"""The end-to-end tests' data set: 600 samples of five fields, each a function of its number."""

import io
import json
import tarfile

import numpy as np

SAMPLES, SHARDS = 600, 4


def png(pixels):
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def write_tar(path, first, count, fields):
    """A tar of samples first..first+count-1; ``fields(i)`` gives {extension: bytes}."""
    with tarfile.open(path, "w") as tar:
        for i in range(first, first + count):
            for extension, content in fields(i).items():
                add(tar, f"s/{i:06d}.{extension}", content)


def sample_fields(i):
    rng = np.random.default_rng(i)
    return {
        "bin": rng.bytes(2000 + i % 700),
        "cls": str(i * 10 // SAMPLES).encode(),
        "json": json.dumps({"id": i}).encode(),
        "png": png(rng.integers(0, 255, (12, 10 + i % 3, 3), np.uint8)),
        "txt": f"sample {i} é".encode(),
    }
