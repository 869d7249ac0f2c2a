#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the way to the GPU costs the host, on a machine without one: CPU-seconds a GB of a loader
with the fake driver (whose copies move nothing and run at once) beside the same loader without a
device.

    sudo chrt -f 10 .venv/bin/python bench/gpu/host_cost.py [PAIRS]

Both loaders stay open and take turns, a pass each (AB BA AB ...), over local files that lie in the
page cache; CPU is the process's (getrusage), differences are of neighbours. What the fake driver
itself takes is timed inside it, in a pass of its own. At realtime priority other work on the
machine does not run between; without it the spread says how far to trust the figures.
"""

import os
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/fake_cuda"), str(ROOT / "bench/gpu"), str(ROOT / "python")]

from fake_gpu import FakeGpu, library  # noqa: E402
from gpu_check import write_shards  # noqa: E402

GOAL = 0.05  # CPU-s/GB added
# name: bytes a sample, samples, batch
LOADS = {"115 KB": (115_000, 4096, 256), "1 MiB": (1 << 20, 512, 32)}


def joined(batch):
    """A consumer on the host that needs one array."""
    assert batch["bin"].values is not None


def as_received(batch):
    """One that takes each sample where it was received."""
    assert len(batch["bin"].views()) > 0


def on_device(batch):
    assert batch["bin"].values.address


# load: (what it is compared with, its consumer, the way to the GPU)
PAIRS = {
    "115 KB": [("joined on the host", joined, {})],
    "1 MiB": [
        ("joined on the host", joined, {"direct": False}),
        ("as received on the host", as_received, {}),
    ],
}


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one_pass(loader, consumer, nbytes):
    """CPU-s/GB."""
    before, rows = cpu_seconds(), 0
    for batch in loader:
        consumer(batch)
        rows += len(batch.ids)
    return (cpu_seconds() - before) / (rows * nbytes / 1e9)


def compare(ds, load, pair, pairs):
    import headrace as hr

    nbytes, _, batch = LOADS[load]
    name, consumer, options = pair
    common = {"batch_size": batch, "decode": {"bin": bytes}, "memory": "512MiB"}
    device = hr.Device("cuda:0", arrays="dlpack", **options)
    with ds.loader(**common) as host, ds.loader(device=device, **common) as gpu:
        ways = [lambda: one_pass(host, consumer, nbytes), lambda: one_pass(gpu, on_device, nbytes)]
        for way in (*ways, *ways):  # warm: memory is touched, slots and extents are made
            way()
        found = np.empty((pairs, 2))
        for i in range(pairs):
            for which in (0, 1) if i % 2 == 0 else (1, 0):
                found[i, which] = ways[which]()
        fake = FakeGpu()
        fake.configure("timed=1")
        calls, nanos = fake.calls, fake.nanos
        ways[1]()
        fake.configure("timed=0")
        gigabytes = LOADS[load][1] // batch * batch * nbytes / 1e9
        driver = (fake.nanos - nanos) / 1e9 / gigabytes, (fake.calls - calls) / gigabytes
    way = "direct" if device.direct and nbytes >= 256 << 10 else "joined"
    report(load, name, way, found, driver)


def report(load, name, way, found, driver):
    added = np.sort(found[:, 1] - found[:, 0])
    low, high = np.quantile(added, [0.25, 0.75])
    # The median's 95 % interval: order statistics of a binomial of one half.
    away = 0.98 * len(added) ** 0.5
    first = max(0, int(len(added) / 2 - away))
    last = min(len(added) - 1, int(np.ceil(len(added) / 2 + away)))
    median = float(np.median(added))
    print(
        f"{load:7} {way:7} beside {name:24}: {np.median(found[:, 0]):.3f} -> "
        f"{np.median(found[:, 1]):.3f}, added {median:+.4f} (quartiles {low:+.4f} {high:+.4f}, "
        f"95 % {added[first]:+.4f} {added[last]:+.4f}), of it the fake driver {driver[0]:.4f} in "
        f"{driver[1]:.0f} calls; ours {median - driver[0]:+.4f} "
        f"{'ok' if added[last] <= GOAL else 'ABOVE' if added[first] > GOAL else 'not decided'}",
        flush=True,
    )


def main():
    os.environ["HEADRACE_CUDA_LIB"] = str(library())
    os.environ["FAKE_CUDA"] = "eager=1 checks=0 copy_data=0 seed=3"
    import headrace as hr

    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    policy = {os.SCHED_OTHER: "ordinary", os.SCHED_FIFO: "realtime"}
    print(
        f"CPU-s/GB, {pairs} pairs, {policy.get(os.sched_getscheduler(0), 'another')} priority, "
        f"load {os.getloadavg()[0]:.1f}, goal {GOAL} added"
    )
    with tempfile.TemporaryDirectory() as folder:
        for load, (nbytes, samples, _) in LOADS.items():
            content = np.random.default_rng(0).bytes(nbytes)
            root = Path(folder, load.replace(" ", ""))
            write_shards(root, 4, samples // 4, lambda i, c=content: {"bin": c})
            with hr.open(str(root), index_dir=folder) as ds:
                for pair in PAIRS[load]:
                    compare(ds, load, pair, pairs)


if __name__ == "__main__":
    main()
