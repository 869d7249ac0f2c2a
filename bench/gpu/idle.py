# SPDX-License-Identifier: Apache-2.0
"""How long the GPU waits for data: consumers as long as ResNet-50's and UNet3D's steps on an H100
(MLPerf Storage: batch 400 in 224 ms, 7 in 323 ms), beside torch's DataLoader over the same bytes on
local disk, in the same run."""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from gpu_check import Gemm, say, write_shards

import headrace as hr
from headrace.serve import Server

# name: step ms, batch, bytes a sample, samples, decode
LOADS = {
    "ResNet-50-like": (224.0, 400, 114_660, 4000),
    "UNet3D-like": (323.0, 7, 64 << 20, 28),
}
SECONDS = 15.0


class Files(torch.utils.data.Dataset):
    """The same bytes as files."""

    def __init__(self, folder, count, nbytes):
        self.paths = [folder / f"{i}.bin" for i in range(count)]
        content = np.random.default_rng(0).bytes(nbytes)
        for path in self.paths:
            path.write_bytes(content)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return torch.from_numpy(np.fromfile(self.paths[i], np.uint8))


def idle_share(gemm, step_ms, batches):
    """1 - busy / wall over SECONDS of steps, the first left out."""
    next(batches)
    gemm.step()
    torch.cuda.synchronize()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        next(batches)
        gemm.step()
        torch.cuda.synchronize()  # as a loss that is looked at
        steps += 1
    alone = time.perf_counter()
    for _ in range(10):
        gemm.step()
    torch.cuda.synchronize()
    busy = (time.perf_counter() - alone) / 10 * steps
    return 1 - busy / (alone - began)


def endless(make):
    while True:
        yield from make()


def peers(name, load, gemm, folder):
    step_ms, batch, nbytes, samples = load
    files = Files(folder, min(samples, 4 * batch), nbytes)
    workers = torch.utils.data.DataLoader(
        files,
        batch_size=batch,
        shuffle=True,
        num_workers=8,
        pin_memory=True,
        drop_last=True,
        persistent_workers=True,
    )
    moved = (x.to("cuda", non_blocking=True) for x in endless(lambda: iter(workers)))
    say(
        f"{name}: idle, torch DataLoader on local files",
        100 * idle_share(gemm, step_ms, moved),
        "%",
    )


def run(name):
    step_ms, batch, nbytes, samples = load = LOADS[name]
    content = np.random.default_rng(0).bytes(nbytes)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        write_shards(root, 4, samples // 4, lambda i: {"bin": content})
        gemm = Gemm(step_ms)
        options = {
            "batch_size": batch,
            "decode": {"bin": bytes},
            "device": "cuda:0",
            "memory": "8GiB",
        }
        with (
            Server(Path(folder), profile="s3") as server,
            hr.open("s3://data/t-{000..003}.tar", **server.options) as ds,
            ds.loader(**options) as loader,
        ):
            share = idle_share(gemm, step_ms, endless(lambda: iter(loader)))
            say(f"{name}: idle, headrace from S3 (30 ms)", 100 * share, "%", "<= 2", share <= 0.02)
        files = Path(folder, "files")
        files.mkdir()
        peers(name, load, gemm, files)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or LOADS:
        run(wanted)
