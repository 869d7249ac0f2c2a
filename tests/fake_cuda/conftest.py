# SPDX-License-Identifier: Apache-2.0
"""Loaders over a small local data set, with the fake GPU under them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parent))

from fake_gpu import FakeGpu, HostMemory, has_compiler, library
from small_data import SAMPLES, png, write_tar

if not has_compiler():
    collect_ignore_glob = ["test_*.py"]


def fields(i):
    rng = np.random.default_rng(i)
    return {
        "bin": rng.bytes(300 + i % 50),
        "cls": str(i % 7).encode(),
        "npy": npy(np.full((4, 5), i, np.float32)),
        "png": png(rng.integers(0, 255, (8, 8, 3), np.uint8)),
        "txt": f"sample {i}".encode(),
    }


def npy(array):
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("device")
    for shard in range(3):
        write_tar(root / f"t-{shard}.tar", shard * 200, 200, fields)
    assert SAMPLES == 600
    return root


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def gpu(monkeypatch):
    """The fake driver, fresh counts; torch is told that it has a CUDA device of host memory."""
    os.environ["HEADRACE_CUDA_LIB"] = str(library())  # read once, by the first of these tests
    fake = FakeGpu()
    fake.drain()
    fake.fail(0, 0)
    fake.forget()
    fake.configure("seed=1 devices=2")
    from headrace import device, device_movers

    monkeypatch.setattr(device, "_check_torch_cuda", lambda where, faults: None)
    monkeypatch.setattr(device_movers, "TorchMemory", HostMemory)
    for ordinal in (0, 1):
        HostMemory.consumers.setdefault(ordinal, fake.new_stream(ordinal))
    fake.consumers = HostMemory.consumers
    fake.consumer = HostMemory.consumers[0]
    yield fake
    fake.drain()
    assert fake.violations == 0, fake.report
