# SPDX-License-Identifier: Apache-2.0
"""What loading costs the trainer: the step time of a GEMM loop alone, and while batches arrive; and
how near the stream of batches comes to what network and bus allow."""

import itertools
import os
import tempfile
import time
from pathlib import Path

import torch
from gpu_check import Gemm, patterned, say, seconds_of, write_shards

import headrace as hr
from headrace.serve import Server

ROW = 1 << 20
STEP_MS = 20.0


def step_times(gemm, batches, count):
    """Seconds of each step between CUDA events, over `count` batches."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    sums = []
    events[0].record()
    for i in range(count):
        batch = next(batches)
        if batch is not None:
            sums.append(batch["bin"].values.view(torch.int32)[:: ROW // 4].sum())
        gemm.step()
        events[i + 1].record()
    torch.cuda.synchronize()
    return sorted(a.elapsed_time(b) for a, b in itertools.pairwise(events)), sums


def endless(loader):
    while True:
        yield from loader


def nothing():
    while True:
        yield None


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        write_shards(root, 8, 64, lambda i: {"bin": patterned(i, ROW)})
        with (
            Server(Path(folder)) as server,
            hr.open("s3://data/t-{000..007}.tar", **server.options) as ds,
        ):
            measure(ds)


def measure(ds):
    gemm = Gemm(STEP_MS)
    for name, device in (
        ("direct", hr.Device("cuda:0")),
        ("joined on the host", hr.Device("cuda:0", direct=False)),
        ("direct, threads at nice 10", hr.Device("cuda:0", nice=10)),
    ):
        with ds.loader(
            batch_size=16, decode={"bin": bytes}, device=device, memory="2GiB"
        ) as loader:
            batches = endless(loader)
            step_times(gemm, batches, 20)
            alone, _ = step_times(gemm, nothing(), 200)
            loading, _ = step_times(gemm, batches, 200)
            change = loading[100] / alone[100] - 1
            moved = 16 * ROW / loading[100] / 1e6
            say(
                f"step time change while loading {moved:.1f} GB/s, {name}",
                100 * change,
                "%",
                "<= 1",
                change <= 0.01,
            )
    throughput(ds)


def throughput(ds):
    """Batches as fast as they come, beside the bus and the loader without a GPU."""
    pinned = torch.empty(64 << 20, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(pinned, device="cuda")
    bus = pinned.nbytes / seconds_of(lambda: target.copy_(pinned, non_blocking=True)) / 1e9
    rates, cores = {}, {}
    for where in (None, "cuda:0"):
        with ds.loader(batch_size=16, decode={"bin": bytes}, device=where, memory="2GiB") as loader:
            batches, count = endless(loader), 0
            for _ in range(20):
                next(batches)
            began, cpu = time.perf_counter(), sum(os.times()[:2])
            while time.perf_counter() - began < 10:
                next(batches)
                count += 1
            torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            rates[where] = count * 16 * ROW / seconds / 1e9
            cores[where] = (sum(os.times()[:2]) - cpu) / seconds
    limit = min(bus, rates[None])
    share = rates["cuda:0"] / limit
    say("S3 on loopback to host memory", rates[None], "GB/s")
    say("S3 on loopback to the GPU", rates["cuda:0"], "GB/s")
    say("cores used", cores["cuda:0"], "cores")
    say("the bus, page-locked", bus, "GB/s")
    say("share of min(network, bus)", 100 * share, "%", ">= 90", share >= 0.9)


if __name__ == "__main__":
    main()
