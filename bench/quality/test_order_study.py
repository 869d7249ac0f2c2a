# SPDX-License-Identifier: Apache-2.0
"""The study's yardsticks, against arithmetic on paper and against the product's own figures."""

import design
import held
import numpy as np
import pytest
import variants
import worlds
from first_free import FirstFree

import headrace as hr
import quality

COUNTS = [70] * 57 + [10]


def test_all_rows_have_the_benchs_figure() -> None:
    labels = worlds.labels("class-sorted", 4000)
    ids = np.random.default_rng(1).permutation(4000)

    ours = design.design_effect(labels[ids], np.bincount(labels), 64)

    assert ours == pytest.approx(quality.design_effect(labels[ids], 64, 1))


def test_the_figure_is_the_products() -> None:
    labels = worlds.labels("class-sorted", 4000)
    order = hr.Order(COUNTS, seed=3, block=7, lanes=84)

    ours = design.design_effect(labels[order.at_many(range(4000))], np.bincount(labels), 128)

    assert ours == pytest.approx(order.design_effect(labels, batch=32, windows=[4])[4])


def test_a_rank_that_sees_half_of_the_classes_is_not_balanced() -> None:
    # 8 classes of 512 over two ranks, one rank sees the first four only: of w rows w / 4 come from
    # each where w / 8 were expected: the sum is w, over 7 (N - w) / (N - 1) of a true shuffle's.
    rows = np.tile(np.arange(4), 512)

    found = design.design_effect(rows, np.full(8, 512), 32)

    assert found == pytest.approx(32 / (7 * (4096 - 32) / 4095))


def test_the_bound_at_whole_windows_of_lanes() -> None:
    # x = 2: 1 + 2 * (1 - 1/2) * (1 - 1/c); for c = 2 that is 1.5
    assert design.bound(2, 128, 256, 1) == pytest.approx(1.5)
    assert design.bound(2, 256, 256, 1) == 1
    assert design.bound(9, 256, 256, 4, rho=0) == 1


def test_size_biased_mean() -> None:
    assert design.size_biased([1, 3]) == 2.5


def test_lanes_hold_about_half_of_their_blocks() -> None:
    # L * (c + 1) / 2 with every lane at another place of its block, and no tail
    order = hr.Order([4032], seed=1, block=8, lanes=84)

    most = held.peak_by_sample(order.at_many(range(4032)), np.arange(4032) // 8, wraps=True)

    assert 84 * 4.5 * 0.95 <= most <= 84 * 4.5 * 1.1


def test_a_store_read_in_order_holds_one_shard() -> None:
    assert held.peak_by_unit(np.arange(40), np.arange(40) // 10) == 10
    assert held.peak_by_sample(np.arange(40), np.arange(40) // 10) == 10


def test_blocks_are_those_of_the_order() -> None:
    # docs/ordering.md's worked example: shards of 10 7 0 12 3, c = 4
    found = held.blocks_of_samples([10, 7, 0, 12, 3], 4)

    assert np.flatnonzero(found == 6).tolist() == [8, 9, 14, 15]
    assert np.flatnonzero(found == 7).tolist() == [16, 29, 30, 31]


def test_spread_is_the_specifications() -> None:
    # golden values of docs/ordering.md, key(0,0,1,0) and key(7,3,1,0)
    assert variants.spread(13, 0x62A4ED4055D278DB).tolist() == [
        5, 7, 1, 12, 0, 6, 11, 4, 10, 3, 2, 9, 8,
    ]  # fmt: skip
    assert sorted(variants.spread(1001, 5)) == list(range(1001))


def test_the_simulated_version_1_has_the_figures_of_the_product() -> None:
    samples = 60 * 420 * 6
    labels = worlds.labels("class-sorted", samples)
    figures = []
    for seed in range(4):
        ids, tail = variants.order(samples, 6, 420, seed)
        assert tail == 0
        product = hr.Order([samples], seed=seed, block=6, lanes=420)
        for which in (ids, product.at_many(np.arange(samples))):
            seen = labels[which]
            figures.append(
                [design.design_effect(seen, np.bincount(labels), 64 * m) for m in (1, 16)]
            )
    ours, theirs = np.mean(figures[::2], axis=0), np.mean(figures[1::2], axis=0)

    assert ours == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize(
    "tail", ["permuted runs", "spread runs", "whole blocks", "840ths", "last row"]
)
def test_every_variant_delivers_every_sample_once(tail) -> None:
    for mix in ("", "rows", "lanes"):
        ids, left = variants.order(7 * 501, 7, 84, 3, tail=tail, mix=mix, turn=5)
        assert left == 7 * (501 - 5 * 84)
        assert sorted(ids) == list(range(7 * 501))
    assert sorted(variants.halves(4 * 420, 2, 84, 1, 3)) == list(range(4 * 420))
    sizes = np.array(worlds.unit_counts(3000))
    for level in (False, True):
        for deal in (variants.balanced(8), variants.first_free, variants.lanes_as_dealt):
            ids = variants.units_by_lane(sizes, 40, 3, deal, level=level)
            assert sorted(ids) == list(range(3000))


@pytest.mark.parametrize(("units", "lanes", "most"), [(50, 7, 9), (31, 31, 5), (400, 40, 60)])
def test_first_free_finds_every_place_on_its_own(units, lanes, most) -> None:
    lot = np.random.default_rng([units, lanes])
    sizes = lot.integers(1, most + 1, units).tolist()
    order = FirstFree(
        sizes, lot.permutation(units).tolist(), lanes, lot.permutation(lanes).tolist()
    )

    places = [order.place(p) for p in range(sum(sizes))]

    assert sorted(places) == [(u, i) for u in range(units) for i in range(sizes[u])]


def test_first_free_of_equal_units_is_the_main_part_of_version_1() -> None:
    rows, lanes, c = 5, 84, 6
    beta = variants.spread(rows * lanes, 5)
    order = FirstFree([c] * (rows * lanes), beta.tolist(), lanes, range(lanes))

    ours = [unit * c + i for unit, i in map(order.place, range(rows * lanes * c))]

    assert ours == variants.rows_of(beta.reshape(rows, lanes), c).ravel().tolist()


def test_met_again_of_independent_epochs_is_chance() -> None:
    lots = [np.random.default_rng(seed).permutation(40_000) for seed in (1, 2)]

    # 256^2 / 2 pairs are expected: standard error 0.6 %
    assert variants.met_again(*lots, 256, 40_000) == pytest.approx(1, abs=0.03)
    assert variants.met_again(lots[0], lots[0], 200, 40_000) == pytest.approx(39_999 / 199)


def test_pairs_of_one_label() -> None:
    assert variants.same_label_pairs(np.array([1, 1, 1, 2, 3, 3, 4, 4]), 4) == 2.5


@pytest.mark.parametrize("data", worlds.DATA_SETS)
def test_data_sets_have_every_sample(data) -> None:
    assert len(worlds.labels(data, 30_000)) == 30_000
    assert sum(worlds.shard_counts(30_000)) == sum(worlds.unit_counts(30_000)) == 30_000
