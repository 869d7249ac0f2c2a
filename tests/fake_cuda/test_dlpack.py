# SPDX-License-Identifier: Apache-2.0
"""Arrays that frameworks take by DLPack: what they see, how long it lives, and who may drop it when:
early, late, on any thread, in a forked child, after the interpreter's end."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from exit_scenario import Taken
from fake_gpu import library

import headrace as hr
from headrace import _core

EXITS = int(os.environ.get("HEADRACE_EXITS", "12"))  # 950 for the record
SECONDS = 600 + 4 * EXITS  # of a child; the record's run beside other work
FRAMEWORKS = ["numpy", "torch", "jax"]
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "float16", "uint32", "int32", "float32"]
DTYPES += ["uint64", "int64", "float64"]


def taker(framework):
    if framework == "numpy":
        return np.from_dlpack
    if framework == "torch":
        return pytest.importorskip("torch").from_dlpack
    return pytest.importorskip("jax.dlpack").from_dlpack


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 5), (0, 4)])
def test_frameworks_see_the_same_numbers(framework, shape):
    take = taker(framework)
    for name in DTYPES:
        if framework == "jax" and name in ("uint64", "int64", "float64"):
            continue  # needs jax_enable_x64
        given = (np.arange(int(np.prod(shape))).reshape(shape) % 2).astype(name)
        taken = take(_core.DeviceArray.of_host(given))
        assert tuple(taken.shape) == shape
        assert str(taken.dtype).removeprefix("torch.") == name
        assert (np.asarray(taken) == given).all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_taken_lives_on_without_its_producer(framework):
    take = taker(framework)
    held = [take(_core.DeviceArray.of_host(np.full(1000, i, np.int32))) for i in range(50)]
    again = [_core.DeviceArray.of_host(np.full(1000, -1, np.int32)) for _ in range(50)]
    assert [int(np.asarray(array)[999]) for array in held] == list(range(50))
    del again


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_threads_take_and_drop_at_the_same_time(framework):
    take = taker(framework)
    source = _core.DeviceArray.of_host(np.arange(512, dtype=np.int32))
    wrong = []

    def work():
        for _ in range(50):
            taken = take(source)
            if int(np.asarray(taken)[511]) != 511:
                wrong.append(1)
            unused = source.__dlpack__()
            del taken, unused

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_versions_flags_and_names_are_dlpacks():
    array = _core.DeviceArray.of_host(np.zeros((2, 3), np.float32))
    names = ctypes.pythonapi.PyCapsule_GetName
    names.restype, names.argtypes = ctypes.c_char_p, [ctypes.py_object]
    assert names(array.__dlpack__()) == b"dltensor"
    assert names(array.__dlpack__(max_version=(0, 8))) == b"dltensor"
    assert names(array.__dlpack__(max_version=(1, 1))) == b"dltensor_versioned"
    for copied, flags in [(None, 0), (False, 0), (True, 2)]:
        taken = Taken(array, max_version=(1, 0), copy=copied)
        major, minor = (ctypes.c_uint32 * 2).from_address(taken.address)
        assert (major, minor) == (1, 0)
        assert ctypes.c_uint64.from_address(taken.address + 24).value == flags
        taken.drop()
    assert array.__dlpack_device__() == (1, 0)


def test_a_copy_is_one():
    array = _core.DeviceArray.of_host(np.zeros(4, np.int64))
    one, other = np.from_dlpack(array), np.from_dlpack(array, copy=True)
    shared = np.from_dlpack(array)
    other[:] = 7
    assert (one == 0).all()
    assert shared.ctypes.data == one.ctypes.data != other.ctypes.data


def test_what_cannot_be_exported_is_a_buffer_error():
    array = _core.DeviceArray.of_host(np.zeros(4, np.int64))
    with pytest.raises(BufferError, match=r"device \(1, 0\) cannot be had on \(2, 0\)"):
        array.__dlpack__(dl_device=(2, 0))
    with pytest.raises(ValueError, match="no stream"):
        array.__dlpack__(stream=1)
    with pytest.raises(TypeError):
        _core.DeviceArray.of_host(np.zeros(4, np.complex64))


# --- on the fake GPU -----------------------------------------------------------------------------


def on_gpu(gpu, value, nbytes=256):
    """The copy, the array, and what must live until the copy is done."""
    cuda = _core.Cuda(0)
    block = cuda.take(nbytes)
    source = np.full(nbytes, value, np.uint8)
    copy = cuda.submit([(source, block.address)], [], None, None, [block], [])
    return copy, block.array(copy, 0, [nbytes], "uint8"), source


def test_streams_follow_the_array_apis_rules(gpu):
    copy, array, source = on_gpu(gpu, 3)
    with pytest.raises(ValueError, match="ambiguous"):
        array.__dlpack__(stream=0)
    with pytest.raises(BufferError, match="stream=-1"):
        array.__dlpack__(stream=-1, copy=True)
    with pytest.raises(BufferError, match="without a copy"):
        array.__dlpack__(dl_device=(1, 0), copy=False)
    assert array.__dlpack_device__() == (2, 0)
    for stream in (None, 1, 2, -1, gpu.consumer):
        array.__dlpack__(stream=stream)
    interface = array.__cuda_array_interface__
    assert interface["data"] == (array.address, False)
    assert (interface["typestr"], interface["shape"], interface["version"]) == ("|u1", (256,), 3)
    copy.wait()
    assert (array.numpy() == source).all()


@pytest.mark.parametrize("seed", range(1, 10))
def test_a_copy_on_the_gpu_is_made_on_the_consumers_stream(gpu, seed):
    gpu.configure(f"seed={seed}")
    copy, array, source = on_gpu(gpu, 9)
    taken = Taken(array, stream=gpu.consumer, copy=True)
    address = ctypes.c_uint64.from_address(taken.address).value
    assert address != array.address
    kernel = gpu.read(gpu.consumer, address, 256)
    del array
    gpu.finish(gpu.consumer)
    assert kernel.raw == source.tobytes()
    taken.drop_on_foreign_thread()
    copy.wait()
    assert gpu.races == 0, gpu.report


@pytest.mark.parametrize("name", ["cuMemcpyDtoHAsync", "cuStreamSynchronize", "cuMemcpyDtoDAsync"])
def test_a_copy_from_the_gpu_that_fails_is_an_error_and_the_next_is_right(gpu, name):
    _, array, source = on_gpu(gpu, 5)
    on_device = name == "cuMemcpyDtoDAsync"
    gpu.fail_of(name, 1, 999)
    with pytest.raises(hr.Error, match=r"copy an array (to the host|on the GPU): .*\(999\)"):
        if on_device:
            array.__dlpack__(stream=gpu.consumer, copy=True)
        else:
            array.numpy()
    gpu.fail(0, 0)
    assert (array.numpy() == source).all()
    assert gpu.races == 0, gpu.report


@pytest.mark.parametrize("seed", range(1, 31))
def test_a_capsule_dropped_while_its_kernel_is_queued_frees_nothing_early(gpu, seed):
    gpu.configure(f"seed={seed}")
    kernels, copies, sources = [], [], []
    for i in range(8):
        copy, array, source = on_gpu(gpu, i)
        copies.append(copy)
        sources.append(source)
        taken = Taken(array, stream=gpu.consumer, max_version=(1, 0))
        kernels.append(gpu.read(gpu.consumer, array.address, 256))
        if i % 2:
            del array
            taken.drop_on_foreign_thread()
        else:
            taken.drop()
            del array
    for copy in copies:
        copy.wait()
    gpu.finish(gpu.consumer)
    assert [kernel.raw[0] for kernel in kernels] == list(range(8))
    assert gpu.races == 0, gpu.report


def child(program, *words):
    tree = Path(__file__).resolve().parents[2] / "python"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tree}:{Path(__file__).parent}",
        "HEADRACE_CUDA_LIB": str(library()),
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.run(
        [sys.executable, *program, *map(str, words)], env=environment, capture_output=True,
        text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.mark.parametrize("framework", ["numpy", "capsule", "torch"])
def test_the_interpreter_ends_with_arrays_alive(framework):
    if framework == "torch":
        pytest.importorskip("torch")
    few = 25 if EXITS > 100 else 2
    count = {"numpy": EXITS, "capsule": min(EXITS, 25), "torch": few}[framework]
    done = child([str(Path(__file__).parent / "exit_scenario.py")], framework, 1, count)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_the_interpreter_ends_with_arrays_alive_in_jax():
    pytest.importorskip("jax")
    for seed in range(1 if EXITS < 100 else 25):
        done = child([str(Path(__file__).parent / "exit_scenario.py")], "jax", seed + 1, 1)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]


FORK = """
import os, sys
import numpy as np
from headrace import _core
import headrace as hr
cuda = _core.Cuda(0)
block = cuda.take(4096)
source = np.zeros(4096, np.uint8)
copy = cuda.submit([(source, block.address)], [], None, None, [block], [])
array = block.array(copy, 0, [4096], "uint8")
memory = cuda.pinned(1 << 20)
capsule = array.__dlpack__(stream=1)
child = os.fork()
if child == 0:
    del capsule, array, block, memory, copy      # no call of the driver: the fake would abort
    for attempt in (lambda: cuda.take(1), lambda: _core.Cuda(0)):
        try:
            attempt()
        except hr.Error as fault:
            assert "fork" in str(fault), fault
        else:
            sys.exit(4)
    sys.exit(0)
status = os.waitpid(child, 0)[1]
copy.wait()
assert (array.numpy() == 0).all()                # the parent goes on
sys.exit(status != 0)
"""


def test_a_forked_child_drops_arrays_silently_and_is_told_to_spawn():
    done = child(["-c", FORK])
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


IMPORT = """
import os, sys
import headrace, headrace.device_movers
maps = open("/proc/self/maps").read()
assert "fake_cuda" not in maps and "libcuda" not in maps
assert not any("hr-cop" in open(f"/proc/self/task/{t}/comm").read() for t in os.listdir("/proc/self/task"))
"""


def test_importing_touches_no_driver():
    done = child(["-c", IMPORT])
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
