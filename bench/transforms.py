# SPDX-License-Identifier: Apache-2.0
"""Python transforms: PIL decode + random-resized crop, by headrace's threads and worker processes,
by torch's DataLoader, and by headrace's own decoder. One local data set, the same function, fresh
processes that take turns.

    .venv/bin/python bench/transforms.py --rounds 3

For each: images/s from the ninth batch on (imports and process starts are not in it) and
CPU-seconds of all its processes for 1,000 images from that moment on. The machine should be idle
otherwise; CPU time bears other load better than the rate.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SHARDS = 4
BATCH = 64
CONTENDERS = (
    "headrace workers=0", "headrace workers=1", "headrace workers=2",
    "torch DataLoader 2", "webdataset 2", "headrace decode=",
)  # fmt: skip


def write_data(folder: Path, images: int) -> None:
    """Photo-like JPEGs of about 500 x 375 at quality 90, about 70 KB: smooth shapes and grain."""
    from PIL import Image

    rng = np.random.default_rng(1)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"train-{shard}.tar", "w") as tar:
            for i in range(shard, images, SHARDS):
                wide, high = int(rng.integers(400, 600)), int(rng.integers(300, 450))
                coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
                smooth = np.asarray(coarse.resize((wide, high), Image.Resampling.BICUBIC), np.int16)
                grain = rng.normal(0, 9, (high, wide, 1))
                out = io.BytesIO()
                photo = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
                photo.save(out, "JPEG", quality=90)
                for name, content in (("jpg", out.getvalue()), ("cls", str(i % 10).encode())):
                    info = tarfile.TarInfo(f"{i:06d}.{name}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def crop_box(wide: int, high: int, draw: Any) -> tuple[float, float, float, float]:
    """torchvision's RandomResizedCrop: 8 to 100 % of the area, 3:4 to 4:3; ``draw()`` is uniform
    in 0..1."""
    for _ in range(10):
        area = wide * high * (0.08 + 0.92 * draw())
        ratio = (3 / 4) * (16 / 9) ** draw()
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= wide and 0 < h <= high:
            left, top = int(draw() * (wide - w + 1)), int(draw() * (high - h + 1))
            return left, top, left + w, top + h
    return 0, 0, wide, high


def augment(jpeg: bytes, draw: Any) -> np.ndarray:
    from PIL import Image

    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    box = crop_box(image.width, image.height, draw)
    return np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=box))


def headrace_transform(sample: dict[str, Any]) -> dict[str, Any]:
    import headrace as hr

    return {"jpg": augment(sample["jpg"], hr.rng().random), "cls": int(sample["cls"])}


def webdataset_transform(sample: dict[str, Any]) -> tuple[np.ndarray, int]:
    return augment(sample["jpg"], random.random), int(sample["cls"])


class TarMembers:
    """A map-style dataset for torch: reads members of the tars by their offset."""

    def __init__(self, folder: Path) -> None:
        self._members: list[tuple[str, int, int, int]] = []
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
            for jpeg, label in zip(members[::2], members[1::2], strict=True):
                self._members.append((str(path), jpeg.offset_data, jpeg.size, label.offset_data))
        self._files: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        path, offset, size, label = self._members[i]
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY)
        file = self._files[path]
        return augment(os.pread(file, size, offset), random.random), int(os.pread(file, 1, label))


def batches_of(contender: str, folder: Path) -> Any:
    if contender.startswith("headrace"):
        import headrace as hr

        options: dict[str, Any] = {"batch_size": BATCH, "seed": 1}
        if contender.endswith("decode="):
            image = hr.decode.image(size=224, crop="random_resized", layout="HWC")
            options["decode"] = {"jpg": image, "cls": int}
        else:
            options |= {"transform": headrace_transform, "workers": int(contender[-1])}
        loader = hr.open(f"{folder}/train-{{0..{SHARDS - 1}}}.tar").loader(**options)
        return ((batch["jpg"], batch["cls"]) for _ in loader.epochs(2) for batch in loader)
    import torch.utils.data as torch_data

    if contender.startswith("torch"):
        loader = torch_data.DataLoader(
            TarMembers(folder), BATCH, shuffle=True, num_workers=2, persistent_workers=True
        )
        return (batch for _ in range(2) for batch in loader)
    import webdataset

    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    dataset = webdataset.WebDataset(urls, shardshuffle=SHARDS)
    dataset = dataset.shuffle(500).map(webdataset_transform).batched(BATCH)
    workers = torch_data.DataLoader(dataset, batch_size=None, num_workers=2)
    return (batch for _ in range(2) for batch in workers)


def cpu_seconds() -> float:
    """Of this process and of its children that run."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            for child in Path(f"/proc/self/task/{task}/children").read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def run_one(contender: str, folder: Path) -> dict[str, float]:
    batches = batches_of(contender, folder)
    checked = 0.0
    # Workers come up one after another and have batches ready: the count begins when all run.
    for _ in range(8):
        next(batches)
    began, cpu, images = time.perf_counter(), cpu_seconds(), 0
    for pixels, labels in batches:
        assert tuple(pixels.shape[1:]) == (224, 224, 3)
        images += len(labels)
        checked += float(pixels[0, 0, 0, 0])
        if time.perf_counter() - began > 60:
            break
    spent = time.perf_counter() - began
    cpu = (cpu_seconds() - cpu) / images * 1000
    return {"images/s": images / spent, "CPU s": cpu, "images": images}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=CONTENDERS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(run_one(given.run, given.data)))
        return 0
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.only or CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), given.images)
        for turn in range(given.rounds):
            names = list(found)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                command = [sys.executable, __file__, "--run", name, "--data", folder]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stderr}")
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(turn, name, found[name][-1], file=sys.stderr)
    print("| | images/s: min / **median** / max | CPU s for 1,000 images: median (min) |")
    print("|---|---|---|")
    for name, runs in found.items():
        rates, cpu = sorted(run["images/s"] for run in runs), [run["CPU s"] for run in runs]
        rate = f"{rates[0]:.0f} / **{statistics.median(rates):.0f}** / {rates[-1]:.0f}"
        print(f"| {name} | {rate} | {statistics.median(cpu):.2f} ({min(cpu):.2f}) |")
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
