# SPDX-License-Identifier: Apache-2.0
"""Sampling by weight while training runs: frequencies, resume, changes, files."""

import json

import numpy as np
import pytest

import headrace as hr
from headrace import _core
from headrace.weights import draws_of

CLASSES = np.arange(600) * 10 // 600  # small_data.py
OPTIONS = {"batch_size": 20, "decode": {"cls": int}, "seed": 3}


def ids(loader, batches):
    out = []
    while len(out) < batches:
        for batch in loader:
            out.append(batch.ids.tolist())
            if len(out) == batches:
                break
    return out


def test_a_million_draws_fit_their_weights():
    rng = np.random.default_rng(1)
    weights = (rng.random(2000) ** 3 + 1e-3).astype(np.float32)
    draws = draws_of(weights, 2000, seed=11)
    got = np.bincount(draws.draw_many(0, np.arange(1_000_000)), minlength=2000)
    expected = 1_000_000 * weights.astype(float) / weights.sum(dtype=float)
    chi2 = ((got - expected) ** 2 / expected).sum()
    z = (chi2 - 1999) / np.sqrt(2 * 1999)
    print(f"chi-square z over 10^6 draws: {z:.2f}")
    assert abs(z) < 4
    assert (
        draws.draw_many(0, np.arange(999_000, 1_000_000)).tolist()
        == draws.draw_many(0, np.arange(1_000_000))[999_000:].tolist()
    )


def test_balanced_classes_and_chosen_shares(dataset):
    balanced = hr.class_weights(np.where(CLASSES < 9, CLASSES, 8))  # one class twice as large
    loader = dataset.loader(**OPTIONS, weights=balanced)
    drawn = CLASSES[np.concatenate(ids(loader, 600))]
    share = np.bincount(np.minimum(drawn, 8), minlength=9) / len(drawn)
    assert np.abs(share - 1 / 9).max() < 0.012  # 4 sigma of 12,000 draws
    chosen = hr.class_weights(CLASSES, {3: 3.0, 4: 1.0})
    drawn = CLASSES[np.concatenate(ids(dataset.loader(**OPTIONS, weights=chosen), 300))]
    assert set(drawn) == {3, 4}
    assert abs(np.mean(drawn == 3) - 0.75) < 0.03
    named = hr.class_weights([f"class {c}" for c in CLASSES], {"class 2": 1})
    assert set(np.flatnonzero(named)) == set(np.flatnonzero(CLASSES == 2))
    with pytest.raises(hr.Error, match="77"):
        hr.class_weights(CLASSES, {77: 1})


def test_runs_arrays_and_files_draw_the_same(dataset, tmp_path):
    column = np.repeat([1.0, 0.25, 4.0], 200).astype(np.float32)
    np.save(tmp_path / "weights.npy", column)
    mapped = np.load(tmp_path / "weights.npy", mmap_mode="r")
    runs = hr.WeightRuns([200, 200, 200], [1.0, 0.25, 4.0])
    hashes = {draws_of(w, 600, 3).hash for w in (column, mapped, runs)}
    assert len(hashes) == 1
    assert _core.draws_of_array(column, 3).hash in hashes
    want = ids(dataset.loader(**OPTIONS, weights=column), 10)
    for weights in (mapped, runs):
        assert ids(dataset.loader(**OPTIONS, weights=weights), 10) == want
    assert draws_of(mapped[300:], 300, 3).hash == draws_of(column[300:], 300, 3).hash


def test_ranks_and_resume(dataset):
    weights = np.random.default_rng(0).random(600)
    options = {"global_batch_size": 24, "decode": {"cls": int}, "seed": 5, "weights": weights}
    whole = ids(dataset.loader(**options), 60)
    for world in (2, 3):
        ranks = [
            ids(dataset.loader(**options, rank=r, world_size=world, agree=lambda t: [t]), 60)
            for r in range(world)
        ]
        for want, *got in zip(whole, *ranks):
            assert sorted(np.concatenate(got)) == sorted(want)
    loader = dataset.loader(**options)
    assert ids(loader, 31) == whole[:31]
    state = json.loads(json.dumps(loader.state_dict()))
    again = dataset.loader(**options)
    again.load_state_dict(state)
    assert ids(again, 29) == whole[31:]


def test_weights_change_at_a_stated_step(dataset):
    low, high = (CLASSES < 5) * 1.0, (CLASSES >= 5) * 1.0
    loader = dataset.loader(**OPTIONS, weights=low)
    loader.update_weights(high, step=40)
    whole = ids(loader, 80)
    assert CLASSES[np.concatenate(whole[:40])].max() == 4
    assert CLASSES[np.concatenate(whole[40:])].min() == 5
    at_once = dataset.loader(**OPTIONS, weights=low)
    run = iter(at_once)
    first = [next(run).ids.tolist() for _ in range(7)]
    assert first == whole[:7]
    at_once.update_weights(high)
    assert CLASSES[next(run).ids].min() == 5
    with pytest.raises(hr.Error, match="has passed"):
        at_once.update_weights(low, step=3)
    state = at_once.state_dict()
    with pytest.raises(hr.MismatchError, match="weights"):
        dataset.loader(**OPTIONS, weights=low).load_state_dict(state)
    again = dataset.loader(**OPTIONS, weights=high)
    again.load_state_dict(state)
    assert next(iter(again)).ids.tolist() == next(run).ids.tolist()


def test_weights_as_a_function_of_the_step(dataset):
    def curriculum(step):
        return (step // 20 >= CLASSES).astype(float)

    options = {**OPTIONS, "weights_every": 20}
    loader = dataset.loader(**options, weights=curriculum)
    whole = ids(loader, 190)
    for step in range(190):
        assert CLASSES[whole[step]].max() <= step // 20
    assert {int(CLASSES[b].max()) for b in whole} == set(range(10))
    again = dataset.loader(**options, weights=curriculum)
    head = ids(again, 55)
    third = dataset.loader(**options, weights=curriculum)
    third.load_state_dict(again.state_dict())
    assert head + ids(third, 135) == whole


def test_ranks_that_update_differently_are_told_so(dataset):
    loader = dataset.loader(
        batch_size=20, weights=np.ones(600), rank=0, world_size=2, agree=lambda t: [t, t]
    )
    run = iter(loader)
    next(run)
    loader._options.agree = lambda text: [text, text.replace("step 5", "step 6")]
    with pytest.raises(hr.MismatchError, match="step 6"):
        loader.update_weights(np.arange(600), step=5)


def test_weights_of_a_subset(dataset):
    part = dataset.where(CLASSES >= 8)
    loader = part.loader(**OPTIONS, weights=np.arange(120) % 2)
    drawn = np.unique(np.concatenate(ids(loader, 60)))
    assert drawn.min() >= 480
    assert ((drawn - 480) % 2 == 1).all()


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.ones(5), "5 weights"), (np.ones((600, 2)), "not a number"), (np.zeros(600), "zero|no positive|all"),
        (-np.ones(600), "negative"), (np.full(600, np.nan), "nan|NaN|finite|number"),
        (hr.WeightRuns([5], [1]), "5 weights"), ("balanced", "not a number"),
    ],
)  # fmt: skip
def test_faulty_weights_are_refused(dataset, weights, says):
    with pytest.raises(hr.Error, match=says):
        dataset.loader(batch_size=20, weights=weights)


def test_weights_do_not_go_with_a_shuffle(dataset):
    with pytest.raises(hr.Error, match="shuffle"):
        dataset.loader(batch_size=20, weights=np.ones(600), shuffle=False)
    with pytest.raises(hr.Error, match="without weights"):
        dataset.loader(batch_size=20).update_weights(np.ones(600))
