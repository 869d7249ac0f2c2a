# SPDX-License-Identifier: Apache-2.0
"""Loaders with device="cuda:0" on the fake GPU: the same batches as without a device, in torch's
memory (mode A), in our own by DLPack (mode B) and in a ring (mode C), on many schedules."""

import numpy as np
import pytest

import headrace as hr
from headrace import _core

torch = pytest.importorskip("torch")

DECODE = {"png": hr.decode.image(8), "cls": int, "bin": bytes, "txt": str, "npy": "npy"}
OPTIONS = {"batch_size": 32, "seed": 3, "decode": DECODE, "memory": "64MiB"}


def host_batches(folder, **options):
    with hr.open(str(folder)) as ds, ds.loader(**{**OPTIONS, **options}) as loader:
        return [
            (b.ids.copy(), b["png"].copy(), b["cls"].copy(), b["bin"].to_list(), b["txt"].to_list())
            for b in loader
        ]


def raw(kernel, like):
    return np.frombuffer(kernel.raw, like.dtype).reshape(like.shape)


@pytest.mark.parametrize("seed", range(1, 13))
def test_mode_a_delivers_the_same_batches_on_every_schedule(gpu, folder, seed):
    wanted = host_batches(folder)
    gpu.configure(f"seed={seed}")
    seen = []
    with hr.open(str(folder)) as ds, ds.loader(device="cuda:0", **OPTIONS) as loader:
        for batch in loader:
            assert isinstance(batch["png"], torch.Tensor)
            kernels = [
                gpu.read(gpu.consumer, t.data_ptr(), t.nbytes)
                for t in (batch["png"], batch["cls"], batch["bin"].values, batch["bin"].offsets)
            ]
            seen.append((batch.ids, kernels, batch["txt"].to_list()))
            del batch  # the kernels are still queued
    gpu.finish(gpu.consumer)
    assert len(seen) == len(wanted)
    for (ids, kernels, text), (w_ids, w_png, w_cls, w_bin, w_txt) in zip(seen, wanted, strict=True):
        assert (ids == w_ids).all()
        assert text == w_txt
        assert (raw(kernels[0], w_png) == w_png).all()
        assert (raw(kernels[1], w_cls) == w_cls).all()
        assert kernels[2].raw == b"".join(w_bin)
        assert np.frombuffer(kernels[3].raw, np.int64)[-1] == sum(map(len, w_bin))
    assert gpu.races == 0, gpu.report


def test_batches_lie_in_page_locked_memory_and_say_where_the_time_went(gpu, folder):
    before, unpinned = gpu.pageable_copies, _core.Cuda(0).stats()["unpinned_bytes"]
    with hr.open(str(folder)) as ds, ds.loader(device="cuda:0", **OPTIONS) as loader:
        for _ in loader:
            pass
        stats = loader.stats()
    assert gpu.pageable_copies == before
    assert stats["pinned_bytes"] > 0
    assert stats["device_unpinned_bytes"] == unpinned
    assert stats["device_bytes"] > 18 * 32 * 192


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mode_b_hands_out_arrays_of_our_own_memory(gpu, folder, seed):
    wanted = host_batches(folder)
    gpu.configure(f"seed={seed}")
    device = hr.Device("cuda:0", arrays="dlpack")
    seen = []
    with hr.open(str(folder)) as ds, ds.loader(device=device, **OPTIONS) as loader:
        for batch in loader:
            array = batch["png"]
            assert (array.shape, array.dtype, array.device) == ((32, 3, 8, 8), "uint8", "cuda:0")
            assert array.__dlpack_device__() == (2, 0)
            capsule = array.__dlpack__(stream=gpu.consumer)
            seen.append(gpu.read(gpu.consumer, array.address, array.nbytes))
            del capsule, array, batch
    gpu.finish(gpu.consumer)
    for kernel, (_, w_png, *_) in zip(seen, wanted, strict=True):
        assert (raw(kernel, w_png) == w_png).all()
    assert gpu.races == 0, gpu.report


def test_an_array_of_the_gpu_comes_back_by_numpy_and_by_dl_device(gpu, folder):
    wanted = host_batches(folder)
    device = hr.Device("cuda:0", arrays="dlpack")
    with hr.open(str(folder)) as ds, ds.loader(device=device, **OPTIONS) as loader:
        batch = next(iter(loader))
        assert (batch["png"].numpy() == wanted[0][1]).all()
        assert (np.from_dlpack(batch["png"], device="cpu") == wanted[0][1]).all()
        host = batch["png"].host()
        assert host.device == "cpu"
        assert (torch.from_dlpack(host).numpy() == wanted[0][1]).all()


def test_mode_c_has_fixed_addresses_and_blocks_while_a_slot_is_held(gpu, folder, caplog):
    wanted = host_batches(folder)
    device = hr.Device("cuda:0", arrays="dlpack", ring=3)
    addresses, seen = [], []
    with hr.open(str(folder)) as ds, ds.loader(device=device, **OPTIONS | NO_RAGGED) as loader:
        for batch in loader:
            array = batch["png"]
            addresses.append(array.address)
            capsule = array.__dlpack__(stream=gpu.consumer)
            seen.append(gpu.read(gpu.consumer, array.address, array.nbytes))
            del capsule, array, batch
    gpu.finish(gpu.consumer)
    assert len(set(addresses)) == 3
    for kernel, (_, w_png, *_) in zip(seen, wanted, strict=True):
        assert (raw(kernel, w_png) == w_png).all()
    assert gpu.races == 0, gpu.report


NO_RAGGED = {"decode": {"png": hr.decode.image(8), "cls": int}}


def test_a_ring_whose_slots_are_all_held_names_the_holders(gpu, folder):
    device = hr.Device("cuda:0", arrays="dlpack", ring=2, ring_timeout=0.2)
    held = []
    with hr.open(str(folder)) as ds, ds.loader(device=device, **OPTIONS | NO_RAGGED) as loader:
        with pytest.raises(hr.LimitError, match="all 2 are held") as caught:
            held.extend(loader)
        assert len(held) == 2
        for batch in held:
            assert f"the batch at epoch 0 position {batch.position} (for" in str(caught.value)
        assert held[0]["cls"].address != held[1]["cls"].address


def test_transformed_columns_go_from_ordinary_memory(gpu, folder):
    def transform(sample):
        return {"x": sample["npy"] * 2, "y": sample["cls"], "name": sample["txt"]}

    wanted = host_batches(folder)
    seen = []
    options = {**OPTIONS, "transform": transform}
    with hr.open(str(folder)) as ds, ds.loader(device="cuda:0", **options) as loader:
        for batch in loader:
            x = batch["x"]
            seen.append((gpu.read(gpu.consumer, x.data_ptr(), x.nbytes), batch["name"].to_list()))
    gpu.finish(gpu.consumer)
    for (kernel, names), (ids, _, _, _, w_txt) in zip(seen, wanted, strict=True):
        assert np.frombuffer(kernel.raw, np.float32).tolist() == np.repeat(ids * 2.0, 20).tolist()
        assert names == w_txt
    assert gpu.pageable_copies > 0


def test_break_and_resume_with_batches_on_their_way(gpu, folder):
    wanted = host_batches(folder)
    seen = []
    with hr.open(str(folder)) as ds, ds.loader(device="cuda:0", **OPTIONS) as loader:
        for i, batch in enumerate(loader):
            seen.append(batch.ids)
            if i == 4:
                break
        state = loader.state_dict()
    with hr.open(str(folder)) as ds, ds.loader(device="cuda:0", **OPTIONS) as loader:
        loader.load_state_dict(state)
        seen += [batch.ids for batch in loader]
    assert [list(ids) for ids in seen] == [list(w[0]) for w in wanted]


def test_a_failed_copy_is_an_error_that_names_it(gpu, folder):
    with hr.open(str(folder)) as ds, ds.loader(device="cuda:0", **OPTIONS) as loader:
        batches = iter(loader)
        next(batches)
        gpu.fail(1, 719)
        with pytest.raises(hr.Error, match=r"CUDA_ERROR_LAUNCH_FAILED.*restart the process"):
            for _ in batches:
                pass
        gpu.fail(0, 0)


def test_an_error_in_the_data_comes_behind_the_good_batches(gpu, folder):
    def transform(sample):
        if sample["txt"] == "sample 500":
            raise ValueError("bad")
        return {"x": sample["cls"]}

    options = {**OPTIONS, "transform": transform, "shuffle": False}
    got = []
    with (
        hr.open(str(folder)) as ds,
        ds.loader(device="cuda:0", **options) as loader,
        pytest.raises(ValueError, match="bad"),
    ):
        got.extend(batch.position for batch in loader)
    assert got == list(range(0, 480, 32))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """64 samples of about 300 KiB, each word its number."""
    from small_data import write_tar

    root = tmp_path_factory.mktemp("large")
    for shard in range(2):
        write_tar(
            root / f"t-{shard}.tar", shard * 32, 32,
            lambda i: {"bin": np.full(75_000 + i, i, np.int32).tobytes()},
        )  # fmt: skip
    return root


@pytest.mark.parametrize("arrays", ["torch", "dlpack"])
def test_large_samples_are_gathered_by_the_copy_from_where_they_landed(gpu, large, arrays):
    device = hr.Device("cuda:0", arrays=arrays)
    options = {"batch_size": 8, "device": device, "memory": "64MiB"}
    with hr.open(str(large)) as ds, ds.loader(**options) as loader:
        for batch in loader:  # extents are made meanwhile
            if arrays == "dlpack":
                batch["bin"].offsets.numpy()  # so that all copies are done before they are counted
        before = loader.stats()["device_copies"]
        pageable = gpu.pageable_copies
        seen = []
        for batch in loader:
            values = batch["bin"].values
            if arrays == "torch":
                kernel = gpu.read(gpu.consumer, values.data_ptr(), values.nbytes)
            else:
                capsule = values.__dlpack__(stream=gpu.consumer)
                kernel = gpu.read(gpu.consumer, values.address, values.nbytes)
                del capsule
            seen.append((batch.ids.copy(), kernel))
        gpu.finish(gpu.consumer)
        assert len(seen) == 8
        for ids, kernel in seen:
            words = np.frombuffer(kernel.raw, np.int32)
            assert (words == np.concatenate([np.full(75_000 + i, i) for i in ids])).all()
        assert loader.stats()["device_copies"] - before == 8
        assert loader.stats()["pinned_bytes"] >= 64 << 20
        assert gpu.pageable_copies == pageable
    assert gpu.races == 0, gpu.report


def test_large_samples_may_be_joined_on_the_host_instead(gpu, large):
    device = hr.Device("cuda:0", direct=False)
    before = gpu.pageable_copies
    with hr.open(str(large)) as ds, ds.loader(batch_size=8, device=device) as loader:
        for batch in loader:
            values = batch["bin"].values
            kernel = gpu.read(gpu.consumer, values.data_ptr(), values.nbytes)
            gpu.finish(gpu.consumer)
            words = np.frombuffer(kernel.raw, np.int32)
            assert (words == np.concatenate([np.full(75_000 + i, i) for i in batch.ids])).all()
    assert gpu.pageable_copies == before
