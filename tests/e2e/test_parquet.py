# SPDX-License-Identifier: Apache-2.0
"""Parquet through S3: what pyarrow itself reads, in the order of units, exactly once, resumable."""

import datetime
import decimal
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FIXTURES = Path(__file__).parents[1] / "fixtures"
SETS = ("parquet-hf", "parquet-polars", "parquet-pyarrow")
SHUFFLES = (True, "global")
NULL = -7


@pytest.fixture(scope="module")
def fixture_server():
    with Server(FIXTURES) as running:
        yield running


def expected(name):
    return [json.loads(line) for line in (FIXTURES / name / "expected.jsonl").open()]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def canonical_json(value):
    """tests/fixtures/MANIFEST.md, "Canonical values"."""
    if isinstance(value, dict):
        return {k: canonical_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [canonical_json(v) for v in value]
    if isinstance(value, float):
        return {"$f": c99_hex(value)}
    return {"$b": value.hex()} if isinstance(value, bytes) else value


def c99_hex(value):
    return value.hex()


def json_sha(value):
    text = json.dumps(
        canonical_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return sha(text.encode())


def assert_value(want, got, empty_for_null=False):
    """`got`, of ds[i] or of a batch, is what the line says."""
    kind = want["type"]
    if kind == "null":
        if empty_for_null and isinstance(got, np.floating):
            assert np.isnan(got)  # floats have a value of their own for nothing
            return
        nothing = (b"", "", NULL, None) if empty_for_null else (None,)
        assert got in nothing
    elif kind in ("int", "bool"):
        assert got == want["value"]
    elif kind == "float":
        assert float(got) == float.fromhex(want["hex"])
    elif kind in ("str", "bytes"):
        raw = got.encode() if kind == "str" else got
        assert (len(raw), sha(raw)) == (want["len"], want["sha256"])
    elif kind == "struct":
        assert json_sha(got) == want["json_sha256"]
    elif "dtype" in want:
        assert (str(got.dtype), list(got.shape), sha(got.tobytes())) == (
            want["dtype"],
            want["shape"],
            want["sha256"],
        )
    else:
        assert len(got) == want["len"] == 0


def joined(sample):
    """{bytes, path} again, as the file has it."""
    out = {k: v for k, v in sample.items() if not k.startswith("__")}
    if "image.path" in out:
        # In a batch the path of an image without one is an empty text.
        out["image"] = {"bytes": out["image"], "path": out.pop("image.path") or None}
    return out


def assert_sample(line, sample, **how):
    sample = joined(sample)
    assert sample.keys() == line["fields"].keys()
    for field, want in line["fields"].items():
        assert_value(want, sample[field], **how)


@pytest.mark.parametrize("name", SETS)
def test_samples_one_by_one(fixture_server, name):
    want = expected(name)
    with hr.open(f"s3://{name}/data/", **fixture_server.options) as ds:
        assert ds.format == "parquet"
        assert len(ds) == len(want)
        for i, line in enumerate(want):
            assert_sample(line, ds[i])
            shard, offset, length = ds.extent(i)
            size = (FIXTURES / name / "data" / shard).stat().st_size
            assert shard == line["shard"]
            assert 0 < offset < offset + length < size


def rows_of(batch):
    for row, number in enumerate(batch.ids.tolist()):
        if batch.valid[row]:
            yield number, {name: column[row] for name, column in batch.items()}


def decode_of(want):
    """A number for null where a column of bool or whole numbers has nulls; None for the rest."""
    kinds = {field: {line["fields"][field]["type"] for line in want} for field in want[0]["fields"]}
    decode = dict.fromkeys(kinds)
    if "image" in decode:
        decode["image.path"] = None
    decode |= {f: hr.decode.integer(null=NULL) for f, k in kinds.items() if k >= {"bool", "null"}}
    return {"decode": decode}


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("name", SETS)
def test_batches_of_three_ranks_killed_and_resumed(fixture_server, name, shuffle):
    want = expected(name)
    seen = []
    for rank in range(3):
        options = {"batch_size": 4, "shuffle": shuffle, "seed": 3, "remainder": "short"}
        options |= decode_of(want)
        state, numbers = None, []
        for batches in (3, 1 << 30):  # the first loader is lost after three batches
            with hr.open(f"s3://{name}/data/", **fixture_server.options) as ds:
                loader = ds.loader(rank=rank, world_size=3, **options)
                if state is not None:
                    loader.load_state_dict(json.loads(json.dumps(state)))
                for _, batch in zip(range(batches), loader, strict=False):
                    for number, sample in rows_of(batch):
                        assert_sample(want[number], sample, empty_for_null=True)
                        numbers.append(number)
                    state = loader.state_dict()
                    if len(numbers) >= 12 and batches == 3:
                        break
                loader.close()
        seen += numbers
    assert sorted(seen) == list(range(len(want)))


@pytest.mark.parametrize("name", SETS)
def test_the_order_is_that_of_units(fixture_server, name):
    with hr.open(f"s3://{name}/data/", **fixture_server.options) as ds:
        options = {"seed": 5, "lanes": 2, "shuffle": True}
        loader = ds.loader(
            batch_size=1, remainder="short", **options, **decode_of(expected(name))
        )
        order = ds.order(batch_size=1, **options)
        assert [batch.ids.item() for batch in loader] == list(order)
        units = ds.core.unit_counts()
        assert list(order) == list(hr.Order(units, seed=5, lanes=2, units=True))


# --- files of our own ---------------------------------------------------------------------------


def write(folder, name, table, **options):
    folder.mkdir(exist_ok=True, parents=True)
    pq.write_table(table, folder / name, **options)
    return table


def every_type():
    moment = datetime.datetime(2026, 11, 23, 12, 0, 0, 123456)
    rows = 50
    return pa.table(
        {
            "i8": pa.array([i - 25 for i in range(rows)], pa.int8()),
            "u16": pa.array([i * 1000 for i in range(rows)], pa.uint16()),
            "u64": pa.array([2**64 - 1 - i for i in range(rows)], pa.uint64()),
            "f16": pa.array(np.arange(rows, dtype=np.float16) / 8),
            "f32": pa.array([i / 3 for i in range(rows)], pa.float32()),
            "flag": pa.array([i % 3 == 0 for i in range(rows)]),
            "dec": pa.array([decimal.Decimal(i * 7 - 100) / 100 for i in range(rows)],
                            pa.decimal128(20, 2)),
            "big": pa.array([decimal.Decimal(-(10**40) - i) for i in range(rows)],
                            pa.decimal256(50, 0)),
            "day": pa.array([datetime.date(1969, 12, 1) + datetime.timedelta(i)
                             for i in range(rows)]),
            "at": pa.array([moment + datetime.timedelta(microseconds=i) for i in range(rows)],
                           pa.timestamp("us")),
            "text": pa.array([f"Zürich {i}" for i in range(rows)]),
            "cat": pa.array([("red", "green")[i % 2] for i in range(rows)]).dictionary_encode(),
            "blob": pa.array([bytes(range(i)) for i in range(rows)]),
            "four": pa.array([bytes([i] * 4) for i in range(rows)], pa.binary(4)),
            "list": pa.array([list(range(i % 7)) for i in range(rows)], pa.list_(pa.int64())),
            "texts": pa.array([["a", str(i)] for i in range(rows)]),
            "map": pa.array([[("k", i)] for i in range(rows)],
                            pa.map_(pa.string(), pa.int32())),
            "deep": pa.array([{"a": i, "b": [{"c": i / 2, "d": b"\x00\xff"}]}
                              for i in range(rows)]),
        }
    )  # fmt: skip


def as_ours(name, value):
    """What ds[i] gives for pyarrow's Python value."""
    epoch = datetime.datetime(1970, 1, 1)
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return (value - epoch) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return (value - epoch.date()).days
    if name == "map":
        return [list(pair) for pair in value]
    if name == "deep":
        return {"a": value["a"], "b": [{"c": value["b"][0]["c"], "d": "AP8="}]}
    return value


@pytest.mark.parametrize(
    "options",
    [
        {"row_group_size": 20},
        {"row_group_size": 50, "write_page_index": True, "data_page_size": 64,
         "write_batch_size": 8, "compression": "none", "use_dictionary": False},
        {"row_group_size": 30, "data_page_version": "2.0", "compression": "zstd"},
        {"row_group_size": 25, "compression": "gzip", "write_page_checksum": True},
        {"row_group_size": 25, "compression": "brotli", "store_schema": False},
    ],
)  # fmt: skip
def test_every_type_is_what_pyarrow_reads(tmp_path, options):
    table = write(tmp_path / "d", "a.parquet", every_type(), **options)
    with hr.open(str(tmp_path / "d")) as ds:
        assert ds.fields == table.column_names
        for i, row in enumerate(table.to_pylist()):
            got = ds[i]
            for name, value in row.items():
                want = as_ours(name, value)
                if name == "list":
                    assert got[name].tolist() == want
                elif name == "f32":
                    assert got[name] == np.float32(want)
                else:
                    assert got[name] == want, name


def test_pages_are_units_where_there_is_a_page_index(tmp_path):
    rng = np.random.default_rng(1)
    table = pa.table(
        {"blob": [rng.bytes(20_000) for _ in range(400)], "n": np.arange(400), "s": ["x"] * 400}
    )
    sizes = {
        "use_dictionary": ["s"],
        "row_group_size": 400,
        "data_page_size": 200_000,
        "write_batch_size": 10,
    }
    write(tmp_path / "index", "a.parquet", table, write_page_index=True, **sizes)
    write(tmp_path / "plain", "a.parquet", table, **sizes)
    with hr.open(str(tmp_path / "plain")) as plain, hr.open(str(tmp_path / "index")) as ds:
        assert plain.core.unit_counts().tolist() == [400]
        units = ds.core.unit_counts()
        assert 8 <= len(units) <= 40
        assert units.sum() == 400
        loader = ds.loader(batch_size=10, seed=1, decode={"blob": bytes, "n": int, "s": str})
        seen = []
        for batch in loader:
            for number, sample in rows_of(batch):
                assert sample == {"blob": table["blob"][number].as_py(), "n": number, "s": "x"}
                seen.append(number)
        assert sorted(seen) == list(range(400))
        assert seen != sorted(seen)
        # Small columns' pages span several units and are read again: at most a quarter more.
        assert loader.stats()["bytes_received"] < 1.25 * ds.nbytes


def test_only_the_wanted_columns_are_read(tmp_path):
    rng = np.random.default_rng(1)
    table = pa.table({"wide": [rng.bytes(50_000) for _ in range(200)], "label": np.arange(200)})
    write(tmp_path / "d", "a.parquet", table, row_group_size=20)
    with hr.open(str(tmp_path / "d")) as ds:
        loader = ds.loader(batch_size=10, columns=["label"])
        assert sorted(n for (labels,) in loader for n in labels.tolist()) == list(range(200))
        assert loader.stats()["bytes_received"] < ds.nbytes / 100
        assert ds.column("label", int).tolist() == list(range(200))


def test_nulls(tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, None, 3], pa.int32()),
            "f": pa.array([0.5, None, 2.5]),
            "s": pa.array(["a", None, ""]),
            "l": pa.array([[1.0, None], None, []], pa.list_(pa.float32())),
            "m": pa.array([{"x": 1}, None, {"x": None}]),
        }
    )
    write(tmp_path / "d", "a.parquet", table)
    with hr.open(str(tmp_path / "d")) as ds:
        assert [ds[i]["i"] for i in range(3)] == [1, None, 3]
        assert [ds[i]["f"] for i in range(3)] == [0.5, None, 2.5]
        assert [ds[i]["s"] for i in range(3)] == ["a", None, ""]
        assert [ds[i]["m"] for i in range(3)] == [{"x": 1}, None, {"x": None}]
        options = {"batch_size": 3, "shuffle": False}
        (batch,) = ds.loader(decode={"f": float, "s": str, "l": None, "m": None}, **options)
        assert np.isnan(batch["f"][1])
        assert batch["f"][[0, 2]].tolist() == [0.5, 2.5]
        assert batch["s"].to_list() == ["a", "", ""]
        assert [len(row) for row in batch["l"]] == [2, 0, 0]
        assert np.isnan(batch["l"][0][1])
        assert batch["m"].to_list() == [{"x": 1}, None, {"x": None}]
        (batch,) = ds.loader(decode={"i": hr.decode.integer(null=-1)}, **options)
        assert batch["i"].tolist() == [1, -1, 3]
        with pytest.raises(hr.Error, match=r"null.*int32.*null=-1"):
            list(ds.loader(decode={"i": int}, **options))


def test_files_need_not_have_the_same_columns(tmp_path):
    write(tmp_path / "d", "a.parquet", pa.table({"x": [1.5, 2.5], "y": ["a", "b"]}))
    write(tmp_path / "d", "b.parquet", pa.table({"more": [1], "y": ["c"]}))
    with hr.open(str(tmp_path / "d")) as ds:
        assert [ds[i] for i in range(3)] == [
            {"__key__": "", "x": 1.5, "y": "a"},
            {"__key__": "", "x": 2.5, "y": "b"},
            {"__key__": "", "x": None, "y": "c"},
        ]
        (batch,) = ds.loader(batch_size=3, shuffle=False)
        assert batch["y"].to_list() == ["a", "b", "c"]
    write(tmp_path / "d", "c.parquet", pa.table({"x": ["text"], "y": ["c"]}))
    with pytest.raises(hr.UnsupportedError, match=r"'x' is float64 in a\.parquet and string in c"):
        hr.open(str(tmp_path / "d"))


def test_subsets_state_and_plan(tmp_path):
    write(tmp_path / "d", "a.parquet", pa.table({"n": np.arange(300)}), row_group_size=30)
    with hr.open(str(tmp_path / "d")) as ds:
        some = ds.where(ds.column("n", int) % 3 == 1)
        loader = some.loader(batch_size=10, seed=2, decode={"n": int}, remainder="short")
        assert sorted(n for batch in loader for n in batch["n"].tolist()) == list(range(1, 300, 3))
        parts = ds.split({"a": 0.5, "b": 0.5})
        both = sorted(
            n for part in parts.values() for b in part.loader(batch_size=1) for n in b.ids.tolist()
        )
        assert both == list(range(300))
        assert "parquet" in str(ds)
        assert "lanes" in str(ds.plan(batch_size=10))


def test_a_unit_that_does_not_fit_is_an_error_that_says_what_to_write(tmp_path):
    rng = np.random.default_rng(1)
    table = pa.table({"blob": [rng.bytes(100_000) for _ in range(200)]})
    write(tmp_path / "d", "a.parquet", table)
    with (
        hr.open(str(tmp_path / "d")) as ds,
        pytest.raises(hr.Error, match=r" 2[0-9]{7} .*row_group_size=") as raised,
    ):
        list(ds.loader(batch_size=4, memory="16MiB"))
    assert "write_page_index=True" in str(raised.value)
    assert "memory=" in str(raised.value)


def test_true_shuffle_needs_the_memory_for_all_units(tmp_path):
    rng = np.random.default_rng(1)
    write(tmp_path / "d", "a.parquet", pa.table({"b": [rng.bytes(100_000) for _ in range(200)]}),
          row_group_size=10)  # fmt: skip
    with hr.open(str(tmp_path / "d")) as ds:
        with pytest.raises(hr.Error, match=r"shuffle=.global"):
            list(ds.loader(batch_size=4, memory="16MiB", shuffle="global"))
        ids = [n for b in ds.loader(batch_size=4, memory="64MiB", shuffle="global") for n in b.ids]
        assert sorted(ids) == list(range(200))


# --- damage -------------------------------------------------------------------------------------


def read_all(folder):
    with hr.open(str(folder), save=None, index_dir=str(folder / "none")) as ds:
        return [ds[i] for i in range(len(ds))]


@pytest.mark.parametrize("options", [{}, {"write_page_index": True, "data_page_size": 128}])
def test_every_truncation_is_an_error(tmp_path, options):
    folder = tmp_path / "d"
    write(folder, "a.parquet", pa.table({"n": range(40), "s": ["abc"] * 40}), **options)
    file = folder / "a.parquet"
    whole = file.read_bytes()
    for size in range(1, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(hr.Error, match=r"a\.parquet"):
            read_all(folder)


def test_flipped_bits_are_found_by_page_checksums_or_give_an_error(tmp_path):
    """Every 5th byte; what is neither found nor without effect is in fields that say nothing of the
    values (writer's name, statistics)."""
    folder = tmp_path / "d"
    table = pa.table({"n": range(40), "s": [f"abc{i}" for i in range(40)]})
    write(folder, "a.parquet", table, write_page_checksum=True, compression="none")
    file = folder / "a.parquet"
    whole = file.read_bytes()
    good = read_all(folder)
    found = harmless = wrong = 0
    for at in range(0, len(whole), 5):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            same = read_all(folder) == good
        except hr.Error:
            found += 1
            continue
        harmless += same
        wrong += not same
    print(f"flips: {found} errors, {harmless} without effect, {wrong} undetected")
    assert found > 50
    assert wrong <= 3  # a column's name, a type's annotation: the footer has no checksum


@pytest.mark.parametrize(
    ("tail", "match"),
    [
        (b"\xff\xff\xff\x7fPAR1", "footer of 2147483647"),
        (b"\x00\x10\x00\x00PARE", "encrypted"),
        (b"\x00\x00\x00\x00PAR1", "footer"),
        (b"nothing of the kind", "PAR1"),
    ],
)
def test_hostile_tails(tmp_path, tail, match):
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100) + tail)
    with pytest.raises(hr.Error, match=match):
        hr.open(str(tmp_path / "a.parquet"))


def test_without_pyarrow_the_error_names_the_extra(child, tmp_path):
    write(tmp_path / "d", "a.parquet", pa.table({"x": [1]}))
    code = """
import sys
sys.modules["pyarrow"] = None
import headrace as hr
for url in sys.argv[1:]:
    try:
        hr.open(url)
    except hr.UnsupportedError as e:
        print(e)
"""
    work = child(code, tmp_path / "d", tmp_path / "d" / "a.parquet")
    out, err = work.communicate(timeout=60)
    assert out.count("headrace[parquet]") == 2, err


# --- folders and lists that say more than columns -------------------------------------------------


def test_partitions_are_columns(tmp_path):
    for year, kind in ((2009, "a"), (2010, "b:c")):
        folder = tmp_path / "d" / f"year={year}" / f"kind={kind.replace(':', '%3A')}"
        write(folder, "x.parquet", pa.table({"n": [year, year + 1]}))
    with hr.open(str(tmp_path / "d"), save=None) as ds:
        assert [(s["n"], s["year"], s["kind"]) for s in ds] == [
            (2009, 2009, "a"),
            (2010, 2009, "a"),
            (2010, 2010, "b:c"),
            (2011, 2010, "b:c"),
        ]
        (batch,) = ds.loader(batch_size=4, shuffle=False)
        assert batch["year"].tolist() == [2009, 2009, 2010, 2010]
        assert list(batch["kind"]) == ["a", "a", "b:c", "b:c"]
        (batch,) = ds.loader(batch_size=4, shuffle=False, decode={"year": int})
        assert batch["year"].tolist() == [2009, 2009, 2010, 2010]


def test_lists_of_one_length_are_arrays(tmp_path):
    rows = [[i, i + 0.5, i + 1] for i in range(10)]
    column = pa.array(rows, pa.list_(pa.float32(), 3))
    write(tmp_path / "d", "a.parquet", pa.table({"x": column}), row_group_size=4)
    with hr.open(str(tmp_path / "d"), save=None) as ds:
        assert ds.schema["x"].endswith("[3]")
        (batch,) = ds.loader(batch_size=10, shuffle=False)
        assert isinstance(batch["x"], np.ndarray)
        assert batch["x"].tolist() == rows
