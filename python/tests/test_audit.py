# SPDX-License-Identifier: Apache-2.0
"""headrace audit: honest jobs are proven, and every way of tampering is named. Data set: 32 samples, see fakes.py."""

import dataclasses
import json
import os
import resource

import numpy as np
import pytest
from fakes import COUNTS, FakeStream
from ledger_jobs import BATCH, END, START, files, life, random_job, records, rewrite

import headrace as hr
from headrace import _core

N = int(COUNTS.sum())


@pytest.fixture(autouse=True)
def fake_stream(monkeypatch):
    monkeypatch.setattr(_core, "Stream", FakeStream, raising=False)
    for name in ("RANK", "WORLD_SIZE", "HEADRACE_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def order(epoch):
    return list(hr.Order(COUNTS, seed=3, epoch=epoch, block=4, lanes=6))


def only(audit, kind):
    """The texts of one kind; there must be some."""
    found = [problem.text for problem in audit.problems if problem.kind == kind]
    assert found, audit
    return found


# --- honest jobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remainder", "left_out"), [("drop", 2), ("pad", 0), ("wrap", 0), ("short", 0)]
)
@pytest.mark.parametrize("world", [1, 2])
def test_a_whole_job_is_proven(tmp_path, remainder, left_out, world):
    batch = {1: 5, 2: 3}[world]  # a batch of 5 or 6 over all ranks: 32 leaves 2 either way
    life(tmp_path, world=world, batch=batch, remainder=remainder)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    finished = [e for e in audit.epochs if e.state == "finished"]
    assert [e.epoch for e in finished] == (
        [0, 1, 2] if remainder != "wrap" else [0, 1, 2][: len(finished)]
    )
    assert all(
        (e.proven, e.left_out, e.delivered) == (True, left_out, N - left_out) for e in finished
    )
    assert "each sample exactly once" in str(audit)


@pytest.mark.parametrize("seed", range(40))
def test_jobs_with_kills_other_rank_counts_and_batch_sizes_are_proven(tmp_path, seed):
    random_job(tmp_path, seed)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert all(e.missing == e.repeated == e.misplaced == 0 for e in audit.epochs)


def test_what_a_restart_throws_away_is_counted_and_checked(tmp_path):
    states = life(tmp_path, world=2, batch=2, steps=6)
    life(tmp_path, world=4, batch=2, state=states[2], epochs=1)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    # 6 steps of 4 rows, the state was taken after 3.
    assert audit.superseded_rows == 12
    assert audit.epochs[0].delivered + audit.epochs[0].left_out == N
    assert [run["begin"] for run in audit.runs] == [[0, 0], [0, 12]]
    first = files_of_first_run(tmp_path)
    entries = records(first[0])
    last = max(i for i, (kind, _) in enumerate(entries) if kind == BATCH)
    wrong = dataclasses.replace(entries[last][1], ids=entries[last][1].ids[::-1].copy())
    rewrite(first[0], [*entries[:last], (BATCH, wrong), *entries[last + 1 :]])
    audit = hr.audit(tmp_path)
    assert not audit.ok, "superseded rows must equal the plan too"
    assert "the order says" in only(audit, "misplaced")[0]


def files_of_first_run(folder):
    def begun(path):
        return json.loads(records(path)[0][1])["time"]

    paths = sorted(folder.glob("*.ledger"), key=begun)
    return {0: paths[0], 1: paths[1]}


def test_a_state_may_be_loaded_inside_one_process(tmp_path):
    from fakes import FakeDataset

    loader = FakeDataset().loader(batch_size=4, ledger=tmp_path, remainder="pad", seed=3)
    state = None
    for number, _ in enumerate(loader):
        if number == 2:
            state = loader.state_dict()
        if number == 4:
            break
    loader.load_state_dict(state)
    for _ in loader:
        pass
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert (audit.epochs[0].delivered, audit.superseded_rows) == (N, 8)


def test_break_leaves_an_epoch_out_and_is_said(tmp_path):
    from fakes import FakeDataset

    loader = FakeDataset().loader(batch_size=4, ledger=tmp_path, remainder="pad", seed=3)
    for number, _ in enumerate(loader):
        if number == 4:
            break
    for _ in loader:
        pass
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert [(e.epoch, e.state, e.proven) for e in audit.epochs] == [
        (0, "broken off", False), (1, "finished", True),
    ]  # fmt: skip
    assert not hr.audit(tmp_path, epoch=0).ok
    assert hr.audit(tmp_path, epoch=1).ok


def test_unshuffled_passes_are_told_apart(tmp_path):
    from fakes import FakeDataset

    loader = FakeDataset().loader(batch_size=5, ledger=tmp_path, shuffle=False)
    for _ in range(3):
        for _ in loader:
            pass
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert [(e.number, e.epoch, e.state) for e in audit.epochs] == [
        (0, 0, "finished"), (1, 0, "finished"), (2, 0, "finished"),
    ]  # fmt: skip


def test_virtual_epochs_go_on_where_the_last_ended(tmp_path):
    states = life(tmp_path, batch=4, epoch_size=12, remainder="wrap", epochs=9, steps=12)
    life(tmp_path, batch=4, epoch_size=12, remainder="wrap", epochs=9, state=states[9])
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    # 9 virtual epochs of 3 batches: 108 positions = 3 epochs and 12 of the fourth.
    assert [(e.state, e.delivered) for e in audit.epochs] == [
        ("finished", N), ("finished", N), ("finished", N), ("in progress", 12),
    ]  # fmt: skip


def test_an_epoch_in_progress_is_no_failure_but_can_be_asked_for(tmp_path):
    life(tmp_path, batch=4, steps=10, remainder="pad")
    audit = hr.audit(tmp_path)
    assert audit.ok
    assert [(e.state, e.delivered) for e in audit.epochs] == [("finished", N), ("in progress", 8)]
    assert "not finished" in only(hr.audit(tmp_path, epoch=1), "not finished")[0]


def test_a_larger_batch_that_does_not_fit_begins_the_next_epoch(tmp_path):
    states = life(tmp_path, batch=4, steps=6)  # 24 of 32
    life(tmp_path, batch=9, state=states[-1], epochs=2)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert [(e.delivered, e.left_out) for e in audit.epochs] == [(24, 8), (27, 5)]


def test_skipped_bad_samples_are_holes_with_names(tmp_path):
    life(tmp_path, batch=4, epochs=1, remainder="pad")
    path = files(tmp_path)[0]
    entries = records(path)
    number = next(i for i, (kind, _) in enumerate(entries) if kind == BATCH)
    body = entries[number][1]
    valid, ids = body.valid.copy(), body.ids.copy()
    valid[2], ids[2] = False, body.ids[3]
    skipped = [(2, int(body.ids[2]), "s/000007", "train-0.tar", "corrupt: bad JPEG")]
    hole = dataclasses.replace(body, valid=valid, ids=ids, skipped=skipped)
    rewrite(path, [*entries[:number], (BATCH, hole), *entries[number + 1 :]])
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert (audit.epochs[0].skipped, audit.epochs[0].delivered) == (1, N - 1)
    assert any("s/000007" in note and "bad JPEG" in note for note in audit.notes)
    unexplained = dataclasses.replace(hole, skipped=())
    rewrite(path, [*entries[:number], (BATCH, unexplained), *entries[number + 1 :]])
    audit = hr.audit(tmp_path)
    assert "no reason" in only(audit, "hole")[0]
    assert audit.epochs[0].missing == 1


# --- tampering ----------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path):
    """Two ranks, one epoch of 8 batches, nothing left out."""
    life(tmp_path, world=2, batch=2, epochs=1, remainder="pad")
    assert hr.audit(tmp_path).ok
    return tmp_path


def change(folder, rank, edit):
    """The audit after ``edit(list of batches)`` of a rank's file."""
    path = files(folder)[rank]
    entries = records(path)
    batches = [body for kind, body in entries if kind == BATCH]
    head, tail = entries[:1], [entry for entry in entries if entry[0] == END]
    rewrite(path, [*head, *((BATCH, body) for body in edit(batches)), *tail])
    return hr.audit(folder)


def test_swapped_rows_are_named(job):
    def edit(batches):
        batches[3] = dataclasses.replace(batches[3], ids=batches[3].ids[::-1].copy())
        return batches

    audit = change(job, 1, edit)
    want = order(0)[12:16][1::2]  # batch 3 of 4 samples, rank 1's
    texts = only(audit, "misplaced")
    assert "epoch 0 position 12" in texts[0]
    assert f"row 0 is sample {want[1]}, the order says {want[0]}" in texts[0]
    epoch = audit.epochs[0]
    assert (epoch.misplaced, epoch.missing, epoch.repeated, epoch.proven) == (2, 0, 0, False)


def test_a_replaced_sample_is_one_missing_and_one_repeated(job):
    plan = order(0)

    def edit(batches):
        ids = batches[5].ids.copy()
        ids[0] = plan[0]
        batches[5] = dataclasses.replace(batches[5], ids=ids)
        return batches

    audit = change(job, 0, edit)
    assert f"sample {plan[0]} had been delivered" in only(audit, "repeated")[0]
    assert f"sample {plan[20]} of position 20" in only(audit, "missing")[0]
    named = hr.audit(job, key_of=lambda number: f"s/{number:06d}")
    assert f"(s/{plan[20]:06d})" in only(named, "missing")[0]
    assert (audit.epochs[0].missing, audit.epochs[0].repeated) == (1, 1)


def test_the_same_sample_twice_in_a_batch_is_repeated(job):
    def edit(batches):
        batches[5] = dataclasses.replace(batches[5], ids=np.repeat(batches[5].ids[:1], 2))
        return batches

    audit = change(job, 0, edit)
    assert (audit.epochs[0].missing, audit.epochs[0].repeated) == (1, 1)


def test_a_removed_record_is_missing_with_its_place(job):
    audit = change(job, 1, lambda batches: batches[:4] + batches[5:])
    assert (
        "rank 1 of 2 has no record of the batch at epoch 0 position 16"
        in only(audit, "missing record")[0]
    )
    assert sorted(f"sample {i} " in text for i in order(0)[16:20][1::2] for text in only(audit, "missing")) == [
        False, False, True, True,
    ]  # fmt: skip
    assert audit.epochs[0].missing == 2


def test_removed_records_at_the_end_are_missing(job):
    audit = change(job, 1, lambda batches: batches[:4])
    assert (audit.ok, audit.epochs[0].missing) == (False, 8)


def test_a_record_twice_is_named(job):
    audit = change(job, 0, lambda batches: batches[:3] + batches[2:])
    assert "record 4" in only(audit, "repeated record")[0]
    assert "epoch 0 position 8 comes again" in only(audit, "repeated record")[0]
    assert not audit.epochs[0].proven


def test_records_in_another_order_are_named(job):
    def edit(batches):
        batches[2], batches[5] = batches[5], batches[2]
        return batches

    audit = change(job, 0, edit)
    texts = only(audit, "record out of order")
    assert (
        "record 6: the batch at epoch 0 position 8 comes late, behind that at epoch 0 position 20"
        in texts[-1]
    )
    epoch = audit.epochs[0]
    assert (epoch.missing, epoch.repeated, epoch.proven) == (0, 0, False)


def test_a_record_of_another_place_is_not_planned(job):
    def edit(batches):
        batches.insert(3, dataclasses.replace(batches[3], begin=(0, 10)))
        return batches

    audit = change(job, 0, edit)
    assert "position 10 is no batch of the plan" in only(audit, "record not planned")[0]


def test_a_rank_without_a_file_is_named(job):
    files(job)[1].unlink()
    audit = hr.audit(job)
    assert "no ledger of rank 1 of 2" in only(audit, "rank without ledger")[0]
    assert audit.epochs[0].missing == N // 2


def test_a_wrong_checksum_is_named_and_the_rest_is_read(job):
    path = files(job)[0]
    content = bytearray(path.read_bytes())
    start = len(content) - 200
    content[start] ^= 1
    path.write_bytes(content)
    audit = hr.audit(job)
    assert path.name in only(audit, "checksum")[0]
    assert audit.epochs[0].missing == 2


def test_a_torn_tail_is_recognised_and_counts_as_not_delivered(job):
    path = files(job)[1]
    entries = records(path)
    rewrite(path, [entry for entry in entries if entry[0] != END])
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    audit = hr.audit(job)
    assert "torn" in audit.notes[0]
    assert path.name in audit.notes[0]
    assert audit.ok, "a step behind is what a kill leaves: the epoch is in progress"
    assert audit.epochs[0].state == "in progress"
    assert not hr.audit(job, epoch=0).ok


def test_another_seed_on_one_rank_is_named(job):
    path = files(job)[1]
    entries = records(path)
    start = json.loads(entries[0][1])
    start["state"]["seed"] = 4
    for entry in start, json.loads(records(files(job)[0])[0][1]):
        entry["run"], entry["shared"] = "job-1", True
        target = path if entry is start else files(job)[0]
        rewrite(target, [(START, json.dumps(entry).encode()), *records(target)[1:]])
    audit = hr.audit(job)
    assert "seed=4 (others: 3)" in only(audit, "disagreement")[0]
    assert not audit.ok


def test_another_seed_on_all_ranks_is_not_the_plan(job):
    for path in files(job).values():
        entries = records(path)
        start = json.loads(entries[0][1])
        start["state"]["seed"] = 4
        rewrite(path, [(START, json.dumps(start).encode()), *entries[1:]])
    audit = hr.audit(job)
    assert only(audit, "misplaced")
    assert not audit.epochs[0].proven


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch", 0), ("world", 3), ("samples", -1), ("at", [0]), ("at", [0, -1, 0]), ("rank", "x"),
     ("id_bytes", 9), ("state", {}), ("time", None), ("counts", [[1, 2]]), ("counts", "AAAA")],
)  # fmt: skip
def test_a_start_record_that_makes_no_sense_is_named(job, name, value):
    path = files(job)[0]
    entries = records(path)
    start = {**json.loads(entries[0][1]), name: value}
    rewrite(path, [(START, json.dumps(start).encode()), *entries[1:]])
    audit = hr.audit(job)
    assert not audit.ok
    assert only(audit, "unreadable")


def test_going_on_inside_an_epoch_with_another_order_is_named(tmp_path):
    states = life(tmp_path, steps=3, batch=4, remainder="pad")
    life(tmp_path, batch=4, remainder="pad", state={**states[-1], "seed": 9}, epochs=1)
    audit = hr.audit(tmp_path)
    assert "with seed 3 -> 9" in only(audit, "order changed")[0]
    assert not audit.epochs[0].proven


def test_a_gap_between_two_runs_is_named(tmp_path):
    life(tmp_path, steps=3, batch=4, remainder="pad", epochs=1)
    ahead = {**life(tmp_path / "other", steps=5, batch=4, remainder="pad", epochs=1)[-1]}
    for path in (tmp_path / "other").glob("*"):
        path.unlink()
    life(tmp_path, batch=4, remainder="pad", state=ahead, epochs=1)
    audit = hr.audit(tmp_path)
    assert (
        "position 20, but nothing says what was delivered from epoch 0 position 12"
        in only(audit, "gap")[0]
    )
    assert (audit.epochs[0].proven, audit.epochs[0].delivered) == (False, 24)


def test_a_ledger_that_begins_in_the_middle_is_not_a_whole_epoch(tmp_path):
    state = life(tmp_path / "other", steps=5, batch=4, remainder="pad")[-1]
    life(tmp_path / "here", batch=4, remainder="pad", state=state, epochs=2)
    audit = hr.audit(tmp_path / "here")
    assert [(e.epoch, e.proven) for e in audit.epochs] == [(0, False), (1, True)]
    assert not audit.ok
    assert hr.audit(tmp_path / "here", epoch=1).ok


def test_only_twenty_of_a_kind_are_named_and_all_are_counted(job):
    for rank in (0, 1):
        audit = change(
            job, rank, lambda batches: [dataclasses.replace(b, ids=b.ids ^ 1) for b in batches]
        )
    assert len(only(audit, "misplaced")) == 20
    assert audit.problem_counts["misplaced"] == N
    assert "misplaced: 32 in all" in str(audit)


def test_more_ranks_than_files_may_be_open(tmp_path):
    life(tmp_path, world=16, batch=1, epochs=2, remainder="pad")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        assert hr.audit(tmp_path).ok
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_folder_without_ledgers_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*\.ledger file"):
        hr.audit(tmp_path)
