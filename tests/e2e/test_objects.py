# SPDX-License-Identifier: Apache-2.0
"""One object = one sample: class folders of images, npy and npz files, anything."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES, ARRAYS = "s3://imagefolder/data/", "s3://npy-npz/data/"


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def lines(name, ending=""):
    text = (FIXTURES / name / "expected.jsonl").read_text().splitlines()
    samples = [line for line in map(json.loads, text) if "fields" in line]
    return [line for line in samples if line["shard"].endswith(ending)]


def images():
    """Those that are images, of all objects: cat/notes.txt is none."""
    return [line for line in lines("imagefolder") if "decoded" in line["fields"]["file"]]


def label_of(line):
    """The place among the classes that have objects: the folder that was empty when expected.jsonl
    was made is one that a store does not have."""
    return sorted({line["class"] for line in lines("imagefolder")}).index(line["class"])


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_class_folders(fixture_server):
    want = images()
    with hr.open(IMAGES, **fixture_server.options) as ds:
        assert ds.format == "images"
        assert len(ds) == len(want)
        assert ds.fields == ["image", "label", "class"]
        for i, line in enumerate(want):
            assert ds.key(i) == line["key"]
            assert ds.extent(i) == (line["shard"], 0, line["length"])
            assert digest(ds.raw(i)["image"]) == line["fields"]["file"]["sha256"]
            sample = ds[i]
            assert (sample["label"], sample["class"]) == (label_of(line), line["class"])
            decoded = line["fields"]["file"]["decoded"]
            assert sample["image"].shape == (decoded["size"][1], decoded["size"][0], 3)
            if decoded["format"] == "PNG" and decoded["mode"] == "RGB":
                assert digest(sample["image"].tobytes()) == decoded["pixels_sha256"]
        text = str(ds)
        assert "3 class folders, 0 = cat ... 2 = fish" in text
        assert "passed over: 1 other objects (cat/notes.txt)" in text


def test_labels_come_with_every_batch_in_any_order(fixture_server):
    want = images()
    for options in ({}, {"shuffle": "global"}, {"shuffle": False}):
        seen = []
        for rank in range(3):
            with hr.open(IMAGES, **fixture_server.options) as ds:
                loader = ds.loader(
                    batch_size=5, seed=4, rank=rank, world_size=3, remainder="pad",
                    decode={"image": bytes, "label": int, "class": str}, **options,
                )  # fmt: skip
                for batch in loader:
                    for row, i in enumerate(batch.ids.tolist()):
                        assert digest(batch["image"][row]) == want[i]["fields"]["file"]["sha256"]
                        assert batch["label"][row] == label_of(want[i])
                        assert batch["class"][row] == want[i]["class"]
                        seen += [i] if batch.valid[row] else []
        assert sorted(seen) == list(range(len(want)))


def test_opening_reads_nothing():
    """Requests before training: listings only."""
    with Server(FIXTURES) as server, hr.open(IMAGES, **server.options):
        stats = server.stats()
        print(stats)
        assert (
            sum(n for name, n in flat(stats) if "get" in name.lower() and "object" in name.lower())
            == 0
        )


def flat(stats, prefix=""):
    for name, value in stats.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, int):
            yield prefix + name, value


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_arrays(fixture_server, form):
    want = lines("npy-npz", "." + form)
    with hr.open(ARRAYS, format=form, **fixture_server.options) as ds:
        assert len(ds) == len(want)
        for i, line in enumerate(want):
            if any(known["dtype"] == "complex64" for known in line["fields"].values()):
                with pytest.raises(hr.Error, match=r"dtype '<c8'|<c8"):
                    ds[i]
                continue
            sample = ds[i]
            assert sorted(sample) == sorted(["__key__", *line["fields"]])
            for field, known in line["fields"].items():
                array = np.asarray(
                    sample[field], known["dtype"] if np.isscalar(sample[field]) else None
                )
                assert (array.dtype.name, list(array.shape)) == (known["dtype"], known["shape"])
                assert digest(np.ascontiguousarray(array).tobytes()) == known["sha256"]


def test_npz_batches_are_arrays(fixture_server):
    want = lines("npy-npz", ".npz")
    with hr.open(ARRAYS, format="npz", **fixture_server.options) as ds:
        ids = []
        for batch in ds.loader(batch_size=3, seed=1, remainder="short"):
            for row, i in enumerate(batch.ids.tolist()):
                for field, known in want[i]["fields"].items():
                    array = np.ascontiguousarray(batch[field][row])
                    assert digest(array.tobytes()) == known["sha256"]
            ids += batch.ids.tolist()
        assert sorted(ids) == list(range(len(want)))


def test_any_objects_as_bytes(fixture_server):
    with hr.open(IMAGES, format="objects", **fixture_server.options) as ds:
        want = lines("imagefolder")
        assert len(ds) == len(want) == 37
        for i, line in enumerate(want):
            sample = ds[i]
            assert sample["__key__"] == line["key"]
            assert digest(sample["content"]) == line["fields"]["file"]["sha256"]
            assert (sample["label"], sample["class"]) == (label_of(line), line["class"])


def test_mixed_kinds_are_an_error_that_names_one_of_each(fixture_server):
    with pytest.raises(hr.Error, match=r"several formats: npy \(.*big-endian\.npy\) npz .*format="):
        hr.open(ARRAYS, **fixture_server.options)


def test_images_that_are_not_decoded_are_not_left_out_unasked(tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(FIXTURES / "imagefolder/data", folder)
    (folder / "dog" / "x.bmp").write_bytes(b"BM")
    with pytest.raises(hr.Error, match=r'x\.bmp.*format="images" leaves them out'):
        hr.open(str(folder))
    with hr.open(str(folder), format="images", save=None) as ds:
        assert len(ds) == 36


def test_empty_objects_are_left_out_and_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.npy").write_bytes(b"")
    np.save(tmp_path / "a" / "2.npy", np.arange(3))
    with hr.open(str(tmp_path), save=None) as ds:
        assert len(ds) == 1
        assert "1 empty objects are left out (a/1.npy)" in str(ds)
        assert ds[0]["label"] == 0


def test_object_arrays_are_never_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.save(tmp_path / "1.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "2.npz", x=np.array([Trap()], dtype=object))
    for form in ("npy", "npz"):
        with hr.open(str(tmp_path), format=form, save=None) as ds:
            with pytest.raises(hr.Error, match="pickled Python, which is never executed"):
                ds[0]
            with pytest.raises(hr.Error, match="pickled Python, which is never executed"):
                list(ds.loader(batch_size=1))
    assert not (tmp_path / "executed").exists()


def test_a_replaced_object_is_seen(tmp_path):
    np.save(tmp_path / "1.npy", np.arange(3))
    np.save(tmp_path / "2.npy", np.arange(3))
    with Server(tmp_path.parent) as server:
        ds = hr.open(f"s3://{tmp_path.name}/", **server.options)
        ds.raw(1)
        np.save(tmp_path / "2.npy", np.arange(3) + 1)
        os.utime(tmp_path / "2.npy", (1, 1))
        with pytest.raises(hr.MismatchError, match=r"2\.npy"):
            ds.raw(1)


def test_checksums_on_request(tmp_path):
    """check=True reads all once; what changes behind an unchanged ETag is seen then."""
    np.save(tmp_path / "1.npy", np.arange(3))
    with hr.open(str(tmp_path), check=True, save=None) as ds:
        assert "(checksums" in str(ds)
        assert list(ds[0]["array"]) == [0, 1, 2]


def test_the_stream_order_is_refused(fixture_server):
    with pytest.raises(hr.Error, match="leave order= out"):
        hr.open(IMAGES, order="stream", **fixture_server.options)
