# SPDX-License-Identifier: Apache-2.0
"""The iterator contract of Loader: what a pass is, break, resume, epochs, state, ranks. Without data: see fakes.py.

32 samples. batch 5: an epoch has 6 batches, 2 samples are left out (drop) or 3 rows are padding (pad).
"""

import gc
import json
import os

import numpy as np
import pytest
from fakes import COUNTS, FakeDataset, FakeStream

import headrace as hr
from headrace import _core, errors

N = int(COUNTS.sum())


@pytest.fixture(autouse=True)
def fake_stream(monkeypatch):
    FakeStream.live, FakeStream.started = 0, []
    monkeypatch.setattr(_core, "Stream", FakeStream, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def make(**options):
    return FakeDataset(options.pop("fail_at", None)).loader(**{"batch_size": 5, **options})


def ids(batches):
    return [int(i) for batch in batches for i in batch.ids]


def epoch_ids(epoch, **options):
    """What a fresh loader delivers in one epoch."""
    loader = make(**options)
    loader.set_epoch(epoch)
    return ids(loader)


def test_a_pass_is_an_epoch_and_the_next_pass_the_next_epoch():
    loader = make()
    assert len(loader) == 6
    first, second = ids(loader), ids(loader)
    assert (len(first), len(set(first))) == (30, 30)
    assert first != second
    assert (first, second) == (epoch_ids(0), epoch_ids(1))
    assert loader.epoch == 2
    assert FakeStream.live == 0


def test_the_order_is_the_one_that_order_computes():
    loader = make(remainder="pad")
    order = hr.Order(COUNTS, seed=0, epoch=0, block=4, lanes=6)
    got = list(loader)
    assert ids(got)[:N] == list(order)
    assert sum(int(batch.valid.sum()) for batch in got) == N
    # docs/ordering.md: counts 10 7 0 12 3, seed 5, epoch 1, block 4, lanes 6
    golden = "19 14 2 22 10 27 18 8 3 21 11 26 17 15 0 24 12 25 20 9 1 23 13 28 6 4 16 30 7 5 29 31"
    assert epoch_ids(1, seed=5, remainder="short") == [int(n) for n in golden.split()]


def test_break_leaves_the_rest_out_and_the_next_pass_is_the_next_epoch():
    loader = make()
    for _ in loader:
        break
    assert (loader.epoch, loader.step) == (0, 1)
    assert FakeStream.live == 0, "an abandoned iterator stops its work"
    assert ids(loader) == epoch_ids(1)


def test_resume_goes_on_behind_a_break():
    loader = make()
    first = []
    for batch in loader:
        first.append(batch)
        if len(first) == 2:
            break
    rest = list(loader.resume())
    assert len(rest) == 4
    assert ids(first + rest) == epoch_ids(0)
    assert ids(loader) == epoch_ids(1)


def test_an_exception_in_the_body_is_like_a_break():
    loader = make()
    with pytest.raises(ZeroDivisionError):
        for _ in loader:
            1 / 0  # noqa: B018
    gc.collect()
    assert ids(loader.resume()) == epoch_ids(0)[5:]


def test_a_break_after_the_last_batch_is_a_finished_pass():
    loader = make()
    for n, _ in enumerate(loader, 1):
        if n == 6:
            break
    assert ids(loader) == epoch_ids(1)


def test_ctrl_c_ends_the_pass_and_resume_goes_on():
    loader = make(fail_at=3)
    got = []
    with pytest.raises(KeyboardInterrupt):
        for batch in loader:
            got.append(batch)
    assert len(got) == 3
    assert FakeStream.live == 0
    loader._dataset.fail_at = None
    assert ids(got) + ids(loader.resume()) == epoch_ids(0)


def test_shuffle_false_starts_at_0_again():
    loader = make(shuffle=False)
    assert ids(loader)[:N] == list(range(N))
    for _ in loader:
        break
    assert ids(loader)[:N] == list(range(N))
    last = list(loader)[-1]
    assert last.valid.tolist() == [True, True, False, False, False], "padded, and marked"


def test_epochs_crosses_the_end_with_one_stream():
    loader = make()
    seen = []
    for epoch in loader.epochs(3):
        seen.append((epoch, ids(loader)))
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [got for _, got in seen] == [epoch_ids(e) for e in range(3)]
    assert FakeStream.started[0].options["epochs"] == 3
    assert sum(s.options["epochs"] == 3 for s in FakeStream.started) == 1
    assert FakeStream.live == 0


def test_a_break_inside_epochs_goes_to_the_next_epoch():
    loader = make()
    seen = []
    for epoch in loader.epochs(3):
        for batch in loader:
            seen.append((epoch, ids([batch])))
            if epoch == 1:
                break
    assert [epoch for epoch, _ in seen] == [0] * 6 + [1] + [2] * 6
    assert seen[6][1] == epoch_ids(1)[:5]
    assert [i for e, got in seen if e == 2 for i in got] == epoch_ids(2)


def test_an_epoch_whose_body_does_not_iterate_is_left_out():
    loader = make()
    assert list(loader.epochs(3)) == [0, 1, 2]
    assert list(loader.epochs(3)) == []


def test_epochs_is_the_resumable_form():
    loader = make()
    before = []
    for _ in loader.epochs(3):
        for batch in loader:
            before.append(batch)
            if len(before) == 8:
                state = loader.state_dict()
    after = make()
    after.load_state_dict(json.loads(json.dumps(state)))
    epochs, rest = [], []
    for epoch in after.epochs(3):
        epochs.append(epoch)
        rest += list(after)
    assert epochs == [1, 2]
    assert ids(before[:8]) + ids(rest) == ids(before)


@pytest.mark.parametrize("remainder", ["drop", "pad", "wrap", "short"])
@pytest.mark.parametrize("stop", range(1, 13))
def test_a_state_goes_on_exactly_on_any_number_of_ranks(remainder, stop):
    """global batch 6; the job runs on 1 rank, is stopped, and goes on with 1, 2, 3 and 6 ranks."""
    whole = make(batch_size=None, global_batch_size=6, remainder=remainder)
    batches = [batch for _ in whole.epochs(3) for batch in whole]
    loader = make(batch_size=None, global_batch_size=6, remainder=remainder)
    count = 0
    for _ in loader.epochs(3):
        for _ in loader:
            count += 1
            if count == stop:
                state = loader.state_dict()
    want = [sorted(b.ids[b.valid].tolist()) for b in batches[stop:]]
    for world in (1, 2, 3, 6):
        got = [[] for _ in want]
        for rank in range(world):
            part = make(
                batch_size=None,
                global_batch_size=6,
                remainder=remainder,
                rank=rank,
                world_size=world,
            )
            part.load_state_dict(state)
            assert part.state_dict()["position"] == state["position"]
            for n, batch in enumerate(b for _ in part.epochs(3) for b in part):
                got[n] += batch.ids[batch.valid].tolist()
        assert [sorted(g) for g in got] == want


def test_the_state_is_small_and_the_same_on_every_rank():
    states = []
    for rank in range(2):
        loader = make(rank=rank, world_size=2)
        next(iter(loader))
        states.append(loader.state_dict())
    assert states[0] == states[1]
    assert len(json.dumps(states[0])) < 1024


def test_a_state_of_another_data_set_is_refused():
    state = make().state_dict()
    loader = make()
    with pytest.raises(errors.MismatchError, match="order_hash"):
        loader.load_state_dict({**state, "order_hash": "0" * 32})
    with pytest.raises(errors.Error, match="version"):
        loader.load_state_dict({**state, "headrace": 2})
    with pytest.raises(errors.OptionError, match="not a loader's state"):
        loader.load_state_dict({"epoch": 3})
    with pytest.raises(errors.OptionError, match="not a loader's state"):
        loader.load_state_dict(7)


def test_the_state_replaces_options_and_says_so(caplog):
    state = make(seed=5, block=4, lanes=6).state_dict()
    loader = make(seed=1)
    with caplog.at_level("WARNING", "headrace"):
        loader.load_state_dict(state)
    assert "seed=5 replaces 1" in caplog.text
    assert ids(loader) == epoch_ids(0, seed=5)


def test_set_epoch_as_in_torch_idiom():
    loader = make()
    got = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        got.append(ids(loader))
    assert got == [epoch_ids(e) for e in range(3)]
    loader.set_epoch(0)
    assert ids(loader) == epoch_ids(0)


def test_set_epoch_does_nothing_in_the_middle_of_that_epoch():
    loader = make()
    iterator = iter(loader)
    first = [next(iterator), next(iterator)]
    state = loader.state_dict()
    after = make()
    after.load_state_dict(state)
    after.set_epoch(0)
    assert ids(first) + ids(after) == epoch_ids(0)


def test_virtual_epochs_go_on_where_the_last_ended():
    loader = make(epoch_size=15, remainder="wrap")
    assert len(loader) == 3
    passes = [list(loader) for _ in range(4)]
    assert [len(p) for p in passes] == [3] * 4
    endless = make(remainder="wrap")
    assert (
        ids(b for p in passes for b in p) == ids(b for _ in endless.epochs(2) for b in endless)[:60]
    )
    assert loader.epoch == 4
    for _ in loader:
        break
    loader.set_epoch(4)
    assert [len(list(loader)), loader.epoch] == [3, 6]


def test_virtual_epochs_inside_epochs_and_with_drop():
    loader = make(epoch_size=20)
    got = [(epoch, ids(loader)) for epoch in loader.epochs(3)]
    assert [epoch for epoch, _ in got] == [0, 1, 2]
    assert [i for _, part in got for i in part] == epoch_ids(0) + epoch_ids(1)
    state = make(epoch_size=20)
    state.set_epoch(1)
    assert ids(state) == got[1][1]


def test_steps_count_from_the_beginning_of_the_job():
    loader = make()
    steps = []
    for _ in loader.epochs(2):
        for _ in loader:
            steps.append(loader.step)
    assert steps == list(range(1, 13))


def test_an_old_iterator_is_told_that_a_newer_one_has_begun():
    loader = make()
    old = iter(loader)
    next(old)
    new = iter(loader)
    with pytest.raises(hr.Error, match="newer iteration"):
        next(old)
    assert ids(new) == epoch_ids(1)


def test_a_finished_iterator_stays_finished():
    loader = make()
    iterator = iter(loader)
    list(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_close_is_idempotent_and_what_follows_is_an_error():
    with make() as loader:
        next(iter(loader))
    loader.close()
    assert FakeStream.live == 0
    with pytest.raises(hr.Error, match="closed loader"):
        iter(loader)


def test_ranks_are_read_at_the_first_iter(monkeypatch):
    loader = make(batch_size=4)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(loader) == 4
    assert "1 of 2 (from RANK and WORLD_SIZE)" in str(loader)


def test_print_says_what_the_order_costs_and_gives():
    said = str(make(batch_size=4, block=4))
    least = -(-FakeDataset.samples // 4)
    assert f"  requests  about 16 an epoch (floor {least}: one a block)" in said
    assert (
        "  shuffle quality  D(1) ≤ 1.25, D(4) ≤ 1.50, D(32) n/a: epoch too short "
        "on data sorted by class (1 = a true shuffle)"
    ) in said
    assert "shuffle quality  n/a: no shuffle" in str(make(batch_size=4, shuffle=False))


def test_ranks_partition_every_batch():
    whole = [set(b.ids.tolist()) for b in make(batch_size=None, global_batch_size=8)]
    parts = [list(make(batch_size=4, rank=r, world_size=2)) for r in range(2)]
    assert [set(a.ids.tolist()) | set(b.ids.tolist()) for a, b in zip(*parts, strict=True)] == whole


def test_ranks_that_differ_are_told_in_what():
    texts = []
    for seed in (0, 1):
        make(
            seed=seed, rank=0, world_size=2, agree=lambda text: texts.append(text) or [text]
        )._agree(make(seed=seed, rank=0, world_size=2)._plan())
    loader = make(rank=0, world_size=2, agree=lambda text: texts)
    with pytest.raises(errors.MismatchError, match=r"(?s)seed.*0.*1"):
        iter(loader)
    assert FakeStream.live == 0


def test_agreement_is_compared_once_and_again_after_a_state():
    calls = []
    loader = make(rank=0, world_size=1, agree=lambda text: calls.append(text) or [text])
    list(loader)
    list(loader)
    assert len(calls) == 1
    loader.load_state_dict(loader.state_dict())
    list(loader)
    assert len(calls) == 2


def test_without_a_group_the_agreement_is_in_the_state():
    loader = make(rank=1, world_size=2)
    next(iter(loader))
    assert len(loader.state_dict()["agreement"]) == 32


def test_columns_give_tuples():
    loader = make(columns=("b", "x"))
    b, x = next(iter(loader))
    assert isinstance(b, hr.Ragged)
    assert x.shape == (5,)
    assert [spec["column"] for spec in FakeStream.started[0].options["fields"]] == ["b", "x"]


def test_without_decode_the_core_chooses_the_columns():
    next(iter(make()))
    assert FakeStream.started[0].options["fields"] == []


def double(sample):
    return {"y": sample["x"] * 2, "noise": hr.rng().integers(1 << 40), "key": "k"}


def test_transform_runs_on_every_sample_and_its_randomness_is_the_samples():
    loader = make(transform=double)
    first = {}
    for batch in loader:
        np.testing.assert_array_equal(batch["y"], batch.ids * 2)
        assert batch["key"].to_list() == ["k"] * 5
        first.update(zip(batch.ids.tolist(), batch["noise"].tolist(), strict=True))
    again = make(transform=double, batch_size=3)
    for batch in again:
        for i, noise in zip(batch.ids.tolist(), batch["noise"].tolist(), strict=True):
            assert first.get(i, noise) == noise


def test_a_transforms_exception_reaches_the_loop():
    def bad(sample):
        raise LookupError(f"sample {sample['x']}")

    loader = make(transform=bad)
    with pytest.raises(LookupError, match="sample"):
        next(iter(loader))
    assert FakeStream.live == 0


def test_a_transform_must_return_the_same_names():
    def odd(sample):
        return {"y": 1} if sample["x"] % 2 else {"z": 1}

    with pytest.raises(errors.OptionError, match="same names"):
        list(make(transform=odd))


def test_batch_transform_and_collate():
    loader = make(
        transform=lambda sample: sample["x"], collate=list, batch_transform=lambda rows: sum(rows)
    )
    assert sum(loader) == sum(epoch_ids(0))


def test_device_cpu_gives_tensors():
    torch = pytest.importorskip("torch")
    batch = next(iter(make(device="cpu")))
    assert isinstance(batch["x"], torch.Tensor)
    with pytest.raises(errors.OptionError, match="CUDA"):
        if torch.cuda.is_available():
            raise errors.OptionError("CUDA is there")
        make(device="cuda")


def test_option_faults_are_reported_together():
    with pytest.raises(errors.OptionError) as caught:
        FakeDataset().loader(
            batchsize=5, shuffle="stratifed", memory="2 Gigs", remainder="dropp", rank=1, on_bad_sample="x",
            collate=len, transform=3, decode={"y": int}, lanes=0,
        )  # fmt: skip
    text = str(caught.value)
    for part in (
        "did you mean 'batch_size'", "batch_size= (per rank) or global_batch_size= is missing",
        "did you mean 'stratified'", "'2 Gigs'", "remainder='dropp'", "rank=1, world_size=None",
        "on_bad_sample='x'", "transform=3 is not a function", "no field 'y'", "lanes=0 is less than 1",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"drop_last": True, "remainder": "pad"}, "contradicts"),
        ({"batch_size": 5, "global_batch_size": 5}, "not both"),
        ({"collate": list}, "needs transform="),
    ],
)
def test_options_that_contradict_are_refused(options, text):
    with pytest.raises(errors.OptionError, match=text):
        make(**options)


def test_torch_spelling_of_the_remainder():
    assert make(drop_last=True, shuffle=False)._options.remainder == "drop"
    assert make(drop_last=False)._options.remainder == "pad"
    assert (make()._options.remainder, make(shuffle=False)._options.remainder) == ("drop", "pad")


def test_workers_without_a_transform_are_refused():
    with pytest.raises(errors.OptionError, match="workers=2 needs transform="):
        make(workers=2)


def test_a_batch_larger_than_the_data_set_is_said():
    with pytest.raises(errors.OptionError, match="33"):
        iter(make(batch_size=33))
    with pytest.raises(errors.OptionError, match="not a multiple of the 2 ranks"):
        iter(make(batch_size=None, global_batch_size=5, rank=0, world_size=2))


def test_a_forked_child_gets_an_error_or_a_fresh_engine():
    loader = make()
    iterator = iter(loader)
    next(iterator)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            next(iterator)
            said = "delivered"
        except hr.Error as error:
            said = str(error)
        said += f" then {len(ids(loader))}"
        os.write(write, said.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    said = os.read(read, 10_000).decode()
    assert "forked process" in said
    assert "then 30" in said
    assert len(list(iterator)) == 5, "the parent goes on"


def test_stats_are_kept_over_passes():
    loader = make()
    list(loader)
    list(loader)
    assert loader.stats()["batches"] == 12
    assert "samples" in str(loader.stats())


def test_a_loader_can_be_pickled():
    import pickle

    loader = pickle.loads(pickle.dumps(make(seed=3)))
    assert ids(loader) == epoch_ids(0, seed=3)


def test_torch_dataloader_takes_the_iterable_dataset():
    torch_data = pytest.importorskip("torch.utils.data")
    dataset = hr.torch.IterableDataset(FakeDataset(), batch_size=5)
    loader = torch_data.DataLoader(dataset, num_workers=0, batch_size=None)
    assert len(loader) == 6
    got = [int(i) for batch in loader for i in batch["x"]]
    assert got == epoch_ids(0)
    state = dataset.state_dict()
    assert state["epoch"] == 1
