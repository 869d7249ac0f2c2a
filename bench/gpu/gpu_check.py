# SPDX-License-Identifier: Apache-2.0
"""What the checks on a GPU share: their lines of report, data made on the spot, a consumer of known
length."""

import io
import json
import tarfile
import time

import numpy as np


def say(name, value, unit, goal="", ok=None):
    """One line of the table; `ok` None: a figure without a goal."""
    line = {"name": name, "value": value, "unit": unit, "goal": goal, "ok": ok}
    print(json.dumps(line), flush=True)


def seconds_of(work, least=0.3, most=2000):
    """Mean seconds of work(), repeated for `least` seconds; the GPU is idle before and after."""
    import torch

    work()
    torch.cuda.synchronize()
    count, began = 0, time.perf_counter()
    while count < most and (count < 3 or time.perf_counter() - began < least):
        work()
        count += 1
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def write_shards(folder, shards, samples, fields):
    """Tars of `samples` each; fields(number) gives {extension: bytes}."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"t-{shard:03d}.tar", "w") as tar:
            for i in range(shard * samples, (shard + 1) * samples):
                for extension, content in fields(i).items():
                    info = tarfile.TarInfo(f"{i:08d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def patterned(number, nbytes):
    """Bytes whose sum is known: the sample's number in each word."""
    return np.full(nbytes // 4, number, np.int32).tobytes()


class Gemm:
    """A training-like load: matrix products of about `step_ms` on the current stream."""

    def __init__(self, step_ms, size=4096):
        import torch

        self._a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
        self._b = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
        one = seconds_of(lambda: torch.mm(self._a, self._b))
        self._times = max(1, round(step_ms / 1e3 / one))

    def step(self):
        import torch

        for _ in range(self._times):
            out = torch.mm(self._a, self._b)
        return out
