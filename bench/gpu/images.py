#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two ways of images to the GPU: decoded into uint8 batch slots and normalised on the GPU, or
normalised on the host to float32 and copied then. What each costs the host; on a GPU also how fast.

    .venv/bin/python bench/gpu/images.py [--fake]

`--fake`: on tests/fake_cuda, whose copies move nothing; what a GPU computes is left out then.
"""

import io
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / folder) for folder in ("tests/fake_cuda", "tests/e2e", "bench/gpu", "python")
]

from gpu_check import say, write_shards  # noqa: E402

BATCH, SAMPLES, ROUNDS = 64, 512, 5


def picture(number):
    """A smooth image with some grain, 500 x 375 as ImageNet's median: JPEG where Pillow is."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:375, 0:500].astype(np.float32)
    waves = [np.sin(x / rng.uniform(20, 90)) + np.cos(y / rng.uniform(20, 90)) for _ in range(3)]
    pixels = 128 + 40 * np.stack(waves, 2) + rng.normal(0, 6, (375, 500, 3))
    pixels = pixels.clip(0, 255).astype(np.uint8)
    try:
        from PIL import Image
    except ImportError:
        from small_data import png

        return png(pixels)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


class OnDevice:
    """uint8 slots, one copy; the kernel's work is the GPU's."""

    name = "uint8, normalised on the GPU"

    def __init__(self, ds, fake):
        import headrace as hr

        options = {"arrays": "dlpack"} if fake else {}
        transform = None if fake else hr.Normalize("img", layout="channels_last", dtype="float16")
        self._loader = ds.loader(
            **common(), device=hr.Device("cuda:0", **options), batch_transform=transform
        )

    def batches(self):
        yield from self._loader


class OnHost:
    """normalised by torch on the CPU to float32, then copied: from pageable memory with the fake
    driver, through torch's pinned memory on a GPU."""

    name = "float32, normalised on the host"

    def __init__(self, ds, fake):
        self._loader, self._fake = ds.loader(**common()), fake

    def batches(self):
        import torch

        from headrace import _core
        from headrace.device_image import normalize

        cuda = _core.Cuda(0) if self._fake else None
        for batch in self._loader:
            made = normalize(torch.from_numpy(batch["img"]), layout="channels_last")
            if cuda is None:
                yield made.pin_memory().to("cuda", non_blocking=True)
                continue
            block = cuda.take(made.nbytes)
            source = made.permute(0, 2, 3, 1).numpy()
            cuda.submit([(source, block.address)], [], None, None, [block], []).wait()
            yield block


def common():
    import headrace as hr

    decode = hr.decode.image(224, crop="random_resized", layout="HWC")
    return {"batch_size": BATCH, "decode": {"img": decode}, "seed": 0, "memory": "512MiB"}


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one_pass(way, fake):
    """CPU-s and seconds for 1,000 images."""
    cpu, began = cpu_seconds(), time.perf_counter()
    for _ in way.batches():
        pass
    if not fake:
        import torch

        torch.cuda.synchronize()
    scale = 1000 / (SAMPLES // BATCH * BATCH)
    return (cpu_seconds() - cpu) * scale, (time.perf_counter() - began) * scale


def measure(ds, fake):
    ways = [OnDevice(ds, fake), OnHost(ds, fake)]
    for way in ways:
        one_pass(way, fake)
    found = np.array([[one_pass(way, fake) for way in ways] for _ in range(ROUNDS)])
    medians = np.median(found, axis=0)
    for way, (cpu, seconds) in zip(ways, medians, strict=True):
        say(f"1,000 images: {way.name}: CPU", cpu, "s")
        if not fake:
            say(f"images a second: {way.name}", 1000 / seconds, "1/s")
    saved = found[:, 1, 0] - found[:, 0, 0]
    low, high = np.quantile(saved, [0.25, 0.75])
    name = f"CPU that the GPU saves, 1,000 images (quartiles {low:.3f} {high:.3f})"
    say(name, float(np.median(saved)), "s", "> 0", bool(low > 0))


def main():
    fake = "--fake" in sys.argv[1:]
    if fake:
        from fake_gpu import library

        os.environ["HEADRACE_CUDA_LIB"] = str(library())
        os.environ["FAKE_CUDA"] = "eager=1 checks=0 copy_data=0 seed=3"
    import headrace as hr

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        pictures = [picture(i) for i in range(32)]
        write_shards(root, 2, SAMPLES // 2, lambda i: {"img": pictures[i % 32]})
        with hr.open(str(root), index_dir=folder) as ds:
            measure(ds, fake)


if __name__ == "__main__":
    main()
