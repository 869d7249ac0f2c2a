# SPDX-License-Identifier: Apache-2.0
"""A program that ends while arrays of ours are alive in every way that a framework may leave them:

    exit_scenario.py FRAMEWORK FIRST COUNT    each seed in a forked child, through the interpreter's own end

FRAMEWORK: numpy, torch, jax, or capsule (CuPy's way: the capsule is taken and its deleter called by
hand). The fake driver is strict: a call after the end, or of a child, aborts the child.
"""

import atexit
import ctypes
import gc
import importlib
import os
import random
import sys
import threading
import time

import numpy as np

from headrace import _core

KEPT = []


class Holder:
    """In a cycle, dropped by the collector at the end."""

    def __init__(self, thing):
        self.thing = thing
        self.me = self

    def __del__(self):
        del self.thing


class Taken:
    """CuPy's way: takes the tensor out of its capsule and calls the deleter when it is dropped."""

    def __init__(self, array, **options):
        capsule = array.__dlpack__(**options)
        versioned = "max_version" in options
        name = b"dltensor_versioned" if versioned else b"dltensor"
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype = ctypes.c_void_p
        api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
        self.address = api.PyCapsule_GetPointer(capsule, name)
        self._name = b"used_" + name
        api.PyCapsule_SetName(capsule, self._name)
        del capsule
        # version 0: tensor (48 bytes), context, deleter; version 1: version, context, deleter.
        place = self.address + (16 if versioned else 56)
        self.deleter = ctypes.c_void_p.from_address(place).value

    def drop(self):
        """Without the GIL."""
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.deleter)(self.address)

    def drop_on_foreign_thread(self):
        """On a thread that Python has never seen."""
        thread = ctypes.c_ulong()
        libc = ctypes.CDLL(None)
        libc.pthread_create(
            ctypes.byref(thread), None, ctypes.c_void_p(self.deleter), ctypes.c_void_p(self.address)
        )
        libc.pthread_join(thread, None)


def take(framework, array):
    if framework == "torch":
        import torch

        return torch.from_dlpack(array)
    if framework == "jax":
        import jax.dlpack

        return jax.dlpack.from_dlpack(array)
    return np.from_dlpack(array)


def device_arrays(cuda, count):
    for i in range(count):
        block = cuda.take(4096)
        source = np.full(4096, i, np.uint8)
        copy = cuda.submit([(source, block.address)], [], None, None, [block], [])
        yield block.array(copy, 0, [4096], "uint8")
        KEPT.extend([source, copy])


def leave(thing, draw):
    """Keeps, drops or hands away one thing."""
    way = draw.randrange(6)
    if way == 0:
        KEPT.append(thing)
    elif way == 1:
        Holder(thing)
    elif way == 2:
        threading.Thread(target=hold_for_ever, args=(thing,), daemon=True).start()
    elif way == 3:
        atexit.register(KEPT.append, thing)
    elif way == 4:
        sys.modules[f"kept {id(thing)}"] = thing
    else:
        threading.Thread(target=lambda: thing).start()


def hold_for_ever(thing):
    while True:
        time.sleep(0.001)
        assert thing is not None


def scenario(framework, seed):
    draw = random.Random(seed)
    lib = ctypes.CDLL(os.environ["HEADRACE_CUDA_LIB"])
    lib.fake_configure(f"seed={seed} strict=1".encode())
    cuda = _core.Cuda(0)
    atexit.register(lib.fake_exit)  # runs behind the next
    atexit.register(_core.stop_cuda)
    for array in device_arrays(cuda, 4):
        stream = draw.choice([1, 2, -1])
        if framework == "capsule":
            options = draw.choice([{"stream": stream}, {"stream": stream, "max_version": (1, 0)}])
            taken = Taken(array, **options)
            draw.choice([taken.drop, taken.drop_on_foreign_thread, lambda: None])()
        else:
            leave(array.__dlpack__(stream=stream), draw)  # never taken
        leave(array, draw)
    if framework != "capsule":
        for i in range(4):
            array = _core.DeviceArray.of_host(np.full((3, 5), i, np.float32))
            taken = take(framework, array)
            assert float(taken[2, 4]) == i
            leave(taken, draw)
            leave(array, draw)
    if draw.random() < 0.5:
        gc.collect()


def main():
    framework, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if framework == "torch":
        importlib.import_module("torch")  # once, before the children
    if framework == "jax" or count == 1:  # does not live through a fork
        scenario(framework, first)
        return 0
    failed = []
    for seed in range(first, first + count):
        child = os.fork()
        if child == 0:
            scenario(framework, seed)
            return 0  # through the interpreter's own end
        _, status = os.waitpid(child, 0)
        if status != 0:
            failed.append((seed, status))
    print(f"{count - len(failed)} of {count} ended well; failed (seed, status): {failed[:5]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
