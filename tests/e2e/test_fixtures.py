# SPDX-License-Identifier: Apache-2.0
"""Every data set that other projects' writers made, read through S3, equals its expected.jsonl.

expected.jsonl was made by the formats' own readers (tests/fixtures/MANIFEST.md).
"""

import base64
import hashlib
import json
import math
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
COMPRESSIONS = {".gz", ".zst", ".zstd", ".bz2", ".br", ".snappy", ".zlib"}
# Tested elsewhere: tokens, one object = one sample, decoded in units, not read.
TOKENS = {"nanogpt-bin", "llmc-bin", "megatron-indexed", "megatron-multimodal"} | {
    "litdata-tokens",
    "litdata76-tokens",
}
OBJECTS = {"imagefolder", "npy-npz"}  # test_objects.py
ARROW = {"hf-arrow", "litdata76-json-rows"}  # test_arrow.py
NOT_READ = {"lance"}  # test_every_format.py
PARQUET = {"parquet-hf", "parquet-polars", "parquet-pyarrow"}  # no stored bytes: test_parquet.py
ALL = sorted(
    {p.parent.name for p in FIXTURES.glob("*/expected.jsonl")}
    - TOKENS
    - PARQUET
    - OBJECTS
    - ARROW
    - NOT_READ
)
# Compressed shards have no index: they are read in the stream order.
STREAMS = [
    name
    for name in ALL
    if any(
        path.suffix in COMPRESSIONS or path.name.endswith(".zstd.bin")
        for path in (FIXTURES / name / "data").iterdir()
    )
]
SETS = [name for name in ALL if name not in STREAMS] + ["jsonl-plain"]


def url(name):
    if name == "jsonl-plain":  # those of its shards that are not compressed
        return "s3://jsonl/data/{blank-lines,bom,crlf,no-trailing-newline,plain}.jsonl"
    return f"s3://{name}/data/"


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def expected(name):
    lines = (
        (FIXTURES / ("jsonl" if name == "jsonl-plain" else name) / "expected.jsonl")
        .read_text()
        .splitlines()
    )
    samples = [line for line in map(json.loads, lines) if "fields" in line]
    if name == "jsonl-plain":
        samples = [sample for sample in samples if sample["shard"].endswith(".jsonl")]
    if name.startswith("litdata"):  # arrays are compared as values; a bare leaf is called value
        for sample in samples:
            fields = {f or "value": v for f, v in sample["fields"].items()}
            arrays = {f for f, v in fields.items() if v["decoded"]["type"] in ("ndarray", "tensor")}
            sample["arrays"] = {f: fields[f]["decoded"] for f in sorted(arrays)}
            sample["fields"] = {f: v for f, v in fields.items() if f not in arrays}
    if name.startswith("tfrecord"):  # features are compared as values
        for sample in samples:
            sample["features"] = {f: v for f, v in sample["fields"].items() if f != "record"}
            sample["fields"] = {"record": sample["fields"]["record"]}
    if name == "arrayrecord":  # listed as they were written
        samples.sort(key=lambda sample: sample["shard"])
    if name == "arrayrecord-examples":  # the payloads of another fixture
        for sample, example in zip(samples, expected("tfrecord-plain"), strict=True):
            assert sample["fields"]["record"] == example["fields"]["record"]
            sample["features"] = example["features"]
    if name == "wds-wids":  # its reader keeps the dot before a field's name
        for sample in samples:
            sample["fields"] = {f.removeprefix("."): v for f, v in sample["fields"].items()}
    if name == "energon-jsonl":  # its reader keeps the newline, and blank lines behind it
        content = (FIXTURES / name / "data" / "captions.jsonl").read_bytes()
        for sample in samples:
            line = content[sample["offset"] : sample["offset"] + sample["length"]]
            json_field = sample["fields"]["json"]
            assert fingerprint(line) == (json_field["len"], json_field["sha256"])
            size, digest = fingerprint(line.rstrip())
            sample["fields"] = {"line": {"len": size, "sha256": digest}}
    return samples


def agrees(known, value):
    """A natural value with MANIFEST.md's canonical one."""
    if known["type"] == "float":
        return math.isnan(value) if known["hex"] == "nan" else float(value).hex() == known["hex"]
    if known["type"] == "str":
        return fingerprint(value.encode()) == (known["len"], known["sha256"])
    return value == known["value"]


def check_features(known, values):
    """Features of an Example, or of a SequenceExample's context, with the natural values of the columns."""
    for name, feature in known.items():
        if name.startswith("seq:"):
            check_steps(feature, values[name.removeprefix("seq:")])
            continue
        value = values[name.removeprefix("ctx:")]
        if feature["type"] == "bytes_list":
            assert [fingerprint(value)] == [(v["len"], v["sha256"]) for v in feature["values"]]
        else:
            array = np.asarray(value, feature["dtype"])
            assert fingerprint(array.tobytes()) == (feature["len"], feature["sha256"])


def check_steps(known, value):
    """A feature list: an array where all steps have as many numbers, else JSON with base64 text."""
    assert len(value) == len(known)
    for step, want in zip(value, known, strict=True):
        if want["type"] == "bytes_list":
            (only,) = want["values"]  # in the fixture
            assert fingerprint(base64.b64decode(step)) == (only["len"], only["sha256"])
        else:
            array = np.asarray(step)
            assert (array.dtype.name, list(array.shape)) == (want["dtype"], want["shape"])
            assert fingerprint(array.tobytes()) == (want["len"], want["sha256"])


def fingerprint(content):
    return len(content), hashlib.sha256(content).hexdigest()


def test_there_are_fixtures():
    assert len(SETS) >= 16
    assert len(STREAMS) >= 8


@pytest.mark.parametrize("name", SETS)
def test_samples_one_by_one(fixture_server, name):
    want = expected(name)
    with hr.open(url(name), **fixture_server.options) as ds:
        assert len(ds) == len(want)
        for i, line in enumerate(want):
            raw = ds.raw(i)
            if name.startswith("mosaic"):  # values only
                values = ds[i]
                assert all(agrees(known, values[f]) for f, known in line["fields"].items()), i
                shard, begin, size = ds.extent(i)  # of the stride it lies in
                assert shard == line["shard"]
                assert begin <= line["offset"]
                assert begin + size >= line["offset"] + line["length"]
                assert fingerprint(raw["line"] + b"\n") == (line["length"], line["sha256"])
                continue
            for field, known in line.get("arrays", {}).items():
                array = np.asarray(ds[i][field])
                assert (array.dtype.name, list(array.shape)) == (known["dtype"], known["shape"])
                assert fingerprint(array.tobytes()) == (known["len"], known["sha256"])
                del raw[field]
            if "features" in line:
                check_features(line["features"], ds[i])
                raw = {"record": raw["record"]}
            if "jsonl" in name:  # columns of JSON keys beside the line
                raw = {"line": raw["line"]}
            got = {field: fingerprint(content) for field, content in raw.items()}
            assert got == {f: (v["len"], v["sha256"]) for f, v in line["fields"].items()}, (name, i)
            assert ds.extent(i)[0].endswith(line["shard"])
            if "key" in line:
                assert ds.key(i) == line["key"]


@pytest.mark.parametrize("name", SETS)
def test_batches_in_shuffled_order(fixture_server, name):
    """The same through the engine, by 1 rank and by 3: small blocks, every sample a block of its own, the default."""
    want = expected(name)
    having = Counter(field for line in want for field in line["fields"])
    fields = [f for f, n in having.items() if n == len(want)] or [having.most_common(1)[0][0]]
    owners = [i for i, line in enumerate(want) if set(fields) <= set(line["fields"])]
    decode = None if name.startswith("mosaic") else {field: bytes for field in fields}
    for shuffle, world in chain.from_iterable(
        [({"block": 3, "lanes": 6}, n), ({"shuffle": "global"}, n), ({}, n)] for n in (1, 3)
    ):
        with hr.open(url(name), **fixture_server.options) as ds:
            loaders = [
                ds.loader(
                    batch_size=7, seed=2, memory="16MiB", remainder="pad", on_bad_sample="skip",
                    decode=decode, rank=rank, world_size=world, **shuffle,
                )
                for rank in range(world)
            ]  # fmt: skip
            seen = []
            for batch in chain.from_iterable(loaders):
                for row, i in enumerate(batch.ids.tolist()):
                    for field in fields:
                        known = want[i]["fields"][field]
                        if "type" in known:
                            assert agrees(known, batch[field][row]), (i, field)
                            continue
                        assert fingerprint(batch[field][row]) == (known["len"], known["sha256"])
                    seen += [i] if batch.valid[row] else []
            assert sorted(seen) == owners


@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_compressed_shards(fixture_server, name):
    want = {}
    shards = sorted({line["shard"] for line in expected(name)})
    rows = Counter()
    for line in expected(name):
        want[shards.index(line["shard"]), rows[line["shard"]]] = line
        rows[line["shard"]] += 1
    with hr.open(url(name), **fixture_server.options) as ds:
        assert not ds.counted
        assert [shard for shard, *_ in ds.shards] == shards
        having = Counter(field for line in want.values() for field in line["fields"])
        fields = [f for f, n in having.items() if n == len(want)]
        values = name.startswith("mosaic")
        decode = None if values else {field: bytes for field in fields}
        loader = ds.loader(batch_size=7, seed=3, decode=decode)
        for _ in loader.epochs(2):
            seen = []
            for batch in loader:
                for row, number in enumerate(batch.ids.tolist()):
                    place = number >> 32, number & ((1 << 32) - 1)
                    for field in fields:
                        known = want[place]["fields"][field]
                        if values:
                            assert agrees(known, batch[field][row]), (place, field)
                            continue
                        got = fingerprint(bytes(batch[field][row]))
                        assert got == (known["len"], known["sha256"]), (place, field)
                    seen.append(place)
            assert sorted(seen) == sorted(want)
