# SPDX-License-Identifier: Apache-2.0
"""Subsets, splits, folds and filters: a loader delivers exactly the samples that take part."""

import itertools
import pickle

import numpy as np
import pytest

import headrace as hr

CLASSES = np.arange(600) * 10 // 600  # small_data.py


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def ids_of(loader):
    return np.concatenate([batch.ids[batch.valid] for batch in loader])


def test_a_subset_is_delivered_alone_and_once_whatever_the_ranks(dataset):
    part = dataset.where(CLASSES % 3 == 1)
    want = np.flatnonzero(CLASSES % 3 == 1)
    assert len(part) == len(want)
    assert sum(part.counts) == len(want)
    one = part.loader(batch_size=12, block=4, lanes=12, remainder="pad")
    alone = [batch.ids[batch.valid].tolist() for batch in one]
    assert sorted(flat(alone)) == want.tolist()
    ranks = [
        part.loader(
            batch_size=4,
            block=4,
            lanes=12,
            remainder="pad",
            rank=r,
            world_size=3,
            agree=lambda text: [text] * 3,
        )
        for r in range(3)
    ]
    for batch, *theirs in zip(alone, *map(list, ranks), strict=True):
        assert sorted(flat(b.ids[b.valid].tolist() for b in theirs)) == sorted(batch)


def test_the_order_of_a_subset_is_that_of_its_counts(dataset):
    part = dataset.where(np.arange(600) % 7 != 0)
    loader = part.loader(batch_size=16, block=4, lanes=8, seed=3, remainder="wrap")
    order = part.order(seed=3, block=4, lanes=8, batch_size=16)
    got = np.concatenate([b.ids for b in loader])[: len(part)]
    assert got.tolist() == part.numbers(order.at_many(range(len(part)))).tolist()


def test_only_bytes_of_the_subset_are_read(dataset):
    part = dataset.where(np.arange(600) < 60)
    with part.loader(batch_size=10, block=10, lanes=6) as loader:
        assert len(ids_of(loader)) == 60
        # A tenth; the index knows every eighth border here, and lanes begin inside their blocks.
        assert loader.stats()["bytes_received"] < dataset.core.sample_bytes / 4


def test_a_state_of_a_subset_resumes_it_and_no_other(dataset):
    part = dataset.where(CLASSES < 5)
    options = {"batch_size": 20, "block": 5, "lanes": 20}
    whole = [batch.ids.tolist() for batch in part.loader(**options)]
    loader = part.loader(**options)
    passed = iter(loader)
    first = [next(passed).ids.tolist() for _ in range(4)]
    state = loader.state_dict()
    again = part.loader(**options)
    again.load_state_dict(state)
    assert first + [batch.ids.tolist() for batch in again] == whole
    for other in (dataset, dataset.where(CLASSES < 6)):
        with pytest.raises(hr.MismatchError, match="filter"):
            other.loader(**options).load_state_dict(state)


def test_splits_and_folds_are_disjoint_complete_and_stable(dataset):
    parts = dataset.split({"train": 0.8, "val": 0.1, "test": 0.1}, seed=5)
    numbers = [part.numbers(range(len(part))).tolist() for part in parts.values()]
    assert sorted(flat(numbers)) == list(range(600))
    assert 430 < len(numbers[0]) < 530
    assert dataset.split({"train": 0.8}, seed=5)["train"].filter_hash == parts["train"].filter_hash
    assert dataset.split({"train": 0.8}, seed=6)["train"].filter_hash != parts["train"].filter_hash
    folds = [dataset.fold(i, 5) for i in range(5)]
    assert sorted(flat(v.numbers(range(len(v))).tolist() for _, v in folds)) == list(range(600))
    for rest, fold in folds:
        assert len(rest) + len(fold) == 600


def test_groups_stay_together(dataset):
    groups = np.arange(600) // 7
    train, val = dataset.split({"train": 0.5, "val": 0.5}, groups=groups).values()
    assert not set(groups[train.numbers(range(len(train)))]) & set(
        groups[val.numbers(range(len(val)))]
    )
    named = np.array([f"speaker {g}" for g in groups])
    parts = dataset.split({"a": 0.5, "b": 0.5}, groups=named)
    assert sum(map(len, parts.values())) == 600


def test_subsets_of_subsets(dataset):
    low = dataset.where(CLASSES < 5)
    part = low.where(np.arange(len(low)) < 10)
    assert part.numbers(range(len(part))).tolist() == list(range(10))
    assert part[-1] == dataset[9]
    with pytest.raises(IndexError):
        part[10]


def test_a_column_is_read_once_and_kept(dataset):
    labels = dataset.column("cls", int)
    assert labels.tolist() == CLASSES.tolist()
    before = dataset.core.requests if hasattr(dataset.core, "requests") else None
    again = dataset.column("cls", int)
    assert isinstance(again, np.memmap)
    assert before is None or dataset.core.requests == before
    with pytest.raises(hr.Error, match="one shape"):
        dataset.column("txt", str)


def test_a_filter_on_content_is_kept_under_its_name(dataset):
    calls = []

    def keep(sample):
        calls.append(1)
        return len(sample["bin"]) > 2300

    part = dataset.filter(keep, name="long")
    assert part.numbers(range(len(part))).tolist() == [
        i for i in range(600) if 2000 + i % 700 > 2300
    ]
    assert len(calls) == 600
    assert dataset.filter(keep, name="long").filter_hash == part.filter_hash
    assert len(calls) == 600


def test_a_subset_can_be_pickled(server, url, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.options["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.options["aws_secret_access_key"])
    # A pickle holds no secret: the keys' source is asked again.
    with hr.open(url, endpoint_url=server.endpoint_url, region="us-east-1") as dataset:
        part = dataset.where(CLASSES == 4)
        copy = pickle.loads(pickle.dumps(part))
        assert copy.filter_hash == part.filter_hash
        assert copy.key(0) == part.key(0)


@pytest.mark.parametrize(
    ("which", "says"),
    [([], "neither"), ([600], "600"), ([-1], "-1"), (np.zeros(600, bool), "none"), (np.ones(5, bool), "bool [5]"),
     (np.ones((2, 2), bool), "neither"), (np.ones(600), "neither")],
)  # fmt: skip
def test_a_faulty_selection_is_refused(dataset, which, says):
    with pytest.raises(hr.Error) as fault:
        dataset.where(which)
    assert says in str(fault.value)


def test_faulty_shares_and_folds_are_refused(dataset):
    for shares in ({}, {"a": 0}, {"a": 0.6, "b": 0.6}):
        with pytest.raises(hr.Error, match="shares"):
            dataset.split(shares)
    for number, of in ((0, 1), (5, 5), (-1, 3)):
        with pytest.raises(hr.Error, match="fold"):
            dataset.fold(number, of)
    with pytest.raises(hr.Error, match="groups"):
        dataset.split({"a": 0.5}, groups=[1, 2])
