# SPDX-License-Identifier: Apache-2.0
"""Every fixture through the embedded S3 server: in its default order and shuffled globally, by three
ranks that are killed in the middle and resumed from their states; every sample exactly once, and what
a batch holds is what ``ds`` says. (That ``ds`` says what the formats' own readers say is shown by the
tests that the table names.)

With HEADRACE_FORMAT_TABLE=PATH the table of docs/formats/README.md is written there.
"""

import json
import os
from collections import Counter
from pathlib import Path

import every_format
import pytest
from every_format import FIXTURES, cases, digest
from killed_reader import killed_and_resumed, rows_of

import headrace as hr
from headrace.serve import Server

CASES = cases()
TABLE = {}
WORLD, STOP_AFTER, SIZE = 3, 2, 4


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    path = os.environ.get("HEADRACE_FORMAT_TABLE")
    if path:
        rows = [TABLE[case.title] for case in CASES if case.title in TABLE]
        Path(path).write_text("\n".join([*every_format.HEAD, *rows]) + "\n")


def decode_of(ds):
    """Stored bytes where there are any, of the fields that all samples have; what units hold is decoded."""
    if ds.core.unit_counts() is not None:  # nulls need a value to stand in: test_parquet.py
        rows = list(ds)
        return {f: "auto" for f in ds.fields if all(row[f] is not None for row in rows)}
    if ds.format.startswith("mosaic"):
        return None
    having = ds.core.fields()
    if ds.format == "jsonl":  # keys that only some lines have
        return {"line": bytes}
    common = [name for name, count in having if not ds.counted or count == len(ds)]
    return {name: bytes for name in common or [having[0][0]]}


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_every_sample_once_in_every_order_killed_and_resumed(fixture_server, case):
    def ds_of():
        return hr.open(case.url, **case.options, **fixture_server.options)

    with ds_of() as ds:
        decode = decode_of(ds)
        facts = {"format": ds.format}
        counted = ds.counted
        want = truth(ds, decode) if counted else None
    if not counted:
        samples = stream(ds_of, case, fixture_server, decode)
        facts |= {"order": "stream", "samples": samples, "passed": "1 rank"}
        TABLE[case.title] = every_format.row(case, facts)
        return
    for shuffle in (True, "global"):
        options = {
            "batch_size": SIZE, "seed": 5, "world_size": WORLD, "remainder": "pad", "memory": "32MiB",
            "on_bad_sample": "skip", "decode": decode, "shuffle": shuffle,
        }  # fmt: skip
        seen = Counter()
        batches = -(-len(want) // (SIZE * WORLD))
        stop_after = min(STOP_AFTER, batches - 1)
        opened = {**case.options, **fixture_server.options}
        for number, values in killed_and_resumed(case.url, opened, options, stop_after):
            seen[number] += 1
            assert values
            known = want[number]
            assert {n: known[n] for n in values if known[n]} == {
                n: v for n, v in values.items() if known[n]
            }, (shuffle, number)
        assert seen == Counter(want.keys()), shuffle
    units = "units" if "units" in facts or ds_units(ds_of) else "indexed"
    facts |= {"order": units, "samples": len(want), "passed": "default and global"}
    TABLE[case.title] = every_format.row(case, facts)


def ds_units(ds_of):
    with ds_of() as ds:
        return ds.core.unit_counts() is not None


def truth(ds, decode):
    """What each sample is, by its number; of samples that lack a field nothing is delivered."""
    want = {}
    for number in range(len(ds)):
        stored = decode is not None and bytes in decode.values()
        values = ds.raw(number) if stored else ds[number]
        names = [n for n in values if n != "__key__"] if decode is None else list(decode)
        if all(name in values for name in names):
            want[number] = {name: known_digest(values[name]) for name in names}
    return want


def known_digest(value):
    """Of a null or a NaN nothing: which bits it has in a batch is test_parquet.py's matter."""
    nothing = value is None or (isinstance(value, float) and value != value)
    return None if nothing else digest(value)


def stream(ds_of, case, server, decode):
    """A stream's samples have no numbers: two passes, one of them killed and resumed, hold the same."""
    options = {"batch_size": SIZE, "seed": 5, "world_size": 1, "decode": decode}
    with ds_of() as ds:
        loader = ds.loader(rank=0, **options)
        batches = [list(rows_of(batch)) for batch in loader]
        loader.close()
    whole = Counter(json.dumps(row) for batch in batches for row in batch)
    opened = {**case.options, **server.options}
    stop_after = min(STOP_AFTER, len(batches) - 1)
    rows = killed_and_resumed(case.url, opened, options, stop_after)
    again = Counter(json.dumps(row) for row in rows)
    assert again == whole
    assert max(whole.values()) == 1
    return len(whole)


@pytest.mark.parametrize(("name", "page"), every_format.REFUSED.items())
def test_what_is_not_read_says_so_and_where_to_read_why(fixture_server, name, page):
    with pytest.raises(hr.Error, match=r"not read"):
        hr.open(f"s3://{name}/data/", **fixture_server.options)
    assert (FIXTURES.parents[1] / "docs" / "formats" / page).exists()


def test_the_table_in_the_docs_names_every_case():
    text = (FIXTURES.parents[1] / "docs" / "formats" / "README.md").read_text()
    for case in CASES:
        cell = f"| `{case.name}`" + (f", {case.tag} |" if case.tag else " |")
        assert cell in text, case.title
