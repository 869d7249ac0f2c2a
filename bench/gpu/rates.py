# SPDX-License-Identifier: Apache-2.0
"""Copies to the GPU: page-locked and pageable at several sizes, what page-locking costs, and from
which row size the copy may gather rows by itself (docs/gpu.md, "Large samples")."""

import time

import numpy as np
import torch
from gpu_check import say, seconds_of

from headrace import _core

MIB = 1 << 20
SIZES = [64 << 10, MIB, 16 * MIB, 256 * MIB]


def copy_rates(cuda):
    for size in SIZES:
        target = torch.empty(size, dtype=torch.uint8, device="cuda")
        pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        pageable = torch.zeros(size, dtype=torch.uint8)
        for kind, source in (("page-locked", pinned), ("pageable", pageable)):
            seconds = seconds_of(lambda s=source, t=target: t.copy_(s, non_blocking=True))
            say(f"H2D {kind}, {size >> 10} KiB", size / seconds / 1e9, "GB/s")
        array = pinned.numpy()

        def ours(a=array, t=target):
            cuda.submit([(a, t.data_ptr())], [], None, None, [], []).wait()

        say(f"H2D by headrace's copier, {size >> 10} KiB", size / seconds_of(ours) / 1e9, "GB/s")


def locking_cost(cuda):
    memory = cuda.pinned(0)
    began = time.perf_counter()
    memory.prepare(8, 128 * MIB)
    seconds = time.perf_counter() - began
    say("page-locking 1 GiB in slots of 128 MiB", seconds, "s", "about 1")
    say("of it page-locked", memory.pinned / (1 << 30), "GiB", "1", memory.pinned == 1 << 30)


def gather_crossover(cuda):
    """256 rows: gathered by one batched copy, or joined on the host first."""
    for row in (4 << 10, 16 << 10, 64 << 10, 256 << 10, MIB):
        source = torch.empty(512 * row, dtype=torch.uint8, pin_memory=True).numpy()
        joined = torch.empty(256 * row, dtype=torch.uint8, pin_memory=True).numpy()
        target = torch.empty(256 * row, dtype=torch.uint8, device="cuda")
        rows = [source[2 * i * row : (2 * i + 1) * row] for i in range(256)]
        parts = [(r, target.data_ptr() + i * row) for i, r in enumerate(rows)]
        gathered = seconds_of(lambda p=parts: cuda.submit(p, [], None, None, [], []).wait())

        def host(rows=rows, joined=joined, target=target):
            np.concatenate(rows, out=joined)
            cuda.submit([(joined, target.data_ptr())], [], None, None, [], []).wait()

        say(
            f"256 rows of {row >> 10} KiB, gathered by the copy", 256 * row / gathered / 1e9, "GB/s"
        )
        say(
            f"256 rows of {row >> 10} KiB, joined on the host first",
            256 * row / seconds_of(host) / 1e9,
            "GB/s",
        )


if __name__ == "__main__":
    device = _core.Cuda(0)
    say("driver", device.driver_version, "")
    say("batched copies (12.8)", int(device.has_batch_copy), "")
    say("NUMA node of the GPU", device.numa_node, "")
    copy_rates(device)
    locking_cost(device)
    gather_crossover(device)
