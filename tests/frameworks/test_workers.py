# SPDX-License-Identifier: Apache-2.0
"""The same batches in the same order for any number of worker processes; passes follow each other by
themselves. Without data: python/tests/fakes.py.

32 samples in batches of 5: an epoch has 6 batches (drop) or 7 (pad).
"""

import itertools
import multiprocessing
import os
import pickle
import signal

import pytest

pytest.importorskip("torchdata")
import torch.utils.data as torch_data
import torchdata.stateful_dataloader as stateful_data_loader
from fakes import FakeDataset, FakeStream

import headrace as hr
from headrace import _core, errors

WORKERS = (0, 1, 3)


pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(autouse=True)
def fake_stream(monkeypatch):
    FakeStream.live, FakeStream.started = 0, []
    monkeypatch.setattr(_core, "Stream", FakeStream, raising=False)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def rows(batches):
    """The sample numbers of each batch."""
    return [batch["x"].tolist() for batch in batches]


def uninterrupted(epochs, **options):
    loader = FakeDataset().loader(**{"batch_size": 5, **options})
    return [rows(loader) for _ in loader.epochs(epochs)]


def torch_loader(dataset, workers, **options):
    return torch_data.DataLoader(dataset, batch_size=None, num_workers=workers, **options)


@pytest.mark.parametrize("remainder", ["drop", "pad", "wrap", "short"])
@pytest.mark.parametrize("workers", WORKERS)
def test_workers_deliver_the_rank_s_batches_in_order(workers, remainder):
    options = {"batch_size": 5, "remainder": remainder}
    want = uninterrupted(2, **options)
    dataset = hr.torch.IterableDataset(FakeDataset(), **options)
    loader = torch_loader(dataset, workers)
    assert [rows(loader) for _ in range(2)] == want
    assert len(loader) == len(want[0])
    own = hr.torch.DataLoader(FakeDataset(), num_workers=workers, **options)
    assert [rows(own) for _ in own.epochs(2)] == want


@pytest.mark.parametrize("workers", [2])
def test_each_rank_s_share_is_the_same_with_workers(workers):
    for rank in range(3):
        options = {"batch_size": 3, "rank": rank, "world_size": 3, "remainder": "pad"}
        want = uninterrupted(1, **options)[0]
        assert (
            rows(torch_loader(hr.torch.IterableDataset(FakeDataset(), **options), workers)) == want
        )
        assert rows(hr.torch.DataLoader(FakeDataset(), num_workers=workers, **options)) == want


def test_persistent_workers_go_on_with_the_next_epoch():
    loader = torch_loader(
        hr.torch.IterableDataset(FakeDataset(), batch_size=5), 2, persistent_workers=True
    )
    assert [rows(loader) for _ in range(3)] == uninterrupted(3)


@pytest.mark.parametrize("persistent", [False, True])
def test_break_leaves_the_rest_of_the_epoch_out(persistent):
    loader = torch_loader(
        hr.torch.IterableDataset(FakeDataset(), batch_size=5), 3, persistent_workers=persistent
    )
    want = uninterrupted(4)
    got = []
    for leave_at in (1, 2, 5):
        part = []
        for batch in loader:
            part.append(batch["x"].tolist())
            if len(part) == leave_at:
                break
        got.append(part)
    assert got == [want[0][:1], want[1][:2], want[2][:5]]
    assert rows(loader) == want[3]


def test_the_same_seed_before_every_epoch_does_not_repeat_an_epoch():
    import torch

    loader = torch_loader(hr.torch.IterableDataset(FakeDataset(), batch_size=5), 2)
    got = []
    for _ in range(3):
        torch.manual_seed(0)
        got.append(rows(loader))
    assert got == uninterrupted(3)


def test_an_iterator_of_which_nothing_was_taken_is_no_pass():
    """Lightning calls iter() to see whether a loader can be iterated."""
    loader = FakeDataset().loader(batch_size=5)
    iter(loader)
    iter(loader)
    want = uninterrupted(2)
    assert rows(loader) == want[0]
    iter(loader)
    assert loader.epoch == 1
    assert rows(loader) == want[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_set_epoch_as_torch_s_idiom_has_it(workers):
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5)
    loader = torch_loader(dataset, workers)
    want = uninterrupted(4)
    got = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        got.append(rows(loader))
    assert got == want[:3]
    dataset.set_epoch(1)
    assert rows(loader) == want[1]
    assert rows(loader) == want[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_stored_order_begins_anew_in_every_pass(workers):
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5, shuffle=False)
    loader = torch_loader(dataset, workers)
    first = rows(loader)
    assert (rows(loader), first[0]) == (first, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("workers", [0, 3])
def test_the_epoch_behind_a_resumed_one_has_the_state_s_order(workers):
    options = {"batch_size": 5, "block": 3, "lanes": 5, "remainder": "wrap"}
    want = uninterrupted(4, **options)
    loader = stateful_data_loader.StatefulDataLoader(
        hr.torch.IterableDataset(FakeDataset(), **options), batch_size=None, num_workers=workers
    )
    taken = rows(itertools.islice(loader, 3))
    assert taken == want[0][:3]
    resumed = stateful_data_loader.StatefulDataLoader(
        hr.torch.IterableDataset(FakeDataset(), **options), batch_size=None, num_workers=workers
    )
    resumed.load_state_dict(loader.state_dict())
    assert [rows(resumed) for _ in range(3)] == [want[0][3:], *want[1:3]]


@pytest.mark.parametrize("workers", [0, 3])
def test_virtual_epochs_go_on_where_the_last_ended(workers):
    options = {"batch_size": 5, "epoch_size": 20, "remainder": "wrap"}
    want = uninterrupted(5, **options)
    assert [len(epoch) for epoch in want] == [4] * 5
    loader = torch_loader(hr.torch.IterableDataset(FakeDataset(), **options), workers)
    assert [rows(loader) for _ in range(5)] == want
    own = hr.torch.DataLoader(FakeDataset(), num_workers=workers, **options)
    assert [rows(own) for _ in own.epochs(5)] == want


def test_passes_with_and_without_workers_follow_each_other():
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5)
    want = uninterrupted(5)
    assert [rows(torch_loader(dataset, workers)) for workers in (0, 2, 3, 0, 1)] == want


def test_two_data_sets_know_nothing_of_each_other():
    a = torch_loader(hr.torch.IterableDataset(FakeDataset(), batch_size=5), 2)
    b = torch_loader(hr.torch.IterableDataset(FakeDataset(), batch_size=5), 2)
    want = uninterrupted(2)
    got = [(x["x"].tolist(), y["x"].tolist()) for x, y in zip(a, b, strict=True)]
    assert got == [(batch, batch) for batch in want[0]]
    assert rows(a) == want[1]


def test_a_copy_goes_on_by_itself():
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5)
    want = uninterrupted(3)
    assert rows(torch_loader(dataset, 2)) == want[0]
    copied = pickle.loads(pickle.dumps(dataset))
    assert [rows(torch_loader(copied, 2)) for _ in range(2)] == want[1:]
    assert [rows(torch_loader(dataset, 2)) for _ in range(2)] == want[1:]


def test_a_plain_dataloader_with_workers_has_no_state():
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5)
    loader = torch_loader(dataset, 2)
    assert dataset.state_dict()["position"] == 0
    next(iter(loader))
    with pytest.raises(errors.UnsupportedError, match="StatefulDataLoader"):
        dataset.state_dict()


def fail_at_ten(batch):
    if 10 in batch.ids:
        raise errors.CorruptError("sample 10 is bad")
    return batch


def test_an_error_in_a_worker_arrives_in_its_place():
    want = uninterrupted(1)[0]
    good = next(i for i, batch in enumerate(want) if 10 in batch)
    loader = hr.torch.DataLoader(
        FakeDataset(), batch_size=5, num_workers=2, batch_transform=fail_at_ten
    )
    got = []
    with pytest.raises(errors.CorruptError, match="sample 10 is bad"):
        for batch in loader:
            got.append(batch["x"].tolist())
    assert got == want[:good]
    assert loader.step == good


def test_wrong_options_are_said():
    with pytest.raises(errors.OptionError, match="num_workers=-1"):
        hr.torch.DataLoader(FakeDataset(), batch_size=5, num_workers=-1)
    with pytest.raises(errors.OptionError, match="batch_siz"):
        hr.torch.IterableDataset(FakeDataset(), batch_siz=5)


def test_data_read_as_a_stream_have_no_workers():
    class Uncounted(FakeDataset):
        counted = False

    with pytest.raises(errors.UnsupportedError, match="stream"):
        hr.torch.DataLoader(Uncounted(), batch_size=5)
    dataset = hr.torch.IterableDataset(Uncounted(), batch_size=5)
    assert rows(torch_loader(dataset, 0)) == uninterrupted(1)[0]
    with pytest.raises(errors.UnsupportedError, match="num_workers=0"):
        rows(torch_loader(dataset, 1))


def test_a_killed_worker_is_an_error_and_the_loader_goes_on_behind_it():
    loader = hr.torch.DataLoader(FakeDataset(), batch_size=5, num_workers=1, prefetch_factor=1)
    got, killed, before = [], False, set(multiprocessing.active_children())
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        for batch in loader:
            got.append(batch["x"].tolist())
            if not killed:
                (worker,) = set(multiprocessing.active_children()) - before
                os.kill(worker.pid, signal.SIGKILL)
                killed = True
    got += rows(loader.resume())
    assert got == uninterrupted(1)[0]


def test_columns_make_tuples():
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5, columns=("x",))
    want = uninterrupted(1)[0]
    for workers in (0, 2):
        dataset.set_epoch(0)
        assert [batch[0].tolist() for batch in torch_loader(dataset, workers)] == want
    own = hr.torch.DataLoader(FakeDataset(), batch_size=5, columns=("x",), num_workers=2)
    assert [batch[0].tolist() for batch in own] == want


def test_stats_of_workers_count_what_was_delivered():
    own = hr.torch.DataLoader(FakeDataset(), batch_size=5, num_workers=2)
    assert len(list(own)) == 6
    assert (own.stats()["batches"], own.stats()["rows"]) == (6, 30)
