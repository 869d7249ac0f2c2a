# SPDX-License-Identifier: Apache-2.0
"""ds.plan, `headrace plan`, and the quality that a loader measures over labels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_data import SAMPLES

import headrace as hr
from headrace.cost import S3_USD_PER_1000_GETS
from headrace.quality import BlockPairs, ClassBalance, class_numbers

LABELS = np.arange(SAMPLES) * 10 // SAMPLES  # ten classes, sorted


# --- ds.plan ------------------------------------------------------------------------------------------


def test_a_plan_is_the_arithmetic_of_the_loader(dataset):
    plan = dataset.plan(batch_size=16, world_size=2, memory="1MiB", block=4, lanes=24)
    loader = dataset.loader(
        batch_size=16, rank=0, world_size=2, memory="1MiB", block=4, lanes=24, columns=("cls",)
    )
    assert (plan.batch, plan.steps, plan.left_out) == (32, len(loader), SAMPLES % 32)
    assert (plan.block, plan.lanes) == (4, 24)
    order = dataset.order(block=4, lanes=24)
    assert plan.requests_least == order.blocks == 150
    assert plan.requests_least <= plan.requests
    # 600 samples of which 576 are delivered, each as long as the mean of all
    mean = dataset.core.sample_bytes / SAMPLES
    assert plan.bytes == int(18 * 32 * mean)
    assert plan.held == int(0.56 * 24 * 4 * mean / 2)
    assert (plan.bound[1], plan.bound[32]) == (1 + 2 * (1 - 1 / (32 / 24)) * 0.75, None)


def test_block_and_lanes_are_those_that_a_loader_chooses(dataset):
    plan = dataset.plan(batch_size=8, world_size=4, memory="64KiB")
    loader = dataset.loader(batch_size=8, rank=0, world_size=4, memory="64KiB")
    state = loader.state_dict()
    in_use = hr.Order(dataset.counts, block=state["block"], lanes=state["lanes"])
    assert (plan.block, plan.lanes) == (in_use.block, in_use.lanes)
    assert [row[0] for row in plan.more] == [128 << 10, 256 << 10]


def test_rates_and_price_are_products(dataset):
    plan = dataset.plan(batch_size=10, world_size=3, block=1, lanes=60, step_ms=50, get_price=0.4)
    assert plan.seconds == pytest.approx(20 * 0.050)  # 600 / 30 steps
    assert plan.requests_per_s == pytest.approx(plan.requests / plan.seconds)
    assert plan.bytes_per_s == pytest.approx(plan.bytes / plan.seconds)
    assert plan.usd == pytest.approx(plan.requests * 0.4 / 1000)
    assert dataset.plan(batch_size=10, gpus=3).batch == 30


def test_s3s_price_is_for_s3_only(dataset, monkeypatch):
    assert dataset.plan(batch_size=10).usd is None, "an endpoint of one's own"
    monkeypatch.setattr(type(dataset), "endpoint_url", "")
    plan = dataset.plan(batch_size=10)
    assert plan.usd == pytest.approx(plan.requests * S3_USD_PER_1000_GETS / 1000)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.0.0.1:9000")
    assert dataset.plan(batch_size=10).usd is None


def test_exact_figures_are_those_of_the_order(dataset):
    plan = dataset.plan(batch_size=6, world_size=4, block=4, lanes=24, labels=LABELS, seed=3)
    order = dataset.order(seed=3, block=4, lanes=24)
    assert plan.exact == order.design_effect(LABELS, batch=24)
    assert plan.ranks_looked_at == 4
    ids = np.array(list(order))
    by_rank = []
    for rank in range(4):
        counts = [
            np.bincount(LABELS[ids[rank::4][i : i + 6]], minlength=10) for i in range(0, 150, 6)
        ]
        expected = 6 / 10
        chi = [((n - expected) ** 2 / expected).sum() for n in counts]
        by_rank.append(np.mean(chi) / (9 * (SAMPLES - 6) / (SAMPLES - 1)))
    assert plan.exact_ranks[1] == pytest.approx(np.mean(by_rank))
    assert dataset.plan(batch_size=24, block=4, lanes=24, labels="cls", seed=3).exact == plan.exact
    assert dataset.plan(batch_size=24, labels=[str(k) for k in LABELS]).exact is not None


def test_a_plan_without_labels_reads_nothing_but_the_index(dataset, server):
    before = server.stats()["requests"]
    dataset.plan(batch_size=16, memory="1MiB", labels=LABELS)
    assert server.stats()["requests"] - before <= 1  # its own


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size=0"), ({"batch_size": 8, "step_ms": -1}, "step_ms=-1"),
        ({"batch_size": 8, "memory": "x"}, "memory"), ({"batch_size": 8, "labels": [1, 2]}, "labels"),
        ({"batch_size": 8, "labels": np.zeros(SAMPLES)}, "float64"), ({"batch_size": 8, "shuffle": "x"}, "shuffle"),
    ],
)  # fmt: skip
def test_faults_of_a_plan_are_named(dataset, options, said):
    with pytest.raises(hr.OptionError, match=said):
        dataset.plan(**options)


def test_the_verb_says_the_same(dataset, url, server, tmp_path, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    np.save(tmp_path / "labels.npy", LABELS)
    tree = Path(__file__).resolve().parents[2] / "python"
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(tree)])
    words = ["plan", url, "--batch", "6", "--world", "4", "--memory", "1MiB", "--step-ms", "20"]
    run = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": path}}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "headrace",
            *words,
            "--labels",
            str(tmp_path / "labels.npy"),
            "--json",
        ],
        **run,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    want = dataset.plan(batch_size=6, world_size=4, memory="1MiB", step_ms=20, labels=LABELS)
    assert found == json.loads(json.dumps(want.to_dict()))
    assert set(found["exact"]) == {"d1", "d4", "d32"}
    done = subprocess.run([sys.executable, "-m", "headrace", *words], **run)
    assert done.stdout.strip() == str(
        dataset.plan(batch_size=6, world_size=4, memory="1MiB", step_ms=20)
    )
    for part in (
        "25 steps",
        "GET/s",
        "pairs from one block",
        "true shuffle",
        "1.0 MiB a rank (stated)",
    ):
        assert part in done.stdout


# --- measured while it streams ----------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, "block", "global"])
def test_what_a_loader_measures_is_what_the_order_promises(dataset, shuffle):
    options = {"block": 4, "lanes": 24, "seed": 3, "shuffle": shuffle}
    loader = dataset.loader(batch_size=24, labels=LABELS, columns=("cls",), **options)
    for _ in loader:
        pass
    order = dataset.order(**options)
    stats, want = loader.stats(), order.design_effect(LABELS, batch=24)
    assert (stats["d1"], stats["d4"]) == (pytest.approx(want[1]), pytest.approx(want[4]))
    assert stats["d32"] is None
    assert "measured D(1)" in str(stats)
    blocks = BlockPairs(dataset.counts, order.block).block_of(np.array(list(order)))
    pairs = [
        sum(n * (n - 1) // 2 for n in np.bincount(blocks[i : i + 24]))
        for i in range(0, SAMPLES, 24)
    ]
    assert stats["block_pairs"] == pytest.approx(np.mean(pairs))


def test_a_figure_needs_two_windows(dataset):
    loader = dataset.loader(batch_size=20, labels=LABELS, columns=("cls",))
    for number, _ in enumerate(loader, 1):
        stats = loader.stats()
        assert (stats["d1"] is None, stats["d4"] is None) == (number < 2, number < 8)
        if number == 9:
            break
    plain = dataset.loader(batch_size=20, columns=("cls",))
    next(iter(plain))
    assert [plain.stats()[name] for name in ("d1", "d4", "d32", "block_pairs")] == [None] * 4


def test_each_rank_measures_its_own_rows_and_a_subset_its_own_classes(dataset):
    part = dataset.where(LABELS >= 5)
    loader = part.loader(
        batch_size=5,
        rank=1,
        world_size=3,
        labels=LABELS[LABELS >= 5],
        shuffle="global",
        columns=("cls",),
    )
    meter = ClassBalance(np.where(LABELS >= 5, LABELS, -1))
    for batch in part.loader(batch_size=5, rank=1, world_size=3, shuffle="global"):
        meter.add(batch.ids[batch.valid], batch.epoch)
    for _ in loader:
        pass
    assert loader.stats()["d1"] == pytest.approx(meter.effects()[1])
    assert 0.5 < loader.stats()["d1"] < 2


def test_labels_that_do_not_fit_are_named(dataset):
    with pytest.raises(hr.OptionError, match=r"labels=: labels of shape \(3,\) for 600 samples"):
        dataset.loader(batch_size=8, labels=[1, 2, 3])
    with pytest.raises(hr.OptionError, match="drawn by weight"):
        dataset.loader(batch_size=8, labels=LABELS, weights=np.ones(SAMPLES))
    with pytest.raises(hr.OptionError, match="mixture"):
        hr.mix({"a": dataset}).loader(batch_size=8, labels=LABELS)


def test_classes_are_numbered_in_sorted_order():
    assert class_numbers(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    assert class_numbers([10**12, 5, 10**12], 3).tolist() == [1, 0, 1]
    assert class_numbers([-1, 3, 3], 3).tolist() == [0, 1, 1]
    assert class_numbers(np.array([True, False]), 2).tolist() == [1, 0]


def test_blocks_are_numbered_as_the_order_numbers_them():
    """docs/ordering.md, worked example: counts 10 7 0 12 3, block 4."""
    blocks = BlockPairs(np.array([10, 7, 0, 12, 3]), 4).block_of(np.arange(32))
    full = (
        [0] * 4
        + [1] * 4
        + [6] * 2
        + [2] * 4
        + [6] * 2
        + [7]
        + [3] * 4
        + [4] * 4
        + [5] * 4
        + [7] * 3
    )
    assert blocks.tolist() == full
