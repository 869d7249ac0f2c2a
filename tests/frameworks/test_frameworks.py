# SPDX-License-Identifier: Apache-2.0
"""Lightning, Accelerate and torch.distributed.checkpoint with ordinary code: equal steps, the whole epoch over the ranks,
exact resume, also on another number of ranks. 1,003 samples in global batches of 64: 15 steps an epoch, 43 left out."""

import collections
import json
from itertools import chain

import pytest

pytest.importorskip("torch.distributed")
from torch_jobs import COUNTS, SAMPLES, torchrun

import headrace as hr

GLOBAL, STEPS = 64, 15
ORDER = {"seed": 3, "block": 4, "lanes": 64}


def planned(epochs):
    """The samples of every global batch, from the public order."""
    batches = []
    for epoch in range(epochs):
        order = hr.Order(COUNTS, epoch=epoch, **ORDER)
        ids = [int(order.at(p)) for p in range(SAMPLES % GLOBAL, SAMPLES)]
        batches += [sorted(ids[i : i + GLOBAL]) for i in range(0, len(ids), GLOBAL)]
    return batches


def given(reports):
    """The samples of every global batch, from what each rank saw."""
    steps = {len(seen) for seen in reports}
    assert len(steps) == 1, f"ranks did different numbers of steps: {steps}"
    return [sorted(chain(*batches)) for batches in zip(*reports, strict=True)]


def lightning_batches(job, kind, part):
    return given([[ids for _, ids in report[kind][part]["seen"]] for report in job.reports])


def test_lightning_trains_whole_epochs_and_goes_on_exactly(job, samples, tmp_path):
    pytest.importorskip("lightning")
    pytest.importorskip("torchdata")
    kinds = ("torch", "stateful", "loader")
    done = job("lightning_fit.py", samples, 2, ",".join(kinds), timeout_s=400)
    assert (done.status, len(done.reports)) == (0, 2), done
    want = planned(3)
    for kind in kinds:
        assert lightning_batches(done, kind, "whole") == want[: 2 * STEPS], kind
        for part, step in (("middle", 20), ("end", 30)) if kind != "torch" else ():
            # StatefulDataLoader with workers: behind an epoch's last batch comes an empty pass.
            empty = STEPS if (kind, part) == ("stateful", "end") else 0
            assert lightning_batches(done, kind, part) == want[step + empty :], (kind, part)
            if empty:
                continue
            assert {report[kind][part]["steps"] for report in done.reports} == {3 * STEPS}
    for part, epochs in (("whole", (0, 1)), ("middle", (1, 2))):
        for epoch in epochs:
            validated = [
                i
                for report in done.reports
                for e, ids in report["loader"][part]["validated"]
                for i in ids
                if e == epoch
            ]
            assert sorted(validated) == list(range(SAMPLES)), "each sample is validated once"
    # The checkpoint of two processes goes on with one.
    alone = job("lightning_fit.py", samples, 1, "loader", tmp_path / "run-0")
    assert alone.status == 0, alone
    assert lightning_batches(alone, "loader", "middle") == want[20:]
    assert lightning_batches(alone, "loader", "end") == want[30:]


def test_accelerate_trains_whole_epochs_and_goes_on_exactly(job, samples):
    pytest.importorskip("accelerate")
    done = job("accelerate_fit.py", samples, launcher=torchrun(2))
    assert (done.status, len(done.reports)) == (0, 2), done
    want = planned(2)
    for part, step in (("whole", 0), ("middle", 20)):
        batches = given([[ids for _, ids in report[part]["seen"]] for report in done.reports])
        assert batches == want[step:], part
    for rule in ("pad", "wrap"):
        batches = given([[ids for _, ids in report[rule]["seen"]] for report in done.reports])
        assert len(batches) == 2 * (STEPS + 1)
        counts = collections.Counter(chain(*batches))
        assert (set(counts), min(counts.values())) == (set(range(SAMPLES)), 2), rule
        assert sum(counts.values()) == (2 * SAMPLES if rule == "pad" else 32 * GLOBAL)
    for report in done.reports:
        assert report["whole"]["length"] == STEPS
        assert report["whole"]["gathered"] == want[-1]
        assert report["pad"]["length"] == report["wrap"]["length"] == STEPS + 1
        assert all("Accelerate prepared" in text for text in report["refused"]), report["refused"]


def test_distributed_checkpoint_saved_on_four_ranks_goes_on_with_two_and_one(
    job, samples, tmp_path
):
    want, at, load = planned(3), 0, "-"
    for ranks, steps in ((4, 20), (2, 10), (1, 7)):
        save = tmp_path / f"checkpoint-{ranks}"
        done = job("checkpoint.py", samples, steps, load, save, launcher=torchrun(ranks))
        assert (done.status, len(done.reports)) == (0, ranks), done
        assert given([report["seen"] for report in done.reports]) == want[at : at + steps], ranks
        assert len({json.dumps(report["state"]) for report in done.reports}) == 1
        at, load = at + steps, save
