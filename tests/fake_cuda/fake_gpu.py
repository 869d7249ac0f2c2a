# SPDX-License-Identifier: Apache-2.0
"""The fake CUDA driver for Python tests: compiled where it is not there yet, told and asked by ctypes,
and a memory of host tensors in the place of torch's."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COUNTS = ("races", "violations", "copies", "pageable_copies", "device_bytes", "calls", "nanos")
SOURCES = ("fake_api.cc", "fake_control.cc", "world.cc", "world.h", "fake_cuda.h")


def library():
    """The path of libfake_cuda.so: the one of HEADRACE_FAKE_CUDA, or built once for each state of its
    sources."""
    if given := os.environ.get("HEADRACE_FAKE_CUDA"):
        return Path(given)
    text = b"".join((HERE / name).read_bytes() for name in SOURCES)
    folder = Path(tempfile.gettempdir(), f"headrace-fake-cuda-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"libfake_cuda-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not path.exists():
        made = path.with_suffix(f".{os.getpid()}")
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O1", "-shared", "-fPIC"]
        command += [str(HERE / name) for name in SOURCES if name.endswith(".cc")]
        subprocess.run([*command, "-o", str(made)], check=True)
        made.rename(path)
    return path


def has_compiler():
    return shutil.which(os.environ.get("CXX", "c++")) is not None


class FakeGpu:
    """The control functions of fake_cuda.h."""

    def __init__(self):
        self.lib = ctypes.CDLL(str(library()))
        for name in COUNTS:
            getattr(self.lib, f"fake_{name}").restype = ctypes.c_uint64
        self.lib.fake_report.restype = ctypes.c_char_p
        self.lib.fake_stream_on.restype = ctypes.c_void_p

    def configure(self, text):
        self.lib.fake_configure(text.encode())

    def new_stream(self, device=0):
        return self.lib.fake_stream_on(device)

    def read(self, stream, address, nbytes):
        """The bytes at `address` as a kernel on `stream` will find them; valid after finish()."""
        out = ctypes.create_string_buffer(nbytes)
        self.lib.fake_read(
            ctypes.c_void_p(stream), ctypes.c_uint64(address), ctypes.c_size_t(nbytes), out,
            ctypes.c_uint64(100),
        )  # fmt: skip
        return out

    def finish(self, stream):
        self.lib.fake_finish(ctypes.c_void_p(stream))

    def drain(self):
        self.lib.fake_drain()

    def step(self, steps):
        self.lib.fake_step(ctypes.c_uint64(steps))

    def fail(self, nth, code):
        self.lib.fake_fail(ctypes.c_uint64(nth), code)

    def fail_of(self, name, nth, code):
        """The nth call from now of one function."""
        self.lib.fake_fail_of(name.encode(), ctypes.c_uint64(nth), code)

    def forget(self):
        self.lib.fake_forget()

    def __getattr__(self, name):
        if name in COUNTS:
            return getattr(self.lib, f"fake_{name}")()
        if name == "report":
            return self.lib.fake_report().decode()
        raise AttributeError(name)


class HostMemory:
    """In the place of headrace.device_movers.TorchMemory: CPU tensors, and one consumer's stream a
    device.

    Tensors are kept: on a GPU torch's allocator would keep the memory for the stream.
    """

    consumers = {}

    def __init__(self, ordinal):
        self.ordinal = ordinal
        self.kept = []

    def empty(self, shape, dtype):
        import numpy as np
        import torch

        made = torch.from_numpy(np.full(shape, 0xDD % 251, dtype))
        self.kept.append(made)
        return made

    def stream(self):
        return HostMemory.consumers[self.ordinal]
