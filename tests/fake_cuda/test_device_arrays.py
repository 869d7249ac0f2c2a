# SPDX-License-Identifier: Apache-2.0
"""Large arrays are received into page-locked memory and gathered by the copy, from behind their
headers; those that lie otherwise than they are wanted are decoded on the host first."""

import json
import struct
from io import BytesIO

import numpy as np
import pytest
from small_data import write_tar

import headrace as hr
from headrace import _core

torch = pytest.importorskip("torch")

COUNT = 32


def array_of(name, i):
    """About 300 KiB, in which each number says where it stands."""
    if name == "ragged":
        return np.arange(75_000 + 300 * (i % 3), dtype=np.int32).reshape(-1, 300) + i
    return np.arange(i, i + 75_000, dtype=np.float32).reshape(250, 300)


def npy(array):
    out = BytesIO()
    np.save(out, array)
    return out.getvalue()


def write_mds(folder, arrays):
    """One shard as docs/formats/mds.md has it: count, offsets, configuration, samples; the one column
    is of a fixed size, so that a sample is its values."""
    folder.mkdir()
    config = b"{}"
    at = 4 + 4 * (len(arrays) + 1) + len(config)
    offsets = [at + i * arrays[0].nbytes for i in range(len(arrays) + 1)]
    shard = struct.pack(f"<I{len(offsets)}I", len(arrays), *offsets) + config
    shard += b"".join(array.tobytes() for array in arrays)
    (folder / "shard.00000.mds").write_bytes(shard)
    about = {
        "column_encodings": ["ndarray:float32:250,300"],
        "column_names": ["npy"],
        "column_sizes": [arrays[0].nbytes],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "raw_data": {"basename": "shard.00000.mds", "bytes": len(shard), "hashes": {}},
        "samples": len(arrays),
        "size_limit": None,
        "version": 2,
        "zip_data": None,
    }
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [about]}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("arrays")
    write_mds(root / "mds", [array_of("mds", i) for i in range(COUNT)])
    for name, order in (("ragged", "C"), ("fortran", "F")):
        (root / name).mkdir()
        write_tar(
            root / name / "t-0.tar", 0, COUNT,
            lambda i, n=name, o=order: {"npy": npy(np.asarray(array_of(n, i), order=o))},
        )  # fmt: skip
    (root / "objects").mkdir()
    for i in range(COUNT):
        (root / "objects" / f"{i:03d}.npy").write_bytes(npy(array_of("ragged", i)))
    return root


@pytest.mark.parametrize("arrays", ["torch", "dlpack"])
@pytest.mark.parametrize("name", ["mds", "ragged", "objects", "fortran"])
def test_arrays_are_gathered_by_the_copy_where_they_lie_as_they_are_wanted(
    gpu, folders, name, arrays
):
    device = hr.Device("cuda:0", arrays=arrays)
    field = "array" if name == "objects" else "npy"
    decode = {} if name == "mds" else {"decode": {field: "npy"}}
    options = {"batch_size": 8, "device": device, "memory": "64MiB", **decode}
    kind = "ragged" if name == "objects" else name
    with hr.open(str(folders / name)) as ds, ds.loader(**options) as loader:
        for batch in loader:  # extents are made meanwhile
            if arrays == "dlpack":  # so that all copies are done before they are counted
                (batch[field] if name == "mds" else batch[field].offsets).numpy()
        batched = _core.Cuda(0).stats()["batched_copies"]
        for batch in loader:
            column = batch[field]
            values = column if name == "mds" else column.values
            if arrays == "torch":
                kernel = gpu.read(gpu.consumer, values.data_ptr(), values.nbytes)
            else:
                capsule = values.__dlpack__(stream=gpu.consumer)
                kernel = gpu.read(gpu.consumer, values.address, values.nbytes)
                del capsule
            gpu.finish(gpu.consumer)
            rows = [array_of(kind, int(i)) for i in batch.ids]
            wanted = np.concatenate([row.ravel() for row in rows])
            assert np.array_equal(np.frombuffer(kernel.raw, wanted.dtype), wanted)
            if name == "mds":
                assert tuple(values.shape) == (8, 250, 300)
            else:
                assert [tuple(shape) for shape in column.shapes] == [row.shape for row in rows]
                assert tuple(values.shape) == (len(wanted),)
        gathered = _core.Cuda(0).stats()["batched_copies"] - batched
        assert gathered == (0 if name == "fortran" else COUNT // 8)
    assert gpu.races == 0, gpu.report
