# SPDX-License-Identifier: Apache-2.0
"""Ledgers of mixtures: kills, other rank counts, weights changed on the way; and tampering."""

import dataclasses

import pytest
from small_data import sample_fields, write_tar

import headrace as hr
from headrace.ledger_file import (
    BATCH,
    MAGIC,
    pack_batch,
    pack_record,
    read_records,
    unpack_batch,
)

BAD = 7  # number in source b of a sample whose text is no number


def fields(i):
    return {"txt": b"bad" if i == 1000 + BAD else str(i).encode(), "bin": sample_fields(i)["bin"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    for name, first, count in (("a", 0, 100), ("b", 1000, 40)):
        (root / name).mkdir()
        for shard in range(2):
            each = count // 2
            write_tar(root / name / f"{shard}.tar", first + shard * each, each, fields)
    return root


@pytest.fixture
def mixture(folders):
    sources = {
        name: hr.open(folders / name, index_dir=str(folders / "index")) for name in ("a", "b")
    }
    return hr.mix(sources, weights={"a": 0.6, "b": 0.4})


def life(mixture, folder, *, world, batch, steps, state=None, weights=None):
    """One run; rank r does ``steps`` batches and r % 2 more. Gives the state after ``steps - 2``."""
    kept = None
    for rank in range(world):
        loader = mixture.loader(
            batch_size=batch, group=1, rank=rank, world_size=world, ledger=folder, seed=3, block=3, lanes=8,
            decode={"txt": int}, on_bad_sample="skip", columns=("txt",), memory="16MiB",
        )  # fmt: skip
        if state is not None:
            loader.load_state_dict(state)
        if weights is not None:
            loader.update_weights(weights, step=loader.step + 4)
        done = 0
        for _ in loader.epochs(99):
            for _ in loader:
                done += 1
                if rank == 0 and done == steps - 2:
                    kept = loader.state_dict()
                if done == steps + rank % 2:
                    break
            if done == steps + rank % 2:
                break
        loader.close()
    return kept


def job(mixture, folder):
    state = life(mixture, folder, world=2, batch=5, steps=14)
    state = life(mixture, folder, world=3, batch=4, steps=13, state=state)
    return life(mixture, folder, world=4, batch=2, steps=18, state=state)


def run_of(folder, world):
    """The files of the run on so many ranks, by rank."""
    said = f'"world": {world}'.encode()
    paths = [path for path in folder.glob("*.ledger") if said in path.read_bytes()]
    return {int(path.stem.rpartition("-")[2]): path for path in paths}


def change(folder, world, rank, edit):
    """The audit after ``edit(list of batches)`` of a rank's file in the run on ``world`` ranks."""
    path = run_of(folder, world)[rank]
    found = list(read_records(path))
    batches = edit([unpack_batch(r.payload, 1) for r in found if r.kind == BATCH])
    parts = [pack_record(found[0].kind, found[0].payload)]
    path.write_bytes(
        MAGIC + b"".join([*parts, *(pack_record(BATCH, pack_batch(b, 1)) for b in batches)])
    )
    return hr.audit(folder)


def texts(audit, kind):
    return [problem.text for problem in audit.problems if problem.kind == kind]


def test_every_epoch_of_every_source_is_proven(mixture, tmp_path):
    job(mixture, tmp_path)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    finished = [
        (e.source, e.epoch, e.delivered, e.skipped) for e in audit.epochs if e.state == "finished"
    ]
    # Runs of 10 and 12 rows a batch; 12 and 11 steps of them count, then 18 of 8: 396 rows, 0.4 of them b's.
    assert finished.count(("a", 0, 100, 0)) == 1
    assert [f for f in finished if f[0] == "b"] == [("b", e, 39, 1) for e in range(3)]
    assert audit.superseded_rows > 0
    assert any("001007 in " in note for note in audit.notes)
    assert "b epoch 2: finished: 39 of 40 delivered, 1 skipped as bad: proven" in str(audit)


def test_weights_may_change_on_the_way(mixture, tmp_path):
    state = life(mixture, tmp_path, world=2, batch=5, steps=14, weights={"a": 0.1, "b": 0.9})
    life(mixture, tmp_path, world=3, batch=4, steps=12, state=state, weights={"a": 0.5, "b": 0.5})
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert sum(e.proven for e in audit.epochs) >= 3


def test_a_replaced_sample_is_named(mixture, tmp_path):
    job(mixture, tmp_path)

    def edit(batches):
        ids = batches[6].ids.copy()
        ids[0] = ids[1] if batches[6].sources[0] == batches[6].sources[1] else (ids[0] + 1) % 40
        batches[6] = dataclasses.replace(batches[6], ids=ids)
        return batches

    audit = change(tmp_path, 4, 1, edit)
    assert not audit.ok
    assert "the order says" in texts(audit, "misplaced")[0]


def test_a_removed_record_is_named(mixture, tmp_path):
    job(mixture, tmp_path)
    audit = change(tmp_path, 3, 1, lambda batches: batches[:3] + batches[4:])
    assert not audit.ok
    assert "rank 1 of 3 has no record of batch" in texts(audit, "missing record")[0]


def test_records_twice_or_in_another_order_are_named(mixture, tmp_path):
    job(mixture, tmp_path)
    audit = change(tmp_path, 4, 2, lambda batches: batches[:5] + batches[4:])
    assert "comes behind" in texts(audit, "record out of order")[0]


def test_a_rank_without_a_file_is_named(mixture, tmp_path):
    job(mixture, tmp_path)
    run_of(tmp_path, 2)[1].unlink()
    audit = hr.audit(tmp_path)
    assert "no ledger of rank 1 of 2" in texts(audit, "rank without ledger")[0]
    assert not audit.ok


def test_a_run_that_is_gone_leaves_a_gap(mixture, tmp_path):
    job(mixture, tmp_path)
    for path in run_of(tmp_path, 3).values():
        path.unlink()
    audit = hr.audit(tmp_path)
    assert "source a begins at epoch" in texts(audit, "gap")[0]


def test_two_jobs_in_one_folder_are_refused(mixture, tmp_path):
    life(mixture, tmp_path, world=1, batch=5, steps=3)
    next(iter(mixture.sources["a"].loader(batch_size=5, ledger=tmp_path, columns=("bin",))))
    with pytest.raises(hr.OptionError, match="each job a folder"):
        hr.audit(tmp_path)


def test_weighted_draws_have_no_epochs_to_prove(mixture, tmp_path):
    data = mixture.sources["a"]
    next(iter(data.loader(batch_size=5, ledger=tmp_path, columns=("bin",), weights=[1.0] * 100)))
    with pytest.raises(hr.OptionError, match="sampler"):
        hr.audit(tmp_path)
