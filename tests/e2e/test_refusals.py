# SPDX-License-Identifier: Apache-2.0
"""Hostile and damaged data, format by format: what is said (where, what, why, what to do), that nothing is executed and
nothing is written where a name points to. What users meet is shown in docs/errors.md, word for word: `said(..., page=)`
compares.
"""

import io
import json
import os
import pickle
import re
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_data import add, sample_fields, write_tar

import headrace as hr

FIXTURES = Path(__file__).parents[1] / "fixtures"
PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


class Trap:
    """Unpickled, it would leave a folder behind."""

    path = ""

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path):
    Trap.path = str(tmp_path / "executed")
    yield Trap()
    assert not (tmp_path / "executed").exists(), "pickled code was executed"


def said(kind, action, *parts, page=None):
    """The message of an error, with all these parts in it; `page`: the folder that is /data in docs/errors.md."""
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    if page:
        line = f"{type(caught.value).__module__}.{type(caught.value).__name__}: {text}"
        line = line.replace(str(page), "/data")
        print(line)  # pytest -s, for the page
        assert without_numbers(line) in shown(), f"docs/errors.md does not show\n    {line}"
    for part in parts:
        assert part.lower() in text.lower(), (part, text)
    return text


def shown():
    """The messages of the page: its indented lines."""
    lines = PAGE.read_text().splitlines()
    return {without_numbers(line.strip()) for line in lines if line.startswith("    ")}


def without_numbers(line):
    """Sizes and sums hang on the compressor and the images that made the data."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", line)


def opened(path, **options):
    return hr.open(str(path), save=None, index_dir=str(Path(path).parent / "no-index"), **options)


def read(path, decode=None, **options):
    with opened(path, **options) as ds:
        return list(ds.loader(batch_size=1, shuffle=False, decode=decode))


def fixture(tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(FIXTURES / name / "data", folder)
    return folder


# --- what users meet ------------------------------------------------------------------------------


def test_truncated_shard(tmp_path):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 2 + 100])
    said(
        hr.CorruptError,
        lambda: opened(tmp_path / "a.tar"),
        "a.tar",
        "index",
        "byte",
        "cut off",
        page=tmp_path,
    )


def test_wrong_crc(tmp_path):
    folder = fixture(tmp_path, "tfrecord-plain")
    first = sorted(p for p in folder.iterdir() if ".tfrecord" in p.name and p.suffix != ".idx")[0]
    content = bytearray(first.read_bytes())
    content[40] ^= 1
    first.write_bytes(content)
    said(
        hr.CorruptError,
        lambda: read(folder),
        first.name,
        "row 0",
        "checksum",
        "is stated as",
        page=tmp_path,
    )


def test_unknown_encoding(tmp_path):
    folder = fixture(tmp_path, "mds-scalars")
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"]:
        shard["column_encodings"][0] = "hologram"
    (folder / "index.json").write_text(json.dumps(index))
    said(
        hr.UnsupportedError,
        lambda: opened(folder),
        "index.json",
        "/shards/0",
        '"hologram"',
        page=tmp_path,
    )


def test_pickled_column_of_mds(tmp_path):
    folder = fixture(tmp_path, "mds-scalars")
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"]:
        shard["column_encodings"][0] = "pkl"
    (folder / "index.json").write_text(json.dumps(index))
    said(
        hr.UnsupportedError,
        lambda: opened(folder),
        "index.json",
        '"pkl"',
        "runs code",
        "write the",
        page=tmp_path,
    )


def test_pickled_leaf_of_litdata(tmp_path):
    folder = fixture(tmp_path, "litdata-pytree")
    index = json.loads((folder / "index.json").read_text())
    index["config"]["data_format"][3] = "pickle"
    (folder / "index.json").write_text(json.dumps(index))
    said(
        hr.UnsupportedError,
        lambda: opened(folder),
        "index.json",
        "pickle",
        "never executed",
        "write it",
        page=tmp_path,
    )


def test_pickled_members_of_tars_are_bytes(tmp_path, trap):
    """webdataset's own reader unpickles .pyd and .pickle; here they are bytes like any other."""
    content = pickle.dumps(trap)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "s/1.pyd", content)
        add(tar, "s/1.pickle", content)
        add(tar, "s/1.pkl", content)
    with opened(tmp_path / "a.tar") as ds:
        sample = ds[0]
        assert [sample[f] for f in ("pyd", "pickle", "pkl")] == [content] * 3
        (batch,) = ds.loader(batch_size=1)
        assert bytes(batch["pyd"][0]) == content


def test_pickled_arrays_inside_tars(tmp_path, trap):
    out = io.BytesIO()
    np.save(out, np.array([trap], dtype=object), allow_pickle=True)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "s/1.npy", out.getvalue())
    said(
        hr.Error, lambda: read(tmp_path / "a.tar", {"npy": hr.decode.npy()}),
        "s/1", "a.tar", "npy", "never executed", page=tmp_path)  # fmt: skip


def test_member_missing(tmp_path):
    def fields(i):
        return {"cls": b"1"} if i == 7 else {"cls": b"1", "bin": b"x"}

    write_tar(tmp_path / "a.tar", 0, 10, fields)
    said(
        hr.Error, lambda: read(tmp_path / "a.tar", {"bin": bytes}),
        "s/000007", "a.tar", '"bin"', "cls", "on_bad_sample", page=tmp_path)  # fmt: skip


def test_an_image_of_60000_by_60000_pixels(tmp_path):
    """The header is refused before a pixel is decoded: 10.8 GB."""
    frame = struct.pack(">BHHB", 8, 60_000, 60_000, 3) + bytes((1, 17, 0, 2, 17, 1, 3, 17, 1))
    jpeg = b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
    jpeg += bytes.fromhex("ffda000c03010002000300003f00") + bytes(64) + b"\xff\xd9"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "s/1.jpg", jpeg)
    said(
        hr.Error, lambda: read(tmp_path / "a.tar", {"jpg": hr.decode.image(224)}),
        "s/1", "a.tar", "jpg", "60000", "pixels_max", page=tmp_path)  # fmt: skip


def test_zip_bomb(tmp_path):
    """42 MB of zeros eight times: 336 MiB out of 330 KB."""
    folder = tmp_path / "d"
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(8):
            archive.writestr(f"a{i}.npy", bytes(42 << 20))
    said(hr.Error, lambda: read(folder), "x.npz", "inflated", "at most 268435456", page=tmp_path)


def test_zstd_bomb(tmp_path):
    pa = pytest.importorskip("pyarrow")
    one = pa.compress(bytes(512 << 20), codec="zstd", asbytes=True)
    assert len(one) < 50_000
    (tmp_path / "a.jsonl.zst").write_bytes(one)
    said(
        hr.Error, lambda: read(tmp_path / "a.jsonl.zst"),
        "a.jsonl.zst", "out of each stored one", page=tmp_path)  # fmt: skip


def test_index_older_than_the_shard(tmp_path):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    with opened(tmp_path / "a.tar") as ds:
        ds.index(save=str(tmp_path / "a.hridx"))
    write_tar(tmp_path / "a.tar", 1, 30, sample_fields)
    said(
        hr.MismatchError, lambda: opened(tmp_path / "a.tar", index=str(tmp_path / "a.hridx")),
        "a.tar", "a.hridx", "bytes, the index says", "headrace index", page=tmp_path)  # fmt: skip


def test_index_older_than_the_shard_while_it_is_read(tmp_path):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    with opened(tmp_path / "a.tar") as ds:
        write_tar(tmp_path / "a.tar", 1, 30, sample_fields)
        said(hr.MismatchError, lambda: ds[0], "a.tar", "changed", "index the data", page=tmp_path)


CUT = {  # fixture: the shard that loses its second half
    "mds-scalars": "shard.00000.mds",
    "litdata-pytree": "chunk-0-0.bin",
    "tfrecord-plain": "train-00000-of-00003.tfrecord",
    "arrayrecord": "g1-none.array_record",
    "parquet-pyarrow": "zstd.parquet",
    "hf-arrow": "data-00000-of-00003.arrow",
    "energon-jsonl": "captions.jsonl",
    "wds-shardwriter-gz": "train-000000.tar.gz",
    "mds-zstd": "shard.00000.mds.zstd",
    "imagefolder": "img_000.jpg",
}


@pytest.mark.parametrize(("name", "shard"), CUT.items())
def test_truncated_shards_of_other_formats(tmp_path, name, shard):
    folder = fixture(tmp_path, name)
    path = next(folder.rglob(shard))
    os.truncate(path, path.stat().st_size // 2)
    said(hr.CorruptError, lambda: read(folder), page=tmp_path)


def test_wrong_checksum_of_a_tar_header(tmp_path):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    with open(tmp_path / "a.tar", "r+b") as file:
        file.seek(100)
        file.write(b"9")
    said(hr.CorruptError, lambda: opened(tmp_path / "a.tar"), "a.tar", "checksum", page=tmp_path)


def test_bytes_that_are_not_those_of_the_index(tmp_path):
    write_tar(tmp_path / "a.tar", 0, 20, sample_fields)
    with opened(tmp_path / "a.tar") as ds:
        ds.index(save=str(tmp_path / "a.hridx"))
    with open(tmp_path / "a.tar", "r+b") as file:
        file.seek(600)
        file.write(b"9")
    index = {"index": str(tmp_path / "a.hridx"), "trust": "copy"}  # the same size, another ETag
    said(hr.CorruptError, lambda: read(tmp_path / "a.tar", **index), "crc32c", page=tmp_path)


# --- names that point elsewhere -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../escape.txt", "/absolute.txt", "a/../../b.txt"])
def test_names_in_tars_are_keys_and_nothing_is_written(tmp_path, name):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, name, b"x")
        add(tar, "good.txt", b"y")
    before = sorted(tmp_path.parent.rglob("*"))
    with opened(tmp_path / "a.tar") as ds:
        for i in range(len(ds)):
            assert ds.raw(i)["txt"] in (b"x", b"y")
    assert not (tmp_path.parent / "escape.txt").exists()
    assert not Path("/absolute.txt").exists()
    assert [p for p in sorted(tmp_path.parent.rglob("*")) if p.suffix == ".txt"] == [
        p for p in before if p.suffix == ".txt"
    ]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_tars_are_followed_nowhere(tmp_path, kind):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "s/1.txt", b"x")
        link = tarfile.TarInfo("s/1.link")
        link.type, link.linkname = kind, str(secret)
        tar.addfile(link)
    with opened(tmp_path / "a.tar") as ds:
        assert all(b"secret" not in content for content in ds.raw(0).values())


@pytest.mark.parametrize("name", ["../x.mds", "/x.mds", "a/../../x.mds", "a\\x.mds"])
def test_index_json_may_not_point_out_of_its_folder(tmp_path, name):
    for fixture_name, change in (("mds-scalars", "raw_data"), ("litdata-pytree", "filename")):
        folder = fixture(tmp_path, fixture_name)
        index = json.loads((folder / "index.json").read_text())
        if change == "filename":
            index["chunks"][0]["filename"] = name
        else:
            index["shards"][0]["raw_data"]["basename"] = name
        (folder / "index.json").write_text(json.dumps(index))
        said(hr.CorruptError, lambda f=folder: opened(f), "index.json", "plain relative path")
        shutil.rmtree(folder)


# --- lengths that are absurd ----------------------------------------------------------------------


def test_a_record_longer_than_its_file(tmp_path):
    """The length's own CRC is right: it is the length that is absurd."""
    import zlib

    def masked(content):
        crc = crc32c(content)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    def crc32c(content):
        crc = 0xFFFFFFFF
        for byte in content:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    assert zlib.crc32(b"") == 0
    length = struct.pack("<Q", 1 << 60)
    (tmp_path / "a.tfrecord").write_bytes(length + struct.pack("<I", masked(length)) + b"x" * 50)
    said(hr.CorruptError, lambda: opened(tmp_path / "a.tfrecord"), "a.tfrecord", "byte 0")


def test_an_npy_that_promises_more_than_it_has(tmp_path):
    header = (
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + "\n"
    )
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)
    (tmp_path / "a.npy").write_bytes(content)
    said(hr.CorruptError, lambda: read(tmp_path / "a.npy"), "a.npy", "1000000000000")


def test_a_table_of_offsets_beyond_the_shard(tmp_path):
    folder = fixture(tmp_path, "mds-scalars")
    shard = sorted(folder.glob("*.mds"))[0]
    content = bytearray(shard.read_bytes())
    content[8:12] = struct.pack("<I", 0xFFFFFFF0)
    shard.write_bytes(content)
    said(hr.CorruptError, lambda: opened(folder), shard.name, "4294967280")
