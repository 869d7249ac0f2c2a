# SPDX-License-Identifier: Apache-2.0
"""Properties of ``hr.Order`` and of a rank's batches in worlds of up to 10^10 samples, none of which
is materialised. `HR_EXAMPLES=2000 pytest tests/model/test_order_properties.py` tries more worlds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace import _core

sys.path.insert(0, str(Path(__file__).parent))
from order_inverse import Inverse, UnitInverse, permutation_inverse, spread_inverse
from order_model import permutation, spread

EXAMPLES = int(os.environ.get("HR_EXAMPLES", "30"))
worlds = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="HR_EXAMPLES" not in os.environ,  # the same worlds in every `make test`
    suppress_health_check=[HealthCheck.too_slow],
)

U64 = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(0, 2**40)
SHUFFLES = st.sampled_from(["stratified", "stratified", "block", "global", "none"])


@st.composite
def shard_counts(draw, shards_max=3000, samples_max=10**10):
    """Counts of shards that are equal, nearly equal, skewed, with empty ones; 1..10^10 samples."""
    shards = draw(st.integers(1, shards_max))
    total = draw(st.sampled_from([10**2, 10**4, 10**6, 10**8, samples_max]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from(["equal", "near", "skewed", "gaps"]))
    each = max(1, total // shards)
    if shape == "equal":
        counts = np.full(shards, each)
    elif shape == "near":
        counts = each + rng.integers(0, 50, shards)
    else:
        parts = rng.pareto(1.2, shards) if shape == "skewed" else rng.random(shards)
        counts = (parts / parts.sum() * total).astype(np.int64)
        if shape == "gaps":
            counts[rng.random(shards) < 0.5] = 0
        counts[draw(st.integers(0, shards - 1))] += 1
    return counts


@st.composite
def orders(draw):
    counts = draw(shard_counts())
    n = int(counts.sum())
    lanes = draw(st.integers(1, 20_000) | st.sampled_from([1, 840, 1680, n]))
    lanes = min(lanes, 20_000)
    described = {
        "seed": draw(U64),
        "epoch": draw(EPOCHS),
        "block": draw(st.integers(1, 300) | st.sampled_from([1, 1024, 65_536])),
        "lanes": lanes,
        "shuffle": draw(SHUFFLES),
    }
    return hr.Order(counts, **described), counts, described


def some_of(draw_seed: int, n: int, how_many: int) -> list[int]:
    rng = np.random.default_rng(draw_seed)
    return sorted({0, n - 1, *(int(x) for x in rng.integers(0, n, how_many))})


@worlds
@given(orders(), U64)
def test_every_sample_stands_where_the_inverse_says(world, pick):
    """Surjective, at samples by lot: the inverse is computed from the specification alone."""
    order, counts, described = world
    inverse = Inverse(counts.tolist(), **described)
    samples = some_of(pick, len(order), 24)
    positions = [inverse.position_of(sample) for sample in samples]
    assert len(set(positions)) == len(samples)
    assert order.at_many(positions).tolist() == samples


@worlds
@given(orders(), U64)
def test_every_position_is_the_inverse_of_its_sample(world, pick):
    """Injective, at positions by lot, the border of the main part among them."""
    order, counts, described = world
    inverse = Inverse(counts.tolist(), **described)
    positions = some_of(pick, len(order), 24)
    positions += [p for p in (inverse.main - 1, inverse.main) if 0 <= p < len(order)]
    samples = order.at_many(positions).tolist()
    assert [inverse.position_of(sample) for sample in samples] == positions


@worlds
@given(shard_counts(shards_max=2000), U64, EPOCHS, st.integers(1, 64), U64, st.booleans())
def test_units_have_their_inverse_too(counts, seed, epoch, lanes, pick, by_lot):
    counts = np.minimum(counts, 5_000)  # the model shuffles a unit in Python
    if counts.sum() == 0:
        counts[0] = 1
    shuffle = "block" if by_lot else "stratified"
    order = hr.Order(counts, seed=seed, epoch=epoch, lanes=lanes, shuffle=shuffle, units=True)
    inverse = UnitInverse(counts.tolist(), seed, epoch, lanes, shuffle)
    samples = some_of(pick, len(order), 6)
    positions = [inverse.position_of(sample) for sample in samples]
    assert order.at_many(positions).tolist() == samples


@worlds
@given(orders(), st.integers(0, 2**62))
def test_a_window_has_no_sample_twice_and_at_is_at_many(world, begin):
    order, counts, _ = world
    begin %= len(order)
    positions = np.arange(begin, min(begin + 3000, len(order)))
    samples = order.at_many(positions)
    assert len(np.unique(samples)) == len(samples)
    assert samples.min() >= 0
    assert samples.max() < counts.sum()
    for p in (0, len(positions) // 2, len(positions) - 1):
        assert order.at(int(positions[p])) == samples[p]


@worlds
@given(orders(), st.integers(0, 2**62))
def test_lanes_of_a_round_read_different_blocks(world, begin):
    order, counts, described = world
    inverse = Inverse(counts.tolist(), **described)
    if described["shuffle"] == "none" or inverse.main == 0:
        return
    begin = begin % (inverse.main // order.lanes) * order.lanes
    samples = order.at_many(np.arange(begin, begin + min(order.lanes, 2000)))
    blocks = [inverse.block_of(int(sample))[0] for sample in samples]
    assert len(set(blocks)) == len(blocks)


@worlds
@given(
    st.integers(1, 10**10), st.integers(1, 64), st.integers(1, 64), EPOCHS,
    st.sampled_from(["drop", "wrap", "pad"]), st.integers(0, 2**62),
)  # fmt: skip
def test_ranks_share_a_window_exactly_once(n, world, each, epoch, remainder, begin):
    """Ten batches from any state: together the ranks get the positions of the running count."""
    batch = world * each
    if remainder == "drop" and batch > n:
        return
    start = (epoch % 2**20, begin % n, 0)
    ranks = [
        _core.Schedule(
            samples=n, batch=batch, rank=rank, world=world, remainder=remainder, start=start
        )
        for rank in range(world)
    ]
    at = ranks[0].at
    for _ in range(10):
        rows = [rank.next() for rank in ranks]
        assert len({row is None for row in rows}) == 1  # equal steps
        if rows[0] is None:
            break
        running = []
        for rank, (epochs, positions, valid) in enumerate(rows):
            assert len(positions) == each
            kept = valid.astype(bool)
            owner = (epochs % world * (n % world) + positions) % world
            assert (owner[kept] == rank).all()
            running.append(((epochs - at[0]) * n + positions)[kept])
        running = np.sort(np.concatenate(running))
        assert (running == at[1] + np.arange(len(running))).all()
        assert len({rank.at for rank in ranks}) == 1
        at = ranks[0].at


@worlds
@given(st.integers(2, 10**10), st.integers(1, 50), st.integers(1, 12), U64, U64)
def test_a_resumed_job_goes_on_with_any_number_of_ranks(n, each, world, seed, cut):
    """Saved anywhere by one rank count, as text, loaded by another with the same global batch."""
    batch = each * 60
    if batch > n:
        return
    steps = n // batch
    start = (3, n % batch + cut % steps * batch, n % batch)
    text = _core.make_state(
        order_hash="aa", index="i", seed=seed, at=start, block=1, lanes=1, shuffle="block",
        remainder="drop",
    )  # fmt: skip
    state = _core.read_state(text, "aa", n)
    assert state["at"] == start
    assert len(text) < 1024
    world = next(w for w in range(world, 61) if 60 % w == 0)
    got = []
    for rank in range(world):
        schedule = _core.Schedule(
            samples=n, batch=batch, rank=rank, world=world, remainder="drop", start=state["at"]
        )
        assert schedule.batches_left == (n - start[1]) // batch
        _, positions, valid = schedule.next()
        assert (valid == 1).all()
        got.append(positions)
    assert np.array_equal(np.sort(np.concatenate(got)), start[1] + np.arange(batch))


@worlds
@given(st.integers(1, 2**62), U64, st.lists(st.integers(0, 2**62), min_size=1, max_size=8))
def test_both_permutations_have_inverses(n, k, indices):
    at = permutation(n, k)
    for i in indices:
        i %= n
        assert permutation_inverse(at(i), n, k) == i
        assert spread_inverse(spread(i, n, k), n, k) == i
