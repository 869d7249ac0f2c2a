# SPDX-License-Identifier: Apache-2.0
"""Parquet, Arrow and LitData's rows with an index that holds checksums of their pages: what changes
after it was made is an error, whatever the format itself would say."""

import shutil
from pathlib import Path

import pytest

import headrace as hr
from headrace.indexing import IndexJob

pytest.importorskip("pyarrow")

FIXTURES = Path(__file__).parents[1] / "fixtures"
SETS = ("parquet-polars", "parquet-pyarrow", "hf-arrow", "litdata76-json-rows")
FLIPS = 24  # a data set; every bit: src/format/unit_checks_test.cc and docs/proofs.md


@pytest.fixture(params=SETS)
def folder(request, tmp_path):
    shutil.copytree(FIXTURES / request.param / "data", tmp_path / "data")
    return tmp_path / "data"


def opened(folder, tmp_path, **options):
    return hr.open(str(folder), save=None, index_dir=str(tmp_path / "index"), **options)


def saved(folder, tmp_path, **options):
    path = str(tmp_path / "made.idx")
    with opened(folder, tmp_path, **options) as ds:
        ds.core.save_index(path)
        return path, ds.core.has_checksums, len(ds), [repr(row) for row in ds]


def shards(folder):
    return [p for p in sorted(folder.rglob("*")) if p.suffix not in (".json", "")]


def test_checksums_are_made_when_asked_and_kept(folder, tmp_path):
    _, has, samples, _ = saved(folder, tmp_path)
    assert not has  # only footers and heads were read
    path, has, again, _ = saved(folder, tmp_path, check=True)
    assert has
    assert again == samples
    with opened(folder, tmp_path, index=path) as ds:
        assert ds.core.has_checksums
        assert "(checksums," in str(ds)
    with opened(folder, tmp_path, check=True) as ds:  # from the local folder: nothing is read again
        assert "saved at" not in ds.core.index_source


def test_the_cost_of_checksums_is_all_bytes(folder, tmp_path):
    size = sum(p.stat().st_size for p in shards(folder))
    footers = IndexJob(str(folder), index_dir=str(tmp_path / "none")).cost()
    job = IndexJob(str(folder), index_dir=str(tmp_path / "full"), check=True)
    assert job.cost().checksums
    assert not footers.checksums
    assert job.cost().bytes_to_read >= size > footers.bytes_to_read // 2


def test_no_flipped_bit_gives_another_sample(folder, tmp_path):
    path, _, samples, truth = saved(folder, tmp_path, check=True)
    files = shards(folder)
    counts = {"error": 0, "same": 0, "other": 0}
    for n in range(FLIPS):
        file = files[n % len(files)]
        whole = bytearray(file.read_bytes())
        at = len(whole) * n // FLIPS
        whole[at] ^= 1 << n % 8
        file.write_bytes(whole)
        with opened(folder, tmp_path, index=path, trust="copy") as ds:
            for i in range(samples):
                try:
                    same = repr(ds[i]) == truth[i]
                except hr.CorruptError as error:
                    counts["error" if "CRC-32C expected=" in str(error) else "other"] += 1
                    break
                assert same, (file.name, at)
            else:
                counts["same"] += 1  # footers, heads, padding: not read any more
        whole[at] ^= 1 << n % 8
        file.write_bytes(whole)
    assert counts["error"] > 0
    assert counts["other"] == 0  # found by our checksums, before any decoder


def test_a_batch_of_a_damaged_page_names_the_object_and_both_values(folder, tmp_path):
    path, _, _, _ = saved(folder, tmp_path, check=True)
    with opened(folder, tmp_path) as ds:  # batches have no nulls
        truth = list(ds)
    file = max(shards(folder), key=lambda p: p.stat().st_size)
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    with opened(folder, tmp_path, index=path, trust="copy") as ds:
        names = [name for name in ds.fields if all(row[name] is not None for row in truth)]
        loader = ds.loader(batch_size=4, shuffle=False, decode=dict.fromkeys(names, "auto"))
        with pytest.raises(hr.CorruptError, match=rf"{file.name}.*expected=.* got=") as caught:
            list(loader)
        assert "is not what it was when it was indexed" in str(caught.value)
        loader.close()
