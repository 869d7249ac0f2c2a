#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the way to the GPU costs the host, on a machine without one: CPU seconds a GB of a loader
with the fake driver (whose copies move nothing and run at once) beside the same loader without a
device, interleaved.

    .venv/bin/python bench/gpu/host_cost.py [ROUNDS [PASSES]]

The processes are this one's own: server, loader and consumer; the server's is left out (os.times).
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/fake_cuda"), str(ROOT / "bench/gpu"), str(ROOT / "python")]

from fake_gpu import library  # noqa: E402
from gpu_check import write_shards  # noqa: E402

# name: bytes a sample, samples, batch
LOADS = {"115 KB": (115_000, 4096, 256), "1 MiB": (1 << 20, 512, 32)}


def cpu_per_gb(ds, batch, nbytes, device, passes):
    with ds.loader(
        batch_size=batch, decode={"bin": bytes}, device=device, memory="512MiB"
    ) as loader:
        for _ in loader:  # warm: memory is touched, slots are made
            pass
        before, began, rows = sum(os.times()[:2]), time.perf_counter(), 0
        for _ in range(passes):
            for got in loader:
                rows += len(got.ids)
                if device is None:
                    assert got["bin"].values is not None  # a consumer that needs one array
        seconds = time.perf_counter() - began
        gigabytes = rows * nbytes / 1e9
        return (sum(os.times()[:2]) - before) / gigabytes, gigabytes / seconds


def main():
    os.environ["HEADRACE_CUDA_LIB"] = str(library())
    os.environ["FAKE_CUDA"] = "eager=1 checks=0 copy_data=0 seed=3"
    import headrace as hr
    from headrace.serve import Server

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    passes = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    ways = {
        "host": None,
        "fake GPU, direct": hr.Device("cuda:0", arrays="dlpack"),
        "fake GPU, joined": hr.Device("cuda:0", arrays="dlpack", direct=False),
    }
    print(f"load {os.getloadavg()[0]:.1f}; CPU-s/GB (GB/s), median of {rounds} interleaved rounds")
    with tempfile.TemporaryDirectory() as folder:
        for name, (nbytes, samples, batch) in LOADS.items():
            content = np.random.default_rng(0).bytes(nbytes)
            bucket = f"d{batch}"
            write_shards(Path(folder, bucket), 4, samples // 4, lambda i, c=content: {"bin": c})
            with (
                Server(Path(folder)) as server,
                hr.open(
                    f"s3://{bucket}/t-{{000..003}}.tar", index_dir=folder, **server.options
                ) as ds,
            ):
                found = {way: [] for way in ways}
                for _ in range(rounds):
                    for way, device in ways.items():
                        found[way].append(cpu_per_gb(ds, batch, nbytes, device, passes))
                for way, figures in found.items():
                    cpu, rate = (float(np.median(column)) for column in zip(*figures, strict=True))
                    print(f"{name:8} {way:20} {cpu:.3f} ({rate:.2f})")


if __name__ == "__main__":
    main()
