# SPDX-License-Identifier: Apache-2.0
"""Large bytes of a batch lie where they were received until someone asks for them in one array."""

import pickle

import numpy as np
import pytest
from small_data import write_tar

import headrace as hr
from headrace.serve import Server

COUNT = 96


def payload(i):
    return np.random.default_rng(i).bytes(70_000 + 37 * i)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    root = tmp_path_factory.mktemp("large")
    (root / "data").mkdir()
    for shard in range(2):
        write_tar(
            root / "data" / f"t-{shard}.tar",
            shard * COUNT // 2,
            COUNT // 2,
            lambda i: {"bin": payload(i), "cls": str(i).encode()},
        )
    with Server(root) as server:
        yield server


@pytest.fixture
def loader(large):
    with (
        hr.open("s3://data/t-{0..1}.tar", **large.options) as dataset,
        dataset.loader(batch_size=16, decode={"bin": bytes, "cls": int}, memory="16MiB") as made,
    ):
        yield made


def test_rows_are_seen_without_a_copy_and_are_right(loader):
    seen = set()
    for batch in loader:
        column = batch["bin"]
        assert type(column._values).__name__ == "LooseColumn"
        views = column.views()
        for i, view in zip(batch.ids.tolist(), views, strict=True):
            assert view == payload(i)
            seen.add(i)
        assert column[3] == bytes(views[3]) == bytes(column.view(3 - len(column)))
        assert column.nbytes == sum(map(len, views)) + column.offsets.nbytes
        assert np.array_equal(column.lengths, [len(view) for view in views])
    assert seen == set(range(COUNT))


def test_a_view_is_writable_and_lives_longer_than_batch_and_loader(loader):
    batch = next(iter(loader))
    number, column = int(batch.ids[5]), batch["bin"]
    view = column.view(5)
    del batch, column
    loader.close()
    assert view == payload(number)
    view[0] = 0xAB
    array = np.frombuffer(view, np.uint8)
    array[1] = 0xCD
    assert bytes(view[:2]) == b"\xab\xcd"


def test_values_joins_the_rows_and_later_batches_come_joined(loader):
    iterator = iter(loader)
    first = next(iterator)
    column = first["bin"]
    values = column.values
    assert values is column.values
    assert values.tobytes() == b"".join(payload(i) for i in first.ids.tolist())
    kinds = []
    for batch in iterator:
        kinds.append(isinstance(batch["bin"]._values, np.ndarray))
        assert batch["bin"].to_list() == [payload(i) for i in batch.ids.tolist()]
        assert [bytes(view) for view in batch["bin"].views()] == batch["bin"].to_list()
    assert kinds[-1], "a window of batches was under way; those after it come joined"


def test_a_column_can_be_pickled_and_indexed_like_any_other(loader):
    batch = next(iter(loader))
    again = pickle.loads(pickle.dumps(batch["bin"]))
    assert again.to_list() == batch["bin"].to_list()
    assert "uint8" in repr(batch["bin"])
    with pytest.raises(IndexError, match="row 16 of a Ragged with 16 rows"):
        next(iter(loader))["bin"].view(16)


def test_the_bytes_of_delivered_batches_are_not_in_the_budget(loader):
    """As many batches as the memory could hold twice over, all kept by the user."""
    kept = [batch for _ in range(6) for batch in loader]
    assert sum(batch["bin"].nbytes for batch in kept) > 2 * (16 << 20)
    assert loader.stats()["memory_peak"] <= 16 << 20
    for batch in kept:
        assert [bytes(view) for view in batch["bin"].views()] == [payload(i) for i in batch.ids.tolist()]


def test_views_of_arrays_are_refused():
    column = hr.Ragged.from_rows([np.zeros(2), np.zeros(3)])
    with pytest.raises(TypeError, match="of arrays"):
        column.view(0)
