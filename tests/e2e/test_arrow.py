# SPDX-License-Identifier: Apache-2.0
"""Arrow IPC: what Hugging Face's save_to_disk, pyarrow and LitData's rows hold, by record batches."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

pa = pytest.importorskip("pyarrow")
FIXTURES = Path(__file__).parents[1] / "fixtures"
HF = "s3://hf-arrow/data/"


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def lines(name):
    text = (FIXTURES / name / "expected.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, text) if "fields" in line]


def canonical(value):
    """MANIFEST.md's JSON: bytes as {"$b": hex}."""
    if isinstance(value, bytes):
        return {"$b": value.hex()}
    if isinstance(value, float):
        return {"$f": value.hex()}
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items()}
    return [canonical(v) for v in value] if isinstance(value, list) else value


def json_digest(value):
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def agrees(known, value):
    if known["type"] == "null":
        return value is None
    if known["type"] == "int":
        return value == known["value"]
    if known["type"] == "float":
        return float(value).hex() == known["hex"]
    if known["type"] == "str":
        return hashlib.sha256(value.encode()).hexdigest() == known["sha256"]
    if "dtype" in known:
        array = np.asarray(value, known["dtype"])
        return hashlib.sha256(array.tobytes()).hexdigest() == known["sha256"]
    return json_digest(np.asarray(value).tolist()) == known["json_sha256"]


def test_hugging_face_rows(fixture_server):
    want = lines("hf-arrow")
    with hr.open(HF, **fixture_server.options) as ds:
        assert ds.format == "arrow"
        assert len(ds) == len(want) == 80
        for i, line in enumerate(want):
            sample = ds[i]
            image = {"bytes": sample.pop("image"), "path": sample.pop("image.path")}
            assert json_digest(image) == line["fields"]["image"]["json_sha256"]
            for field, known in line["fields"].items():
                if field != "image":
                    assert agrees(known, sample[field]), (i, field)
            assert ds.extent(i)[0] == line["shard"]


def test_litdata_rows(fixture_server):
    want = lines("litdata76-json-rows")
    with hr.open("s3://litdata76-json-rows/data/", **fixture_server.options) as ds:
        assert len(ds) == len(want)
        assert "LitData's rows as Arrow" in str(ds)
        for i, line in enumerate(want):
            sample = ds[i]
            for path, known in line["fields"].items():
                value = sample
                for step in path.split("."):
                    value = value[int(step)] if isinstance(value, list) else value[step]
                assert agrees(known["decoded"], value), (i, path)


@pytest.mark.parametrize("name", ["hf-arrow", "litdata76-json-rows"])
def test_every_row_once_in_any_order(fixture_server, name):
    for options in ({}, {"shuffle": "global"}, {"shuffle": False}):
        seen = []
        for rank in range(3):
            with hr.open(f"s3://{name}/data/", **fixture_server.options) as ds:
                loader = ds.loader(
                    batch_size=7, seed=3, rank=rank, world_size=3, remainder="pad", **options
                )
                for batch in loader:
                    for row, i in enumerate(batch.ids.tolist()):
                        field = "label" if name == "hf-arrow" else "id"
                        assert batch[field][row] == ds[i][field]
                        seen += [i] if batch.valid[row] else []
        assert sorted(seen) == list(range(len(lines(name))))


def table():
    return pa.table(
        {
            "n": pa.array(range(50), pa.int16()),
            "text": [f"row {i} é" for i in range(50)],
            "kind": pa.array(["a", "b"] * 25).dictionary_encode(),
            "fixed": pa.array([[i, i + 1, i + 2] for i in range(50)], pa.list_(pa.float32(), 3)),
            "nested": [{"a": i, "b": [str(i)]} for i in range(50)],
            "maybe": [None if i % 3 else i / 2 for i in range(50)],
        }
    )


def write(path, compression=None, stream=False, rows=8):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table().schema, options=options) as writer:
        writer.write_table(table(), max_chunksize=rows)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("stream", [False, True])
def test_files_and_streams_of_pyarrow(tmp_path, compression, stream):
    write(tmp_path / "x.arrow", compression, stream)
    with hr.open(str(tmp_path), save=None) as ds:
        rows = table().to_pylist()
        for i in (0, 7, 8, 49, 25):
            sample = ds[i]
            assert sample.pop("fixed").tolist() == rows[i].pop("fixed")
            del sample["__key__"]
            assert sample == rows[i]
        batch = next(iter(ds.loader(batch_size=10, seed=1, decode={"fixed": "auto", "n": int})))
        assert batch["fixed"].shape == (10, 3)
        assert sorted(batch) == ["fixed", "n"]


def test_a_batch_that_is_too_large_names_the_writers_option(tmp_path):
    big = pa.table({"x": [bytes(4 << 20)] * 4})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), big.schema) as writer:
        writer.write_table(big)
    ds = hr.open(str(tmp_path), save=None)
    with pytest.raises(hr.Error, match="max_chunksize="):
        next(iter(ds.loader(batch_size=1, memory="16MiB")))


@pytest.mark.parametrize("stream", [False, True])
def test_damaged_bodies_are_errors_or_other_values_never_a_crash(tmp_path, stream):
    write(tmp_path / "x.arrow", None, stream)
    whole = (tmp_path / "x.arrow").read_bytes()
    dice = random.Random(1)
    outcomes = {"error": 0, "same": 0, "other": 0}
    with hr.open(str(tmp_path), save=None) as ds:
        truth = str([ds[i] for i in range(50)])
    for _ in range(150):
        at = dice.randrange(len(whole))
        damaged = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        (tmp_path / "x.arrow").write_bytes(damaged)
        try:
            with hr.open(str(tmp_path), save=None, index_dir=str(tmp_path / "none")) as ds:
                got = str([ds[i] for i in range(len(ds))])
            outcomes["same" if got == truth else "other"] += 1
        except hr.Error:
            outcomes["error"] += 1
    print(outcomes)
    assert outcomes["error"] > 10


def decoded_in_place(batch, columns, **options):
    """Whether decode_stream() leaves these columns of the batch where its stream lies, and them."""
    from headrace import parquet

    parquet.prepare()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_batch(batch)
    given = pa.array(np.frombuffer(sink.getvalue(), np.uint8))
    ffi = pytest.importorskip("pyarrow.cffi").ffi
    kinds = ("struct ArrowArray*", "struct ArrowSchema*") * 2
    structs = [ffi.new(kind) for kind in kinds]
    where = [int(ffi.cast("uintptr_t", one)) for one in structs]
    given._export_to_c(where[0], where[1])
    found = parquet.decode_stream((where[0], where[1]), where[2], where[3], columns)
    return found, pa.RecordBatch._import_from_c(where[2], where[3]), given


@pytest.mark.parametrize(
    ("columns", "options", "in_place"),
    [
        (["bytes", "n", "word", "list"], {}, True),
        (["n"], {}, False),  # less than half of the batch: copied, so that the rest can go
        (["bytes", "n", "word", "list"], {"compression": "zstd"}, False),
    ],
)
def test_columns_stay_where_they_were_received(columns, options, in_place):
    whole = pa.RecordBatch.from_pydict(
        {
            "bytes": [b"x" * 5000, None, b"", b"y" * 5000],
            "n": [1, 2, None, 4],
            "word": pa.array(["a", "b", "a", None]).dictionary_encode(),
            "list": [[1, 2], [], None, [3]],
        }
    )
    found, batch, given = decoded_in_place(whole, columns, **options)
    assert found is in_place
    assert batch.equals(whole.select(columns))
    begin = given.buffers()[1].address
    inside = {
        begin <= buffer.address < begin + given.buffers()[1].size
        for column in batch.columns
        for buffer in column.buffers()
        if buffer is not None and buffer.size
    }
    assert inside == {in_place}
