# SPDX-License-Identifier: Apache-2.0
"""Several loaders and several (fake) GPUs in one process, which GPU is whose, and what the core's
threads are told."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_gpu import library

import headrace as hr
from headrace import _core, device_threads

torch = pytest.importorskip("torch")

OPTIONS = {
    "batch_size": 32,
    "seed": 3,
    "decode": {"png": hr.decode.image(8), "cls": int},
    "memory": "64MiB",
}


@pytest.fixture(scope="module")
def wanted(folder):
    with hr.open(str(folder)) as ds, ds.loader(**OPTIONS) as loader:
        return [(batch.ids.copy(), batch["png"].copy()) for batch in loader]


def check(gpu, ordinal, batch, wanted):
    """The images as the consumer's stream of that GPU finds them."""
    array = batch["png"]
    ids, png = wanted
    stream = gpu.consumers[ordinal]
    if isinstance(array, torch.Tensor):
        kernel = gpu.read(stream, array.data_ptr(), array.nbytes)
    else:
        assert array.__dlpack_device__() == (2, ordinal)
        capsule = array.__dlpack__(stream=stream)
        kernel = gpu.read(stream, array.address, array.nbytes)
        del capsule
    gpu.finish(stream)
    assert (batch.ids == ids).all()
    assert kernel.raw == png.tobytes()


def test_two_loaders_on_one_device(gpu, folder, wanted):
    with (
        hr.open(str(folder)) as ds,
        ds.loader(device="cuda:0", **OPTIONS) as one,
        ds.loader(device=hr.Device("cuda:0", arrays="dlpack"), **OPTIONS) as other,
    ):
        for a, b, w in zip(one, other, wanted, strict=True):
            assert (b["png"].numpy() == w[1]).all()
            check(gpu, 0, a, w)
    assert gpu.races == 0, gpu.report


DEVICES = [
    [hr.Device("cuda:0"), hr.Device("cuda:1")],
    [hr.Device("cuda:0", arrays="dlpack"), hr.Device("cuda:1", arrays="dlpack")],
    [hr.Device("cuda:1", arrays="dlpack", ring=3), hr.Device("cuda:0"), hr.Device("cuda:1")],
]


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loaders_of_several_devices_run_side_by_side(gpu, folder, wanted, devices, seed):
    gpu.configure(f"seed={seed}")
    faults = []

    def train(ds, device):
        try:
            ordinal = int(device.place[-1])
            with ds.loader(device=device, **OPTIONS) as loader:
                for batch, w in zip(loader, wanted, strict=True):
                    check(gpu, ordinal, batch, w)
                    del batch
        except BaseException as fault:
            faults.append(fault)

    with hr.open(str(folder)) as ds:
        threads = [threading.Thread(target=train, args=(ds, device)) for device in devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults, faults
    assert gpu.races == 0, gpu.report


def test_an_ordinal_that_is_not_there_says_how_many_there_are(gpu, folder):
    device = hr.Device("cuda:7", arrays="dlpack")
    with (
        hr.open(str(folder)) as ds,
        ds.loader(device=device, **OPTIONS) as loader,
        pytest.raises(hr.Error, match="open cuda:7: this process sees 2 GPU"),
    ):
        next(iter(loader))


ORDINAL = """
import headrace as hr
from headrace.device import place
from headrace.options import Faults
faults = Faults("make loader")
print(place(hr.Device("cuda", arrays="dlpack"), faults).mover()._cuda.name)
"""


@pytest.mark.parametrize(
    ("devices", "rank", "name"), [(2, "1", "fake GPU 1"), (1, "3", "fake GPU 0"), (2, None, "fake GPU 0")]
)  # fmt: skip
def test_a_rank_takes_its_gpu_or_the_only_one_it_sees(devices, rank, name):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "python"),
        "HEADRACE_CUDA_LIB": str(library()),
        "FAKE_CUDA": f"devices={devices}",
    }
    environment.pop("LOCAL_RANK", None)
    if rank is not None:
        environment["LOCAL_RANK"] = rank
    done = subprocess.run(
        [sys.executable, "-c", ORDINAL], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == name, done.stderr


# --- threads -------------------------------------------------------------------------------------


def threads_of_the_core():
    """(niceness, cores) of each."""
    found = []
    for task in map(int, os.listdir("/proc/self/task")):
        with open(f"/proc/self/task/{task}/comm", encoding="ascii") as file:
            if file.read().startswith("hr-"):
                found.append((os.getpriority(os.PRIO_PROCESS, task), os.sched_getaffinity(task)))
    return found


def test_threads_have_the_niceness_and_cores_that_were_asked_for(gpu, folder):
    before = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    core = max(os.sched_getaffinity(0))
    mine = []

    def transform(sample):
        mine.append((os.getpriority(os.PRIO_PROCESS, threading.get_native_id()),
                     os.sched_getaffinity(threading.get_native_id())))  # fmt: skip
        return {"x": sample["cls"]}

    device = hr.Device("cuda:0", nice=5, cores=range(core, core + 1))
    with hr.open(str(folder)) as ds, ds.loader(device=device, **OPTIONS) as loader:
        next(iter(loader))
        found = threads_of_the_core()
        assert len(found) >= 4  # a loop, a worker, two of the copier
        assert all(one == (5, {core}) for one in found), found
    with (
        hr.open(str(folder)) as ds,
        ds.loader(device=device, transform=transform, **OPTIONS) as loader,
    ):
        next(iter(loader))
    assert set(map(str, mine)) == {str((5, {core}))}
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == before


def test_what_threads_cannot_be_told_is_said_beforehand_or_in_the_log(gpu, folder, caplog):
    with hr.open(str(folder)) as ds:
        for options in ({"nice": 20}, {"nice": "5"}, {"cores": []}, {"cores": [-1]}, {"cores": 3}):
            with pytest.raises(hr.OptionError, match=next(iter(options))):
                ds.loader(device=hr.Device("cuda:0", **options), **OPTIONS)
        nowhere = hr.Device("cuda:0", cores=[1023])
        with ds.loader(device=nowhere, **OPTIONS) as loader:
            next(iter(loader))  # goes on where it is
    assert "cores=frozenset({1023})" in caplog.text
    quiet = device_threads.quiet_own_thread(nowhere)
    assert quiet is not None
    quiet()
    assert device_threads.quiet_own_thread(hr.Device("cuda:0")) is None


@pytest.mark.parametrize(("value", "workers"), [("3", 3), ("9999", None), ("two", None)])
def test_the_number_of_workers_can_be_set_by_the_environment(monkeypatch, value, workers):
    usual = _core.runtime_defaults()["workers"]
    monkeypatch.setenv("HEADRACE_THREADS", value)
    assert _core.runtime_defaults()["workers"] == (usual if workers is None else workers)
    if workers is None:
        assert any("HEADRACE_THREADS" in text for _, text in _core.take_log())
