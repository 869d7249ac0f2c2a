# SPDX-License-Identifier: Apache-2.0
"""Every data set that other projects' writers made, read through S3, equals its expected.jsonl.

expected.jsonl was made by the formats' own readers (tests/fixtures/MANIFEST.md).
"""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
COMPRESSIONS = {".gz", ".zst", ".zstd", ".bz2", ".br", ".snappy"}
# Parquet's values have no stored bytes to compare: test_parquet.py.
ALL = sorted(
    path.parent.name
    for path in FIXTURES.glob("*/expected.jsonl")
    if not path.parent.name.startswith("parquet-")
)
# Compressed shards have no index: they are read in the stream order.
STREAMS = [
    name
    for name in ALL
    if any(path.suffix in COMPRESSIONS for path in (FIXTURES / name / "data").iterdir())
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
    lines = (FIXTURES / name.removesuffix("-plain") / "expected.jsonl").read_text().splitlines()
    samples = [line for line in map(json.loads, lines) if "fields" in line]
    if name == "jsonl-plain":
        samples = [sample for sample in samples if sample["shard"].endswith(".jsonl")]
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
            if "jsonl" in name:  # columns of JSON keys beside the line
                raw = {"line": raw["line"]}
            got = {field: fingerprint(content) for field, content in raw.items()}
            assert got == {f: (v["len"], v["sha256"]) for f, v in line["fields"].items()}, (name, i)
            assert ds.extent(i)[0].endswith(line["shard"])
            if "key" in line:
                assert ds.key(i) == line["key"]


@pytest.mark.parametrize("name", SETS)
def test_batches_in_shuffled_order(fixture_server, name):
    """The same through the engine, twice: small blocks, and every sample a block of its own."""
    want = expected(name)
    having = Counter(field for line in want for field in line["fields"])
    fields = [f for f, n in having.items() if n == len(want)] or [having.most_common(1)[0][0]]
    owners = [i for i, line in enumerate(want) if set(fields) <= set(line["fields"])]
    for options in ({"block": 3, "lanes": 5}, {"shuffle": "global"}):
        with hr.open(url(name), **fixture_server.options) as ds:
            loader = ds.loader(
                batch_size=7, seed=2, memory="16MiB", remainder="short", on_bad_sample="skip",
                decode={field: bytes for field in fields}, **options,
            )  # fmt: skip
            seen = []
            for batch in loader:
                for row, i in enumerate(batch.ids.tolist()):
                    for field in fields:
                        known = want[i]["fields"][field]
                        assert fingerprint(batch[field][row]) == (known["len"], known["sha256"])
                    seen += [i] if batch.valid[row] else []
            assert sorted(seen) == owners


@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_compressed_shards(fixture_server, name):
    want = {}
    shards = sorted(path.name for path in (FIXTURES / name / "data").iterdir())
    shards = [shard for shard in shards if shard not in ("index.json",)]
    rows = Counter()
    for line in expected(name):
        want[shards.index(line["shard"]), rows[line["shard"]]] = line
        rows[line["shard"]] += 1
    with hr.open(url(name), **fixture_server.options) as ds:
        assert not ds.counted
        assert [shard for shard, *_ in ds.shards] == shards
        having = Counter(field for line in want.values() for field in line["fields"])
        fields = [f for f, n in having.items() if n == len(want)]
        loader = ds.loader(batch_size=7, seed=3, decode={field: bytes for field in fields})
        for _ in loader.epochs(2):
            seen = []
            for batch in loader:
                for row, number in enumerate(batch.ids.tolist()):
                    place = number >> 32, number & ((1 << 32) - 1)
                    for field in fields:
                        known = want[place]["fields"][field]
                        got = fingerprint(bytes(batch[field][row]))
                        assert got == (known["len"], known["sha256"]), (place, field)
                    seen.append(place)
            assert sorted(seen) == sorted(want)
