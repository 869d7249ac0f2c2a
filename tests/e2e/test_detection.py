# SPDX-License-Identifier: Apache-2.0
"""How a data set's format is found out, that print(ds) says so, and that format= settles it."""

import json
import shutil
from pathlib import Path

import pytest
from small_data import sample_fields, write_tar

import headrace as hr

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def place(tmp_path):
    """Below the one that has the tests' own cache folder."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def known(path, **options):
    with hr.open(str(path), save=None, **options) as ds:
        line = next(x for x in str(ds).splitlines() if x.strip().startswith("known"))
        return ds.format, line.split(None, 1)[1]


def test_names(place):
    write_tar(place / "a.tar", 0, 20, sample_fields)
    assert known(place) == ("webdataset", "by the names' ending, .tar")
    assert known(place / "a.tar") == ("webdataset", "by the names' ending, .tar")
    (place / "README.md").write_text("notes")
    (place / "logs").mkdir()
    (place / "logs" / "x.log").write_text("notes")
    form, why = known(place)
    assert form == "webdataset"
    assert why.endswith("; passed over: 2 other objects (README.md, ...)")


def test_hidden_objects_are_nobodys_business(place):
    write_tar(place / "a.tar", 0, 20, sample_fields)
    (place / ".cache").mkdir()
    (place / ".cache" / "b.parquet").write_text("x")
    assert known(place) == ("webdataset", "by the names' ending, .tar")


def test_index_json(place):
    for name, form in (
        ("mds-scalars", "mds"),
        ("litdata-pytree", "litdata"),
        ("mosaic-json", "mosaic-json"),
    ):
        shutil.copytree(FIXTURES / name / "data", place / name)
        assert known(place / name) == (form, "its index.json says so")
        (place / name / "cover.png").write_bytes(b"x")  # company of an index.json
        assert known(place / name)[0] == form
    with pytest.raises(hr.OptionError, match="it says mds, format= says litdata"):
        hr.open(str(place / "mds-scalars"), format="litdata")


def test_a_named_index(place):
    write_tar(place / "a.tar", 0, 20, sample_fields)
    with hr.open(str(place / "a.tar"), save=str(place / "a.hridx")):
        pass
    assert known(place / "a.tar", index=str(place / "a.hridx")) == (
        "webdataset",
        "the index says so",
    )


def test_format_settles_it(place):
    write_tar(place / "a.shard", 0, 20, sample_fields)
    (place / "b.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(hr.NotFoundError, match="no shards"):
        hr.open(str(place / "a.shard"))
    assert known(place / "a.shard", format="webdataset") == ("webdataset", "format= says so")
    form, why = known(place, format="jsonl")
    assert (form, why) == ("jsonl", "format= says so; passed over: 1 other objects (a.shard)")


def test_a_wrong_format_is_an_error_not_a_guess(place):
    (place / "b.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    with pytest.raises(hr.Error, match=r"b\.jsonl"):
        hr.open(str(place / "b.jsonl"), format="webdataset", save=None)
    shutil.copyfile(FIXTURES / "parquet-hf" / "data" / first("parquet-hf"), place / "x.tar")
    with pytest.raises(hr.CorruptError, match=r"x\.tar"):
        hr.open(str(place / "x.tar"), save=None)


def first(name):
    return sorted(p.name for p in (FIXTURES / name / "data").iterdir())[0]


def test_several_formats_are_named_with_one_of_each(place):
    write_tar(place / "a.tar", 0, 20, sample_fields)
    (place / "b.jsonl").write_text('{"a": 1}\n')
    (place / "c.jpg").write_bytes(b"x")
    with pytest.raises(
        hr.OptionError,
        match=r"images \(.*c\.jpg\) jsonl \(.*b\.jsonl\) webdataset \(.*a\.tar\); .*format=",
    ):
        hr.open(str(place))


def test_unknown_formats_list_the_known_ones(place):
    write_tar(place / "a.tar", 0, 20, sample_fields)
    with pytest.raises(hr.OptionError, match=r"'webdataset'.*'objects'"):
        hr.open(str(place), format="zip")
