# SPDX-License-Identifier: Apache-2.0
"""Four ranks under torchrun with DDP over gloo: every remainder rule ends, with equal steps, and the ranks together
are given the epoch. 1,003 samples in batches of 4 x 16: 15 full batches and 43 samples."""

import collections
import json

import pytest

pytest.importorskip("torch.distributed")
from torch_jobs import COUNTS, SAMPLES, torchrun, write_samples

import headrace as hr

RANKS, ROWS = 4, 16
GLOBAL = RANKS * ROWS
ORDER = {"seed": 3, "block": 4, "lanes": 64}


def valid_ids(job, name, number):
    """The sample numbers that all ranks together were given in a pass, repeats kept."""
    return [
        i
        for report in job.reports
        for ids, valid in report[name]["passes"][number]
        for i, good in zip(ids, valid, strict=True)
        if good
    ]


def steps(job, name):
    return {tuple(len(steps) for steps in report[name]["passes"]) for report in job.reports}


def position_ids(epoch, begin, end, step=1):
    """The samples at positions begin, begin + step, ... below end of an epoch."""
    order = hr.Order(COUNTS, epoch=epoch, **ORDER)
    return [int(order.at(p)) for p in range(begin, end, step)]


def test_every_remainder_rule_ends_with_equal_steps_and_the_whole_epoch(job, samples):
    rules = ("drop", "pad", "wrap", "short")
    options = {rule: {"remainder": rule, **ORDER} for rule in rules}
    options["torch workers"] = {"remainder": "pad", "torch": True, **ORDER}
    options["workers"] = {"remainder": "pad", "num_workers": 1, **ORDER}
    done = job("ddp.py", samples, json.dumps(options), launcher=torchrun(RANKS))
    assert (done.status, len(done.reports)) == (0, RANKS), done

    left_out = SAMPLES % GLOBAL
    assert steps(done, "drop") == {(15, 15)}
    for epoch in (0, 1):
        given = valid_ids(done, "drop", epoch)
        assert sorted(given) == sorted(position_ids(epoch, left_out, SAMPLES))
        assert len(set(given)) == SAMPLES - left_out

    assert steps(done, "pad") == {(16, 16)}
    for epoch in (0, 1):
        assert sorted(valid_ids(done, "pad", epoch)) == list(range(SAMPLES))

    for report in done.reports:
        assert report["workers"] == report["pad"], "worker processes change nothing"
        assert report["torch workers"]["passes"] == report["pad"]["passes"]

    assert steps(done, "wrap") == {(16, 16)}
    both = collections.Counter(valid_ids(done, "wrap", 0) + valid_ids(done, "wrap", 1))
    more = 2 * 16 * GLOBAL - 2 * SAMPLES
    assert both == collections.Counter(2 * list(range(SAMPLES)) + position_ids(2, 0, more))

    for report in done.reports:
        assert "process group" in report["short"], "short is refused on every rank"
        assert report["pad"]["length"] == 16
        assert report["pad"]["step"] == 32
    assert len({json.dumps(report["wrap"]["state"]) for report in done.reports}) == 1


def test_control_a_rank_that_does_a_step_less_is_noticed(job, samples):
    options = {"pad": {"remainder": "pad", **ORDER}}
    done = job("ddp.py", samples, json.dumps(options), "leave", launcher=torchrun(2))
    assert done.status != 0, "the test above would end although the steps are unequal"


def test_bad_samples_change_no_rank_s_steps(job, tmp_path):
    bad = {0, 5, 6, 7, 300, 301, 302, 303, 700, 1002} | set(range(900, 920))
    data = write_samples(tmp_path / "bad", bad)
    options = {
        rule: {"remainder": rule, "on_bad_sample": "skip", **ORDER} for rule in ("drop", "pad")
    }
    done = job("ddp.py", data, json.dumps(options), launcher=torchrun(RANKS))
    assert (done.status, len(done.reports)) == (0, RANKS), done
    assert (steps(done, "drop"), steps(done, "pad")) == ({(15, 15)}, {(16, 16)})
    assert sorted(valid_ids(done, "pad", 0)) == sorted(set(range(SAMPLES)) - bad)
    kept = set(position_ids(1, SAMPLES % GLOBAL, SAMPLES))
    assert sorted(valid_ids(done, "drop", 1)) == sorted(kept - bad)


def test_a_batch_without_a_good_sample_on_one_rank_ends_the_job_with_its_cause(job, tmp_path):
    # Rank 1's rows of step 3 of epoch 0: epoch 0 begins at count 0, so position p belongs to rank p mod 4.
    begin = 3 * GLOBAL
    bad = set(position_ids(0, begin + 1, begin + GLOBAL, RANKS))
    assert len(bad) == ROWS
    data = write_samples(tmp_path / "bad", bad)
    options = {"pad": {"remainder": "pad", "on_bad_sample": "skip", **ORDER}}
    done = job("ddp.py", data, json.dumps(options), launcher=torchrun(RANKS), timeout_s=120)
    assert done.status != 0
    assert "assemble a batch of 16 rows: not one sample is good" in done.said, done
    assert done.seconds < 60, "the other ranks were ended, they did not wait for their timeout"
    assert not done.reports


@pytest.mark.parametrize("after", ["len", "print"])
def test_a_loader_that_was_asked_before_the_process_group_learns_of_it(samples, monkeypatch, after):
    with hr.open(str(samples)) as ds:
        loader = ds.loader(batch_size=ROWS, agree=lambda text: [text])
        assert len(loader) == SAMPLES // ROWS
        assert "0 of 1" in str(loader)
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "4")
        assert "1 of 4" in str(loader)
        assert len(loader) == len(list(loader)) == SAMPLES // GLOBAL
