# SPDX-License-Identifier: Apache-2.0
"""Resume through everything: a state saved at any point through any path goes on exactly, through any other path, with
another number of ranks and workers. Without data: python/tests/fakes.py.

32 samples in global batches of 6 (5 an epoch, the last one padded to 6), over 3 epochs.
"""

import functools
import itertools
import json

import pytest

pytest.importorskip("torchdata")
import torch.utils.data as torch_data
from fakes import FakeDataset, FakeStream
from torchdata.stateful_dataloader import StatefulDataLoader

import headrace as hr
from headrace import _core, errors

GLOBAL, EPOCHS = 6, 3
OPTIONS = {"remainder": "pad", "seed": 4, "block": 3, "lanes": 5}
EXTRAS = ("ids", "valid")
PER_EPOCH = 6

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(autouse=True)
def fake_stream(monkeypatch):
    FakeStream.live, FakeStream.started = 0, []
    monkeypatch.setattr(_core, "Stream", FakeStream, raising=False)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


class Loader:
    """ds.loader(...), and hr.torch.DataLoader with worker processes."""

    def __init__(self, workers=None, **options):
        data = FakeDataset()
        made = data.loader if workers is None else functools.partial(
            hr.torch.DataLoader, data, num_workers=workers
        )  # fmt: skip
        self.loader = made(**options)

    def batches(self):
        for batch in self.loader:
            yield batch.ids[batch.valid].tolist()

    def save(self):
        return self.loader.state_dict()

    def load(self, state):
        self.loader.load_state_dict(hr.torch.loader_state(state))


class Iterable:
    """torch's own DataLoader, or torchdata's, over hr.torch.IterableDataset."""

    def __init__(self, kind, workers, **options):
        self.dataset = hr.torch.IterableDataset(FakeDataset(), extras=EXTRAS, **options)
        self.stateful = kind is StatefulDataLoader
        self.make = functools.partial(kind, self.dataset, batch_size=None, num_workers=workers)
        self.made = None

    @property
    def loader(self):
        self.made = self.made or self.make()
        return self.made

    def batches(self):
        for batch in self.loader:
            yield batch["ids"][batch["valid"]].tolist()

    def save(self):
        return self.loader.state_dict() if self.stateful else self.dataset.state_dict()

    def load(self, state):
        self.dataset.load_state_dict(state)


PATHS = {
    "loader": Loader,
    "hr workers": functools.partial(Loader, 2),
    "torch": functools.partial(Iterable, torch_data.DataLoader, 0),
    "torch workers": functools.partial(Iterable, torch_data.DataLoader, 2),
    "stateful": functools.partial(Iterable, StatefulDataLoader, 0),
    "stateful workers": functools.partial(Iterable, StatefulDataLoader, 2),
}
# Steps of the trainer before it saves: a number takes so many batches of a pass, then breaks; None a whole pass.
SAVES = {
    "before the first batch": [],
    "first batch": [1],
    "middle": [3],
    "last batch but one": [PER_EPOCH - 1],
    "last batch": [PER_EPOCH],
    "epoch end": [None],
    "middle of the second epoch": [None, 2],
    "behind a break": [2, 1],
    "epoch end behind a break": [4, None],
}


@functools.cache
def uninterrupted(batch=GLOBAL):
    loader = FakeDataset().loader(batch_size=batch, **OPTIONS)
    return [[b.ids[b.valid].tolist() for b in loader] for _ in loader.epochs(EPOCHS)]


def train(path, plan):
    """Takes what the plan says; the batches, by pass."""
    taken = []
    for count in plan:
        part = []
        batches = path.batches()
        for batch in batches:
            part.append(batch)
            if len(part) == count:
                break
        taken.append(part)
        yield taken  # a StatefulDataLoader's state is that of its live iterator


def saved(path, plan):
    taken = []
    for taken in train(path, plan):  # noqa: B007
        pass
    want = uninterrupted()
    assert taken == [want[i][: plan[i]] for i in range(len(plan))]
    return json.loads(json.dumps(path.save()))


def position(plan):
    """(epoch, batch) behind what a plan takes."""
    if not plan:
        return 0, 0
    done = plan[-1] or PER_EPOCH
    return (len(plan), 0) if done == PER_EPOCH else (len(plan) - 1, done)


def rest(epoch, batch):
    return [b for e in uninterrupted()[epoch:] for b in e][batch:]


def take(path, count):
    """The next batches, over as many passes as it takes; a pass may be empty."""
    out = []
    for _ in range(EPOCHS + 1):
        for batch in path.batches():
            out.append(batch)
            if len(out) == count:
                return out
    return out


@functools.cache
def reference(when):
    """The state that every path must save, from the plainest one."""
    return saved(Loader(batch_size=GLOBAL, **OPTIONS), SAVES[when])


@pytest.mark.parametrize("when", SAVES)
@pytest.mark.parametrize("save_by", [name for name in PATHS if name != "torch workers"])
def test_every_path_saves_the_same_state(save_by, when):
    state = saved(PATHS[save_by](batch_size=GLOBAL, **OPTIONS), SAVES[when])
    plain = hr.torch.loader_state(state)
    assert plain == reference(when)
    assert len(json.dumps(plain)) < 1024


@pytest.mark.parametrize("when", SAVES)
def test_a_state_goes_on_through_every_path_and_on_other_ranks(when):
    want = rest(*position(SAVES[when]))
    for name, make in PATHS.items():
        path = make(batch_size=GLOBAL, **OPTIONS)
        path.load(reference(when))
        assert take(path, len(want)) == want, name
    for ranks in (2, 3):
        parts = []
        for rank in range(ranks):
            path = Loader(batch_size=GLOBAL // ranks, rank=rank, world_size=ranks, **OPTIONS)
            path.load(reference(when))
            parts.append(take(path, len(want)))
        joined = [sorted(itertools.chain(*batches)) for batches in zip(*parts, strict=True)]
        assert joined == [sorted(batch) for batch in want], ranks


@pytest.mark.parametrize("when", SAVES)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_dataloader_goes_on_by_its_own_state(workers, when):
    plan = SAVES[when]
    make = functools.partial(Iterable, StatefulDataLoader, workers, **OPTIONS)
    state = saved(make(batch_size=GLOBAL), plan)
    want = rest(*position(plan))
    path = make(batch_size=GLOBAL)
    path.loader.load_state_dict(state)
    assert take(path, len(want)) == want
    if when not in ("first batch", "last batch", "behind a break"):
        return
    # The state of one rank serves all, as Lightning and Accelerate store it.
    parts = []
    for rank in range(2):
        path = make(batch_size=GLOBAL // 2, rank=rank, world_size=2)
        path.loader.load_state_dict(state)
        parts.append(take(path, len(want)))
    joined = [sorted(a + b) for a, b in zip(*parts, strict=True)]
    assert joined == [sorted(batch) for batch in want]


@pytest.mark.parametrize("name", PATHS)
def test_another_batch_size_goes_on_behind_the_same_sample(name):
    state = saved(Loader(batch_size=GLOBAL, **OPTIONS), SAVES["middle of the second epoch"])
    path = PATHS[name](batch_size=4, **OPTIONS)
    path.load(state)
    want = [i for batch in rest(1, 2) for i in batch]
    assert [i for batch in take(path, (32 - 2 * GLOBAL) // 4 + 32 // 4) for i in batch] == want


def test_a_chain_of_rank_and_worker_counts_is_one_job():
    state, got, step = None, [], 0
    want = [sorted(batch) for epoch in uninterrupted() for batch in epoch]
    chain = [(1, 0, 2), (3, 0, 3), (2, 2, 1), (1, 3, 4), (6, 0, 2), (1, 2, 5), (3, 2, 1)]
    for ranks, workers, steps in chain:
        paths = [
            Loader(workers, batch_size=GLOBAL // ranks, rank=rank, world_size=ranks, **OPTIONS)
            for rank in range(ranks)
        ]
        parts = []
        for path in paths:
            if state is not None:
                path.load(state)
            parts.append(take(path, min(steps, len(want) - len(got))))
        states = {json.dumps(path.save()) for path in paths}
        assert len(states) == 1, "saving on rank 0 suffices"
        state = json.loads(states.pop())
        got += [sorted(itertools.chain(*batches)) for batches in zip(*parts, strict=True)]
        step += steps
    assert got == want[: len(got)]
    assert len(got) == min(step, len(want))


def test_the_state_counts_what_the_trainer_got_and_not_what_workers_prefetched():
    for depth in (1, 2, 6):
        loader = hr.torch.DataLoader(
            FakeDataset(), batch_size=GLOBAL, num_workers=3, prefetch_factor=depth, **OPTIONS
        )
        for count, _ in enumerate(loader, 1):
            assert loader.step == count
            assert loader.state_dict()["position"] == (count * GLOBAL if count < PER_EPOCH else 0)
        assert loader.resume() is not None


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"order_hash": "ff" * 16}, "order_hash is ffff"),
        ({"headrace": 2}, "version"),
    ],
)
def test_another_data_set_and_a_newer_version_are_refused(name, change, said):
    state = {**Loader(batch_size=GLOBAL, **OPTIONS).save(), **change}
    path = PATHS[name](batch_size=GLOBAL, **OPTIONS)
    with pytest.raises(errors.Error, match=said):
        path.load(state)


def test_a_stateful_dataloader_s_workers_refuse_what_they_cannot_go_on_with():
    make = functools.partial(Iterable, StatefulDataLoader, 1, **OPTIONS)
    state = saved(make(batch_size=GLOBAL), [3])
    path = make(batch_size=GLOBAL + 2)
    path.loader.load_state_dict(state)
    with pytest.raises(errors.OptionError, match="loader_state"):
        take(path, 1)
    path = make(batch_size=GLOBAL + 2)
    path.load(state)
    assert len(take(path, 1)[0]) == GLOBAL + 2


def test_what_is_no_state_is_refused():
    for wrong in (
        {},
        {"epoch": 3},
        {"_snapshot": 5, "_steps_since_snapshot": 0},
        {"dataset_state": None},
    ):
        with pytest.raises(errors.OptionError, match="loader_state"):
            hr.torch.loader_state(wrong)
    with pytest.raises(errors.OptionError, match="snapshot_every_n_steps"):
        hr.torch.loader_state({"_steps_since_snapshot": 2, "_snapshot": {}})


def test_extras_are_entries_of_the_dict():
    dataset = hr.torch.IterableDataset(
        FakeDataset(), batch_size=GLOBAL, extras=("valid", "ids", "epoch", "sample_keys"), **OPTIONS
    )
    *_, last = torch_data.DataLoader(dataset, batch_size=None)
    assert last["valid"].tolist() == [True, True, False, False, False, False]
    assert (last["epoch"], len(last["sample_keys"])) == (0, GLOBAL)
    with pytest.raises(errors.OptionError, match="extras="):
        hr.torch.IterableDataset(FakeDataset(), batch_size=GLOBAL, extras=("validd",))
