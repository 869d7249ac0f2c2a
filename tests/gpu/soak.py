# SPDX-License-Identifier: Apache-2.0
"""Correctness on a real GPU: every batch's bytes are summed on the GPU after a slow kernel, with references dropped
early, held late and used on a second stream, in modes A, B and C; then with each guard off, which must be seen.

    soak.py [BATCHES [SECONDS]]
"""

import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "bench" / "gpu"))

from gpu_check import patterned, say, write_shards

import headrace as hr
from headrace import _core, device_movers

ROW, BATCH, SAMPLES = 32 << 10, 8, 512


def sums(batch):
    """What the batch's words add up to: each sample is its number, ROW / 4 times."""
    return int(batch.ids.astype(np.int64).sum()) * (ROW // 4)


def words(column):
    values = column.values if hasattr(column, "values") else column
    return (
        torch.from_dlpack(values).view(torch.int32)
        if not isinstance(values, torch.Tensor)
        else values.view(torch.int32)
    )


def consume(loader, batches, seconds):
    """How many batches, and how many of them were wrong."""
    side = torch.cuda.Stream()
    slow = torch.randn(1024, 1024, device="cuda")
    results, held, count, began = [], deque(maxlen=2), 0, time.perf_counter()
    while count < batches and time.perf_counter() - began < seconds:
        for batch in loader:
            wanted = sums(batch)
            for _ in range(3):
                slow = torch.mm(slow, slow).clamp_(-1, 1)
            x = words(batch["bin"])
            if count % 3 == 0:
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    results.append((wanted, x.sum(dtype=torch.int64)))
                torch.cuda.current_stream().wait_stream(side)
            else:
                x = x.float() if count % 3 == 1 else x  # the name is bound anew, the memory is free
                results.append((wanted, x.double().sum()))
            if count % 5 == 0:
                held.append(x)
            count += 1
            del batch, x
            if count >= batches:
                break
    torch.cuda.synchronize()
    return count, sum(int(got) != wanted for wanted, got in results)


def modes(ds, batches, seconds):
    for name, device in (
        ("A (torch)", hr.Device("cuda:0")),
        ("B (DLPack)", hr.Device("cuda:0", arrays="dlpack")),
    ):
        with ds.loader(batch_size=BATCH, decode={"bin": bytes}, device=device) as loader:
            count, wrong = consume(loader, batches, seconds)
            say(f"mode {name}: wrong batches of {count}", wrong, "", "0", wrong == 0)


def ring(seconds):
    """Mode C with a CUDA graph over the one slot's address."""
    cuda = _core.Cuda(0)
    slots = cuda.ring(1, ROW)
    out = torch.zeros(1, dtype=torch.int64, device="cuda")
    wrong = count = 0
    graph, began = None, time.perf_counter()
    while time.perf_counter() - began < seconds:
        while (block := slots.take(f"batch {count}")) is None:
            slots.wait_free(0.01)
        source = np.full(ROW // 4, count % 1000, np.int32)
        copy = cuda.submit([(source, block.address)], [], None, None, [block], [])
        array = block.array(copy, 0, [ROW // 4], "int32")
        x = torch.from_dlpack(array)
        if graph is None:
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out.copy_(x.sum(dtype=torch.int64).reshape(1))
        copy.make_wait(torch.cuda.current_stream().cuda_stream)
        graph.replay()
        wrong += int(out.item()) != (count % 1000) * (ROW // 4)
        count += 1
        del x, array, block
    say(f"mode C with a CUDA graph: wrong batches of {count}", wrong, "", "0", wrong == 0)


class NoWait(device_movers.TorchMover):
    """Guard off: the consumer's stream does not wait for the copy."""

    def end(self, moving):
        return device_movers.CudaMover.end(self, moving)


class NoTargetGuard(device_movers.TorchMover):
    """Guard off: copies do not wait for the consumer's queued reads."""

    def _submit(self, sources, addresses, after, host, blocks):
        return super()._submit(sources, addresses, [], host, blocks)


def controls(ds, seconds):
    for name, mover in (
        ("the consumer's wait", NoWait),
        ("the wait before the copy", NoTargetGuard),
    ):
        before, device_movers.TorchMover = device_movers.TorchMover, mover
        try:
            with ds.loader(batch_size=BATCH, decode={"bin": bytes}, device="cuda:0") as loader:
                count, wrong = consume(loader, 3000, seconds)
        finally:
            device_movers.TorchMover = before
        say(f"inverse control without {name}: wrong of {count}", wrong, "", "> 0", wrong > 0)
    cuda, wrong = _core.Cuda(0), 0
    target = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    source = torch.zeros(64 << 20, dtype=torch.uint8, pin_memory=True).numpy()
    for _ in range(20):
        source[:] = 1
        copy = cuda.submit([(source, target.data_ptr())], [], None, None, [], [])
        source[:] = 2  # guard off: the slot is used again at once
        copy.wait()
        wrong += bool((target != 1).any().item())
    say("inverse control without the slot's event: wrong of 20", wrong, "", "> 0", wrong > 0)


def main():
    batches = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        write_shards(root, 4, SAMPLES // 4, lambda i: {"bin": patterned(i, ROW)})
        with hr.open(str(root)) as ds:
            modes(ds, batches, seconds)
            controls(ds, 15.0)
    ring(10.0)


if __name__ == "__main__":
    main()
