#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What threads of headrace in the trainer's process cost the trainer, on a machine without a GPU:
the step of a matrix product in numpy, pinned to one core, alone; while a loader's threads work on
another core in the same process; and while the same loader works in a process of its own.

    sudo chrt -r 10 .venv/bin/python bench/gpu/trainer_cost.py [ROUNDS [STEPS]]

The three take turns. Both loaders bring the same bytes a step: so many that their core is about
three quarters busy. What both cost is the machine's (memory bandwidth, cache, clock); what only the
first costs is what a separate engine process could save.
Needs two cores; the data lie in the page cache, the GPU is tests/fake_cuda.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/fake_cuda"), str(ROOT / "bench/gpu"), str(ROOT / "python")]
CORES = sorted(os.sched_getaffinity(0))[:2]
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from fake_gpu import library  # noqa: E402
from gpu_check import write_shards  # noqa: E402

ROW, BATCH, SAMPLES = 115_000, 64, 2048


def endless(folder, core):
    """Batches on the (fake) GPU, by threads on that core."""
    import headrace as hr

    device = hr.Device("cuda:0", arrays="dlpack", cores=[core])
    with (
        hr.open(folder, index_dir=folder) as ds,
        ds.loader(
            batch_size=BATCH, decode={"bin": bytes}, device=device, memory="256MiB"
        ) as loader,
    ):
        while True:
            yield from loader


def serve_tokens(folder, count, core):
    """The process of its own: so many batches for each byte that comes, and a byte back."""
    os.sched_setaffinity(0, [core])
    batches = endless(folder, core)
    while os.read(0, 1):
        for _ in range(count):
            next(batches)
        os.write(1, b".")


class Alone:
    def take(self):
        pass


class SameProcess:
    def __init__(self, folder, count):
        self._batches, self._count = endless(folder, CORES[1]), count

    def take(self):
        for _ in range(self._count):
            next(self._batches)


class OtherProcess:
    """The step's batches are asked for and those of the step before are waited for: ahead, as the
    loader in the same process is."""

    def __init__(self, folder, count):
        self._child = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder, str(count), str(CORES[1])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self._child.stdin.write(b".")

    def take(self):
        self._child.stdout.read(1)
        self._child.stdin.write(b".")

    def close(self):
        self._child.stdin.close()
        self._child.wait()


def steps(way, work, count):
    """Seconds of each product, and of each whole step."""
    products, whole = [], []
    for _ in range(count):
        began = time.perf_counter()
        way.take()
        at = time.perf_counter()
        work()
        end = time.perf_counter()
        products.append(end - at)
        whole.append(end - began)
    return np.median(products), np.median(whole)


def main():
    if sys.argv[1:2] == ["--serve"]:
        return serve_tokens(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    if len(CORES) < 2:
        print("skipped: two cores are needed")
        return None
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    os.environ["HEADRACE_CUDA_LIB"] = str(library())
    os.environ["FAKE_CUDA"] = "eager=1 checks=0 seed=3"
    a = np.random.default_rng(0).random((1024, 1024), np.float32)
    out = np.empty_like(a)
    with tempfile.TemporaryDirectory() as folder:
        content = np.random.default_rng(0).bytes(ROW)
        write_shards(Path(folder), 4, SAMPLES // 4, lambda i: {"bin": content})
        measure(folder, lambda: np.matmul(a, a, out=out), rounds, count)
    return None


def batches_a_step(folder, work):
    """So many that the other core is about three quarters busy."""
    batches = endless(folder, CORES[1])
    for _ in range(100):
        next(batches)
    began, used = time.perf_counter(), time.process_time()
    for _ in range(100):
        next(batches)
    a_batch = (time.process_time() - used) / 100
    print(f"a batch of {BATCH * ROW / 1e6:.1f} MB: {1e3 * a_batch:.2f} ms CPU, "
          f"{BATCH * ROW * 100 / (time.perf_counter() - began) / 1e9:.2f} GB/s alone")  # fmt: skip
    step = min(_seconds(work) for _ in range(20))
    return max(1, round(0.75 * step / a_batch)), step


def _seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(folder, work, rounds, count):
    load = os.getloadavg()[0]
    per_step, step = batches_a_step(folder, work)
    os.sched_setaffinity(0, CORES[:1])  # this thread: the core's threads have been told theirs
    rate = per_step * BATCH * ROW / step / 1e9
    print(f"product {1e3 * step:.2f} ms, {per_step} batches a step ({rate:.2f} GB/s), "
          f"load {load:.1f}")  # fmt: skip
    ways = {
        "alone": Alone(),
        "same process": SameProcess(folder, per_step),
        "other process": OtherProcess(folder, per_step),
    }
    for way in ways.values():
        steps(way, work, count)
    found = {name: [] for name in ways}
    for i in range(rounds):
        for name in list(ways)[:: 1 if i % 2 == 0 else -1]:
            found[name].append(steps(ways[name], work, count))
    ways["other process"].close()
    alone = np.array(found["alone"])
    for name in list(ways)[1:]:
        product, whole = (100 * (np.array(found[name])[:, i] / alone[:, i] - 1) for i in (0, 1))
        low, high = np.quantile(product, [0.25, 0.75])
        print(f"{name}: product {np.median(product):+.2f} % (quartiles {low:+.2f} {high:+.2f}), "
              f"step with taking its batches {np.median(whole):+.2f} %")  # fmt: skip
    apart = 100 * (np.array(found["same process"]) / np.array(found["other process"]) - 1)[:, 0]
    low, high = np.quantile(apart, [0.25, 0.75])
    print(f"same beside other process: product {np.median(apart):+.2f} % "
          f"(quartiles {low:+.2f} {high:+.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
