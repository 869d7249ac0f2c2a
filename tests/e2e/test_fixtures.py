# SPDX-License-Identifier: Apache-2.0
"""Every tar and MDS set that other projects' writers made, read through S3, equals its expected.jsonl.

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
# Compressed shards have no index; tests/e2e/test_stream_order.py reads them.
COMPRESSED = {"wds-shardwriter-gz", "wds-shardwriter-zst"}
SETS = sorted({path.parent.name for path in FIXTURES.glob("*/expected.jsonl")} - COMPRESSED)


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def expected(name):
    lines = (FIXTURES / name / "expected.jsonl").read_text().splitlines()
    samples = [line for line in map(json.loads, lines) if "fields" in line]
    if name == "wds-wids":  # its reader keeps the dot before a field's name
        for sample in samples:
            sample["fields"] = {f.removeprefix("."): v for f, v in sample["fields"].items()}
    return samples


def fingerprint(content):
    return len(content), hashlib.sha256(content).hexdigest()


def test_there_are_fixtures():
    assert len(SETS) >= 14


@pytest.mark.parametrize("name", SETS)
def test_samples_one_by_one(fixture_server, name):
    want = expected(name)
    with hr.open(f"s3://{name}/data/", **fixture_server.options) as ds:
        assert len(ds) == len(want)
        for i, line in enumerate(want):
            got = {field: fingerprint(content) for field, content in ds.raw(i).items()}
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
        with hr.open(f"s3://{name}/data/", **fixture_server.options) as ds:
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
