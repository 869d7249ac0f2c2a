# SPDX-License-Identifier: Apache-2.0
"""Files of tokens, as nanoGPT, llm.c and Megatron write them: every window, in any order, once."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
NANOGPT = {"window": 256, "token_dtype": "uint16"}


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def lines(name):
    return list(map(json.loads, (FIXTURES / name / "expected.jsonl").read_text().splitlines()))


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_windows_of_nanogpt(fixture_server):
    want = [line["fields"] for line in lines("nanogpt-bin") if line["kind"] == "window"]
    with hr.open("s3://nanogpt-bin/data/", **NANOGPT, **fixture_server.options) as ds:
        assert ds.format == "tokens"
        assert list(ds.counts) == [78, 8]
        assert ds.fields == ["tokens"]
        windows = [ds[i]["tokens"] for i in range(len(ds))]
        assert [digest(w) for w in windows] == [fields["x"]["sha256"] for fields in want]
        for i in range(77):  # targets are the window shifted by one
            y = np.append(windows[i][1:], windows[i + 1][0])
            assert digest(y) == want[i]["y"]["sha256"]
        for shuffle in ({}, {"shuffle": "global"}, {"order": "stream"}):
            again = hr.open(
                "s3://nanogpt-bin/data/", **NANOGPT, **fixture_server.options,
                **({"order": "stream"} if "order" in shuffle else {}),
            )  # fmt: skip
            seen = []
            worlds = range(1 if "order" in shuffle else 3)
            for rank in worlds:
                options = {} if "order" in shuffle else {**shuffle, "world_size": 3, "rank": rank}
                for batch in again.loader(batch_size=5, seed=1, remainder="pad", **options):
                    assert batch["tokens"].dtype == np.uint16
                    assert batch["tokens"].shape == (5, 256)
                    seen += [
                        digest(row)
                        for row, valid in zip(batch["tokens"], batch.valid, strict=True)
                        if valid
                    ]
            assert sorted(seen) == sorted(fields["x"]["sha256"] for fields in want), shuffle


def test_llmc_files_say_their_dtype_and_count(fixture_server, tmp_path):
    with hr.open("s3://llmc-bin/data/", window=250, **fixture_server.options) as ds:
        assert list(ds.counts) == [40, 12]
        flat = np.concatenate([ds[i]["tokens"] for i in range(52)])
    for line, tokens in zip(lines("llmc-bin"), (flat[:10000], flat[10000:]), strict=True):
        assert digest(tokens) == line["fields"]["tokens"]["sha256"]
    source = FIXTURES / "llmc-bin" / "data" / "fineweb_val_000000.bin"
    (tmp_path / "a.bin").write_bytes(source.read_bytes()[:-2])
    with pytest.raises(hr.CorruptError, match="its header says 3000 tokens"):
        hr.open(tmp_path, window=250)
    (tmp_path / "a.bin").write_bytes(source.read_bytes())
    (tmp_path / "b.bin").write_bytes(bytes(4000))
    with pytest.raises(hr.CorruptError, match=r"b\.bin.*not the llm\.c header"):
        hr.open(tmp_path, window=250)


@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("megatron-indexed", "text_u16_document.bin"),
        ("megatron-indexed", "text_i32_document.bin"),
        ("megatron-multimodal", "mm.bin"),
    ],
)
def test_megatron_says_its_dtype_beside_the_tokens(fixture_server, name, shard):
    with hr.open(f"s3://{name}/data/{shard}", window=30, **fixture_server.options) as ds:
        flat = np.concatenate([ds[i]["tokens"] for i in range(len(ds))])
    mine = [line for line in lines(name) if line["shard"] == shard]
    total = sum(line["length"] for line in mine) // flat.dtype.itemsize
    assert len(flat) == total // 30 * 30
    covered = 0
    for line in mine:  # whole sequences, where the windows reach so far
        begin = line["offset"] // flat.dtype.itemsize
        end = begin + line["length"] // flat.dtype.itemsize
        if end <= len(flat):
            assert digest(flat[begin:end]) == line["fields"]["tokens"]["sha256"]
            covered += 1
    assert covered >= len(mine) - 3


def test_documents_in_a_window(tmp_path):
    tokens = np.array([5, 0, 7, 8, 0, 1, 2, 3, 4, 0, 0, 9], np.uint16)
    tokens.tofile(tmp_path / "x.bin")
    with hr.open(tmp_path, window=4, token_dtype="uint16", eos=0, check=True) as ds:
        assert ds.fields == ["tokens", "cu_seqlens"]
        assert [ds[i]["cu_seqlens"].tolist() for i in range(3)] == [
            [0, 2, 4],
            [0, 1, 4],
            [0, 2, 3, 4],
        ]
        batch = next(iter(ds.loader(batch_size=3, shuffle=False)))
        assert batch["tokens"].tolist() == tokens.reshape(3, 4).tolist()
        assert batch["cu_seqlens"][2].tolist() == [0, 2, 3, 4]
    damaged = tokens.copy()
    damaged[6] ^= 1
    with hr.open(tmp_path, window=4, token_dtype="uint16", eos=0, check=True, trust="copy") as ds:
        damaged.tofile(tmp_path / "x.bin")
        with pytest.raises(hr.Error):
            list(ds.loader(batch_size=3))


def test_another_window_is_another_data_set(tmp_path):
    np.arange(1000, dtype=np.uint16).tofile(tmp_path / "x.bin")
    for window, count in ((10, 100), (100, 10), (10, 100)):
        with hr.open(tmp_path, window=window, token_dtype="uint16", index_dir=tmp_path / "i") as ds:
            assert len(ds) == count
            assert ds[count - 1]["tokens"].tolist() == list(range(1000 - window, 1000))


def test_what_has_to_be_said_is_asked_for(fixture_server, tmp_path):
    np.arange(1000, dtype=np.uint16).tofile(tmp_path / "x.bin")
    with pytest.raises(hr.OptionError, match="need window="):
        hr.open(tmp_path, token_dtype="uint16")
    with pytest.raises(hr.OptionError, match=r"give token_dtype= \(\"uint16\" for nanoGPT's\)"):
        hr.open(tmp_path, window=10)
    with pytest.raises(hr.OptionError, match="is not one of uint8"):
        hr.open(tmp_path, window=10, token_dtype="float32")
    with pytest.raises(hr.OptionError, match='token_dtype="uint8", but the data say int32'):
        hr.open(
            FIXTURES / "megatron-multimodal" / "data" / "mm.bin", window=10, token_dtype="uint8"
        )
    with pytest.raises(hr.UnsupportedError, match=r"int32.*those of the first file|uint16.*those"):
        hr.open("s3://megatron-indexed/data/", window=10, **fixture_server.options)
    with pytest.raises(hr.OptionError, match="are for files of tokens, this is webdataset"):
        hr.open(FIXTURES / "wds-medium" / "data", window=10)
    with pytest.raises(hr.CorruptError, match="no whole number of uint32 tokens"):
        (tmp_path / "x.bin").write_bytes(bytes(1002))
        hr.open(tmp_path, window=10, token_dtype="uint32")
