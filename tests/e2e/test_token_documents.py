# SPDX-License-Identifier: Apache-2.0
"""Samples that Megatron's .idx tells: sequences, documents, marked and packed windows; LitData's tokens."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
BINS = ["u16", "i32"]


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def lines(name, shard=""):
    text = (FIXTURES / name / "expected.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, text) if shard in line["shard"]]


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def url(kind):
    return f"s3://megatron-indexed/data/text_{kind}_document.bin"


def stream_and_documents(kind):
    """All tokens of a file, and where each of its documents ends, from what megatron-core read."""
    want = lines("megatron-indexed", kind)
    dtype = want[0]["fields"]["tokens"]["dtype"]
    tokens = np.fromfile(FIXTURES / f"megatron-indexed/data/text_{kind}_document.bin", dtype)
    ends = np.cumsum([line["fields"]["tokens"]["shape"][0] for line in want])
    bounds = next(line for line in want if "document_indices" in line)["document_indices"]
    return tokens, [int(ends[b - 1]) for b in bounds[1:]], [int(e) for e in ends]


@pytest.mark.parametrize("kind", BINS)
def test_sequences(fixture_server, kind):
    want = lines("megatron-indexed", kind)
    with hr.open(url(kind), samples="sequence", **fixture_server.options) as ds:
        assert ds.format == "tokens"
        assert ds.fields == ["tokens"]
        assert len(ds) == len(want)
        for i, line in enumerate(want):
            assert digest(ds[i]["tokens"]) == line["fields"]["tokens"]["sha256"]
            _shard, begin, size = ds.extent(i)
            assert begin <= line["offset"] < begin + size


def test_modes_of_multimodal_sequences(fixture_server):
    want = lines("megatron-multimodal")
    with hr.open(
        "s3://megatron-multimodal/data/", samples="sequence", **fixture_server.options
    ) as ds:
        assert ds.fields == ["tokens", "mode"]
        for i, line in enumerate(want):
            sample = ds[i]
            assert digest(sample["tokens"]) == line["fields"]["tokens"]["sha256"]
            assert sample["mode"] == line["fields"]["mode"]["value"]
        batch = next(iter(ds.loader(batch_size=8, seed=1)))
        assert batch["mode"].tolist() == [want[i]["fields"]["mode"]["value"] for i in batch.ids]


@pytest.mark.parametrize("kind", BINS)
def test_documents(fixture_server, kind):
    tokens, documents, sequences = stream_and_documents(kind)
    with hr.open(url(kind), samples="document", **fixture_server.options) as ds:
        assert len(ds) == len(documents) == 40
        begin = 0
        for i, end in enumerate(documents):
            sample = ds[i]
            assert sample["tokens"].tolist() == tokens[begin:end].tolist()
            inside = [s - begin for s in sequences if begin < s <= end]
            assert sample["cu_seqlens"].tolist() == [0, *inside]
            begin = end


@pytest.mark.parametrize("kind", BINS)
def test_windows_that_say_where_documents_begin(fixture_server, kind):
    tokens, documents, _ = stream_and_documents(kind)
    with hr.open(url(kind), window=64, boundaries=True, **fixture_server.options) as ds:
        assert len(ds) == len(tokens) // 64
        for batch in ds.loader(batch_size=8, seed=2, remainder="short"):
            for row, i in enumerate(batch.ids.tolist()):
                begin = 64 * i
                assert batch["tokens"][row].tolist() == tokens[begin : begin + 64].tolist()
                inside = [d - begin for d in documents if begin < d < begin + 64]
                assert list(batch["cu_seqlens"][row]) == [0, *inside, 64]


def packed(documents, window):
    """The rows, by the rule of docs/formats/tokens.md, written down once more."""
    pieces, rows, begin = [], [], 0
    for end in documents:
        while end - begin > window:
            pieces.append((begin, begin + window, True))
            begin += window
        pieces.append((begin, end, False))
        begin = end
    row = None
    for first, last, full in pieces:
        if row and (last - row[0] > window or full):
            rows.append(tuple(row))
            row = None
        row = [row[0] if row else first, last]
        if last - row[0] == window:
            rows.append(tuple(row))
            row = None
    return rows + ([tuple(row)] if row else [])


@pytest.mark.parametrize("window", [32, 100, 1000])
def test_packed_windows(fixture_server, window):
    tokens, documents, _ = stream_and_documents("u16")
    rows = packed(documents, window)
    options = {"window": window, "samples": "packed", "eos": 7, **fixture_server.options}
    seen = []
    for rank in range(3):
        with hr.open(url("u16"), **options) as ds:
            assert len(ds) == len(rows)
            loader = ds.loader(batch_size=4, seed=3, rank=rank, world_size=3, remainder="pad")
            for batch in loader:
                for row, i in enumerate(batch.ids.tolist()):
                    begin, end = rows[i]
                    fill = [7] * (window - (end - begin))
                    assert batch["tokens"][row].tolist() == [*tokens[begin:end].tolist(), *fill]
                    assert batch["length"][row] == end - begin
                    marks = [d - begin for d in documents if begin < d < end] + [end - begin]
                    assert list(batch["cu_seqlens"][row]) == [
                        0,
                        *marks,
                        *([window] if fill else []),
                    ]
                    seen += [i] if batch.valid[row] else []
    assert sorted(seen) == list(range(len(rows)))


def test_a_named_index_reads_the_idx_again(fixture_server, tmp_path):
    path = str(tmp_path / "x.hridx")
    with hr.open(url("u16"), samples="sequence", **fixture_server.options) as ds:
        ds.index(save=path)
        want = [ds[i]["tokens"].tolist() for i in range(10)]
    with hr.open(url("u16"), index=path, **fixture_server.options) as ds:
        assert [ds[i]["tokens"].tolist() for i in range(10)] == want


def test_checksums(fixture_server):
    options = {"samples": "packed", "window": 50, "check": True, **fixture_server.options}
    with hr.open(url("u16"), save=None, **options) as ds:
        assert "(checksums" in str(ds)
        assert sum(len(b.ids) for b in ds.loader(batch_size=4, remainder="short")) == len(ds)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": "sequence", "window": 8}, "window= and eos= are for windows"),
        ({"samples": "packed"}, "need window="),
        ({"window": 8, "boundaries": True, "eos": 1}, "in place of eos="),
        ({"samples": "paragraph"}, "'sequence'"),
    ],
)
def test_options_that_contradict_each_other(fixture_server, options, said):
    with pytest.raises(hr.Error, match=said):
        hr.open(url("u16"), **options, **fixture_server.options)


def test_sequences_want_an_idx(fixture_server):
    with pytest.raises(hr.Error, match=r"\.idx beside each \.bin"):
        hr.open(
            "s3://nanogpt-bin/data/", samples="sequence", token_dtype="uint16",
            **fixture_server.options,
        )  # fmt: skip


def test_an_idx_of_another_bin(tmp_path):
    for ending in ("bin", "idx"):
        source = FIXTURES / f"megatron-indexed/data/text_u16_document.{ending}"
        (tmp_path / f"a.{ending}").write_bytes(source.read_bytes())
    with open(tmp_path / "a.bin", "ab") as file:
        file.write(b"xx")
    with pytest.raises(hr.CorruptError, match=r"a\.idx.*the \.bin has 8848"):
        hr.open(str(tmp_path / "a.bin"), samples="sequence", save=None)


@pytest.mark.parametrize("name", ["litdata-tokens", "litdata76-tokens"])
def test_litdata_tokens(fixture_server, name):
    want = lines(name)
    with hr.open(f"s3://{name}/data/", window=64, **fixture_server.options) as ds:
        assert ds.format == "tokens"
        assert len(ds) == len(want)
        assert "TokensLoader" in str(ds)
        for i, line in enumerate(want):
            assert digest(ds[i]["tokens"]) == line["fields"][""]["sha256"]
            assert ds.extent(i)[0] == line["shard"]
        seen = [
            i for batch in ds.loader(batch_size=7, remainder="short") for i in batch.ids.tolist()
        ]
        assert sorted(seen) == list(range(len(want)))
    with pytest.raises(hr.Error, match="need window="):
        hr.open(f"s3://{name}/data/", **fixture_server.options)
