# SPDX-License-Identifier: Apache-2.0
"""ArrayRecord beyond equality (test_fixtures.py): what opening costs, what is refused, what damage does."""

import shutil
from pathlib import Path

import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def opened(path, **options):
    return hr.open(str(path), save=None, index_dir=str(path.parent / "no-index"), **options)


def test_the_name_says_what_it_is_and_the_footers_where_samples_are():
    with Server(FIXTURES) as server:
        with hr.open("s3://arrayrecord-groups/data/", save=None, **server.options) as ds:
            assert ds.format == "arrayrecord"
            assert "by the names' ending, .array_record" in str(ds)
            assert len(ds) == 172
            assert not ds.core.has_checksums
        with hr.open(
            "s3://arrayrecord-groups/data/", save=None, check=True, **server.options
        ) as ds:
            assert ds.core.has_checksums


def test_examples_are_columns():
    with opened(FIXTURES / "arrayrecord-examples" / "data") as ds:
        assert set(ds.fields) == {"box", "caption", "ids", "image", "label", "record"}
        loader = ds.loader(batch_size=60, shuffle=False, decode={"label": int, "caption": str})
        (batch,) = loader
        assert batch["label"].shape == (60,)
        assert batch["caption"][0] == ds[0]["caption"].decode()
        loader.close()


def test_transposed_files_are_refused_with_the_writers_option(place):
    shutil.copy(FIXTURES / "arrayrecord-groups" / "transposed.array_record", place)
    with pytest.raises(hr.UnsupportedError, match="write the file without transpose:true"):
        opened(place)


def test_there_is_no_stream_order(place):
    shutil.copy(FIXTURES / "arrayrecord-groups" / "data" / "g7-zstd.array_record", place)
    with pytest.raises(hr.UnsupportedError, match="leave order= out"):
        opened(place, order="stream")


def test_a_file_that_its_writer_did_not_close_is_an_error(place):
    whole = (FIXTURES / "arrayrecord-groups" / "data" / "g1-large.array_record").read_bytes()
    for size, part in ((len(whole) - 65_536, "no postscript"), (len(whole) - 1, "cut off")):
        (place / "a.array_record").write_bytes(whole[:size])
        with pytest.raises(hr.CorruptError, match=part) as caught:
            opened(place)
        assert "a.array_record" in str(caught.value)


def test_a_damaged_chunk_is_told_and_can_be_skipped(place):
    for path in (FIXTURES / "arrayrecord-examples" / "data").iterdir():
        shutil.copy(path, place)
    first = place / "train.array_record-00000-of-00003"
    content = bytearray(first.read_bytes())
    content[64 + 40 + 20] ^= 1  # in the data of its first chunk
    first.write_bytes(content)
    with opened(place) as ds:
        with pytest.raises(hr.CorruptError, match="hash of its data is wrong"):
            ds.raw(0)
        loader = ds.loader(
            batch_size=60, shuffle=False, decode={"record": bytes}, on_bad_sample="skip"
        )
        seen = [i for batch in loader for i, ok in zip(batch.ids, batch.valid, strict=True) if ok]
        loader.close()
    assert 0 not in seen
    assert set(range(20, 60)) <= set(seen)
