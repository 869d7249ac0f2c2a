# SPDX-License-Identifier: Apache-2.0
"""The parts of the package that need no compiled core: errors, options, URLs, decoders, ranks, ragged columns."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from braceexpand import braceexpand as reference_expand

from headrace import decode, errors
from headrace.batch import Batch
from headrace.decode import resolve
from headrace.errors import OptionError
from headrace.options import Faults, format_size, parse_size
from headrace.ragged import Ragged
from headrace.randomness import rng, sample_key, sample_randomness
from headrace.ranks import find_ranks
from headrace.urls import braceexpand, locate

# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "also"),
    [
        ("not_found", FileNotFoundError),
        ("permission", PermissionError),
        ("precondition", ValueError),
        ("invalid_argument", ValueError),
        ("corrupt", ValueError),
        ("unsupported", ValueError),
        ("throttled", ConnectionError),
        ("unavailable", ConnectionError),
        ("timeout", TimeoutError),
        ("exhausted", MemoryError),
        ("internal", RuntimeError),
        ("cancelled", errors.Error),
    ],
)
def test_an_error_is_also_the_exception_that_python_has_for_it(code, also):
    error = errors.from_code(code, "get s3://b/k: no such key")
    assert isinstance(error, errors.Error)
    assert isinstance(error, also)
    assert error.code == code
    assert str(error) == "get s3://b/k: no such key"


def test_an_unknown_code_is_an_internal_error():
    assert type(errors.from_code("what", "x")) is errors.InternalError


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(errors.from_code("timeout", "read x: 5 s")))
    assert (type(error), str(error)) == (errors.TimeoutError, "read x: 5 s")


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 << 30), ("2 gib", 2 << 30), ("1.5k", 1536), ("500MB", 500_000_000),
        ("64m", 64 << 20), ("7", 7), (7, 7), ("10b", 10), ("1T", 1 << 40),
    ],
)  # fmt: skip
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("bad", ["", "x", "2 Gigs", "-1", -1, True, None, "1 2"])
def test_what_is_no_size_is_refused(bad):
    with pytest.raises(ValueError, match=r"size|negative"):
        parse_size(bad)


def test_sizes_are_shown_with_their_unit():
    assert [format_size(n) for n in (0, 1023, 1536, 2 << 30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "2.0 GiB",
    ]


def test_all_option_faults_are_reported_together_and_a_near_name_is_suggested():
    faults = Faults("make loader")
    faults.unknown({"batchsize": 1, "zzz": 2}, ["batch_size", "shuffle"])
    faults.count("seed", -1)
    faults.count("batch_size", 2.5)
    faults.choice("shuffle", "stratifed", ["stratified", "block"])
    assert faults.size("memory", "2 Gigs") is None
    with pytest.raises(OptionError) as caught:
        faults.raise_any()
    text = str(caught.value)
    assert "6 faults" in text
    for part in (
        "'batchsize' (did you mean 'batch_size'?)", "unknown option 'zzz'\n", "seed=-1 is less than 0",
        "batch_size=2.5 is not a whole number", "did you mean 'stratified'", "memory: '2 Gigs' is not a size",
    ):  # fmt: skip
        assert part in text


def test_no_fault_raises_nothing():
    Faults("x").raise_any()


# --- URLs ---------------------------------------------------------------------------------------------------

PATTERNS = [
    "a", "", "{0..3}", "{000..010}", "{07..10}", "{10..7}", "{0..10..3}", "{10..0..-3}", "{2..-1}", "{-01..2}",
    "{a..g..2}", "{g..a..2}", "{Z..b}", "{b..Y}", "x{a,b}y{1,2}", "{,b}", "{a,}", "{,}", "{abc}", "{a,b{1..2}}",
    "python{2.{5..7},3.{2,3}}", r"a\{b", r"\\x{1,2}", "{a,b}{c,d}{e,f}", "{1..3..0}", "{{1,2}}", "{{1..2},x}",
    "{0..0}", "{5..5}", "s3://b/train-{000000..000003}.tar", r"{a\,b,c}", "{x{a}y}", "{a..}", "{..b}", "{1..a}",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_braces_expand_as_the_braceexpand_package_does(pattern):
    assert braceexpand(pattern) == list(reference_expand(pattern))


@pytest.mark.parametrize("pattern", ["{1", "1}", "{1{2,3}", "a{b}}"])
def test_unbalanced_braces_are_an_error_in_both(pattern):
    with pytest.raises(ValueError, match="nbalanced"):
        list(reference_expand(pattern))
    with pytest.raises(OptionError, match="unbalanced"):
        braceexpand(pattern)


@pytest.mark.parametrize("pattern", ["{0..9999}{0..9999}.tar", "}{"])
def test_what_the_package_would_accept_but_cannot_be_meant_is_refused(pattern):
    with pytest.raises(OptionError):
        braceexpand(pattern)


def test_an_absurd_range_is_refused_before_memory_is_full():
    with pytest.raises(OptionError, match="more than 10,000,000"):
        braceexpand("s3://b/{0..99999999999}.tar")


def test_shards_keep_the_order_that_was_given():
    found = locate(["s3://b/z.tar", "s3://b/a-{0..1}.tar"])
    assert (found.root, found.keys, found.format) == (
        "s3://b",
        ("z.tar", "a-0.tar", "a-1.tar"),
        "webdataset",
    )
    assert found.urls() == ["s3://b/z.tar", "s3://b/a-0.tar", "s3://b/a-1.tar"]


@pytest.mark.parametrize(
    ("url", "root", "prefix"),
    [
        ("s3://b/imagenet/", "s3://b", "imagenet/"),
        ("s3://b/imagenet", "s3://b", "imagenet"),
        ("s3://b/mds/index.json", "s3://b", "mds/"),
        ("s3://b", "s3://b", ""),
        ("file:///data/x/", "file://", "data/x/"),
    ],
)
def test_folders_are_prefixes(url, root, prefix):
    found = locate(url)
    assert (found.root, found.keys, found.prefix) == (root, (), prefix)


def test_local_paths_become_file_urls(tmp_path):
    (tmp_path / "a.b").mkdir()
    assert locate(tmp_path / "a.b").urls() == [f"file://{tmp_path}/a.b/"]
    assert locate(f"{tmp_path}/x-{{0..1}}.tar").urls() == [
        f"file://{tmp_path}/x-0.tar",
        f"file://{tmp_path}/x-1.tar",
    ]
    braced = tmp_path / "{0..1}.tar"
    assert locate(braced).urls() == [f"file://{braced}"], "a Path is meant literally"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ([], "empty list"),
        (["s3://a/x.tar", "s3://b/x.tar"], "2 places"),
        (["s3://a/x.tar", "s3://a/x.parquet"], "several formats"),
        (["s3://a/x.tar", "s3://a/x.tar"], "more than once"),
        (["s3://a/x.tar", "s3://a/folder/"], "a folder in a list"),
        ("az://a/x.tar", "scheme 'az'"),
        ("s3:///x.tar", "no bucket"),
    ],
)
def test_what_is_no_data_set_is_said(source, text):
    with pytest.raises(OptionError, match=text):
        locate(source)


def test_a_password_in_a_url_is_never_shown():
    with pytest.raises(OptionError) as caught:
        locate("ftp://me:hunter2@host/x.tar?sig=abcdef")
    assert "hunter2" not in str(caught.value)
    assert "abcdef" not in str(caught.value)


# --- decoders -----------------------------------------------------------------------------------------------


def test_short_forms_stand_for_decoders_and_the_order_is_the_users():
    faults = Faults("x")
    specs = resolve(
        {"cls": int, "jpg": decode.image(size=(10, 20), crop="center")},
        None,
        ["jpg", "cls", "txt"],
        faults,
    )
    faults.raise_any()
    assert [spec["column"] for spec in specs] == ["cls", "jpg"]
    assert specs[0] == {"field": "cls", "column": "cls", "kind": "int", "dtype": "int64"}
    assert (specs[1]["height"], specs[1]["width"], specs[1]["crop"], specs[1]["layout"]) == (
        10,
        20,
        "center",
        "CHW",
    )


def test_columns_choose_and_the_others_hold_what_the_format_says():
    faults = Faults("x")
    specs = resolve({"cls": int}, ("txt", "cls"), ["jpg", "cls", "txt"], faults)
    faults.raise_any()
    assert [(spec["column"], spec["kind"]) for spec in specs] == [("txt", "auto"), ("cls", "int")]
    assert [spec["column"] for spec in resolve(None, None, ["jpg", "cls"], faults)] == [
        "jpg",
        "cls",
    ]


def test_decoder_faults_name_the_field():
    faults = Faults("make loader")
    resolve({"jgp": "image", "cls": len, "txt": "yaml"}, None, ["jpg", "cls", "txt"], faults)
    with pytest.raises(OptionError) as caught:
        faults.raise_any()
    text = str(caught.value)
    assert "no field 'jgp' in the data set (did you mean 'jpg'?)" in text
    assert "transform=" in text
    assert "decode['txt']='yaml'" in text


def test_image_faults_are_reported_together():
    with pytest.raises(OptionError) as caught:
        decode.image(size=0, crop="middle", layout="WHC", scale=(0, 1))
    text = str(caught.value)
    for part in ("size=0", "crop='middle'", "layout='WHC'", "scale=(0, 1)"):
        assert part in text
    with pytest.raises(OptionError, match="needs size="):
        decode.image(crop="center")


# --- ranks --------------------------------------------------------------------------------------------------


class Mesh:
    def __init__(self, names, sizes, coordinate):
        self.mesh_dim_names, self._sizes, self._coordinate = names, sizes, coordinate

    def size(self, dimension):
        return self._sizes[dimension]

    def get_coordinate(self):
        return self._coordinate


def test_arguments_come_first():
    found = find_ranks(1, 4, None, {"RANK": "3", "WORLD_SIZE": "8"})
    assert (found.rank, found.world_size, found.source) == (1, 4, "arguments")


def test_a_mesh_counts_only_the_dimensions_that_split_data():
    # 2 replicas x 3 shards x 4 tensor-parallel: the peers along tp see the same data.
    found = find_ranks(
        mesh=Mesh(("dp_replicate", "dp_shard", "tp"), [2, 3, 4], [1, 2, 3]), environment={}
    )
    assert (found.rank, found.world_size) == (5, 6)
    assert find_ranks(mesh=Mesh(None, [4], [2]), environment={}).rank == 2
    with pytest.raises(OptionError, match="none of its dimensions"):
        find_ranks(mesh=Mesh(("tp", "pp"), [2, 2], [0, 0]), environment={})
    with pytest.raises(OptionError, match="not part of the mesh"):
        find_ranks(mesh=Mesh(("dp",), [2], None), environment={})


@pytest.mark.parametrize(
    ("environment", "rank", "world"),
    [
        ({}, 0, 1),
        ({"RANK": "2", "WORLD_SIZE": "4"}, 2, 4),
        ({"RANK": "2", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "9"}, 2, 4),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}, 3, 8),
        ({"SLURM_NTASKS": "8"}, 0, 1),  # inside salloc: the allocation, not this program
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, 1),
        ({"RANK": "1"}, 0, 1),
        ({"WORLD_SIZE": "2"}, 0, 1),
    ],
)
def test_launchers_are_understood(environment, rank, world):
    found = find_ranks(environment=environment)
    assert (found.rank, found.world_size) == (rank, world)


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        ((1, None), {}, "give both or neither"),
        ((4, 4), {}, "less than the world size"),
        ((0, 0), {}, "less than the world size"),
        ((None, None), {"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x'"),
        ((None, None), {"RANK": "2", "WORLD_SIZE": "2"}, "RANK and WORLD_SIZE"),
    ],
)
def test_ranks_that_cannot_be_are_refused(arguments, environment, text):
    with pytest.raises(OptionError, match=text):
        find_ranks(*arguments, environment=environment)


def test_torch_distributed_is_asked_when_initialised():
    distributed = pytest.importorskip("torch.distributed")
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        found = find_ranks(environment={"RANK": "3", "WORLD_SIZE": "8"})
    finally:
        distributed.destroy_process_group()
    assert (found.rank, found.world_size, found.source) == (0, 1, "torch.distributed")


# --- ragged -------------------------------------------------------------------------------------------------


def test_ragged_rows_come_back_as_what_they_are():
    rows = [b"ab", b"", b"xyz"]
    column = Ragged.from_rows(rows)
    assert column.to_list() == rows
    assert (column[-1], len(column), column[0:2]) == (b"xyz", 3, [b"ab", b""])
    assert column.offsets.tolist() == [0, 2, 2, 5]
    assert column.nbytes == 5 + 4 * 8
    assert column.lengths.tolist() == [2, 0, 3]
    assert Ragged.from_rows(["é", "b"]).to_list() == ["é", "b"]
    stored = np.frombuffer(b'{"a": 1}[2]', np.uint8)
    assert Ragged(stored, np.array([0, 8, 11]), "json").to_list() == [{"a": 1}, [2]]


def test_ragged_arrays_keep_their_shapes_and_share_memory():
    arrays = [np.arange(6).reshape(2, 3), np.arange(4).reshape(1, 4)]
    column = Ragged.from_rows(arrays)
    for got, want in zip(column, arrays, strict=True):
        np.testing.assert_array_equal(got, want)
    column[0][0, 0] = 77
    assert column.values[0] == 77
    vectors = Ragged.from_rows([np.zeros(2), np.zeros(3)])
    assert vectors.shapes is None


def test_ragged_faults():
    column = Ragged.from_rows([b"a"])
    with pytest.raises(IndexError, match="row 1 of a Ragged with 1 rows"):
        column[1]
    with pytest.raises(ValueError, match="bytes and str"):
        Ragged.from_rows(["a", b"b"])
    with pytest.raises(ValueError, match="dimensions"):
        Ragged.from_rows([np.zeros(2), np.zeros((2, 2))])
    with pytest.raises(ValueError, match="kind="):
        Ragged(column.values, column.offsets, "yaml")
    with pytest.raises(ValueError, match="offsets is empty"):
        Ragged(column.values, np.zeros(0, np.int64))


# --- batch --------------------------------------------------------------------------------------------------


def make_batch():
    return Batch(
        {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "t": Ragged.from_rows(["a", "bc"]), "b": Ragged.from_rows([b"1", b"23"])},
        ids=np.array([4, 9]), sample_keys=Ragged.from_rows(["k4", "k9"]), valid=np.array([True, False]), epoch=3, position=8,
    )  # fmt: skip


def test_a_batch_is_a_mapping_of_its_columns_only():
    batch = make_batch()
    assert (list(batch), len(batch), sorted(dict(batch.items()))) == (
        ["x", "t", "b"],
        3,
        ["b", "t", "x"],
    )
    assert (batch.epoch, batch.position, batch.ids.tolist(), batch.sample_keys.to_list()) == (
        3,
        8,
        [4, 9],
        ["k4", "k9"],
    )
    with pytest.raises(KeyError, match=r"no column 'y'.*this batch has x, t, b"):
        batch["y"]
    assert "2 rows" in repr(batch)


def test_to_torch_shares_memory_on_the_cpu():
    torch = pytest.importorskip("torch")
    batch = make_batch()
    moved = batch.to("cpu")
    assert isinstance(moved["x"], torch.Tensor)
    moved["x"][0, 0] = 42
    assert batch["x"][0, 0] == 42
    assert moved["t"].to_list() == ["a", "bc"]
    assert isinstance(moved["b"].values, torch.Tensor)
    assert moved.ids is batch.ids


# --- randomness ---------------------------------------------------------------------------------------------


def test_the_sample_key_is_that_of_the_specification():
    # docs/ordering.md: mix64(1) and key(0,0,1,0), key(1,2,3,4) are golden; tag 4 is the same function.
    from headrace import randomness as module

    assert module._mix64(1) == 0x5692161D100B05E5
    key = module._mix64(1 + module._GOLDEN)
    for part in (2, 3, 4):
        key = module._mix64((key + module._GOLDEN + part) & module._MASK)
    assert key == 0x336C3255CBCC01FE
    assert sample_key(1, 2, 3) != sample_key(1, 2, 4)


def test_randomness_belongs_to_the_sample():
    def draw(*key):
        with sample_randomness(*key):
            return rng().integers(1 << 60), rng().integers(1 << 60)

    assert draw(0, 1, 2) == draw(0, 1, 2)
    assert draw(0, 1, 2) != draw(0, 1, 3)
    assert draw(0, 1, 2)[0] != draw(0, 1, 2)[1]
    with pytest.raises(OptionError, match="transform="):
        rng()


def test_the_committed_stub_is_that_of_the_bindings():
    import subprocess
    import sys
    from pathlib import Path

    tool = Path(__file__).resolve().parents[2] / "tools" / "gen_stub"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_certifi_is_trusted_where_the_machine_knows_no_cas(monkeypatch):
    from headrace import _core, open_options

    monkeypatch.setitem(sys.modules, "certifi", SimpleNamespace(where=lambda: "/certifi.pem"))
    monkeypatch.setattr(_core, "knows_trusted_cas", lambda: False)
    assert open_options.core_options({})["ca_file"] == "/certifi.pem"
    assert open_options.core_options({"verify": "/mine.pem"})["ca_file"] == "/mine.pem"
    assert "ca_file" not in open_options.core_options({"verify": False})
    monkeypatch.setitem(sys.modules, "certifi", None)  # not installed
    assert "ca_file" not in open_options.core_options({})
    monkeypatch.undo()
    monkeypatch.setenv("AWS_CA_BUNDLE", "/named.pem")
    assert _core.knows_trusted_cas()
    assert "ca_file" not in open_options.core_options({})
