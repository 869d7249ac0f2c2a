# SPDX-License-Identifier: Apache-2.0
"""A part of the fault grid (the cases marked quick) in every test run; `make faults` runs it all.

One test a class of faults and path, so that a failure says which; the cells of all run first, on a few lanes at once.
"""

from __future__ import annotations

import functools

import pytest
from fault_case import PATIENCE, Case, get
from fault_grid import PATHS, Result, judge
from fault_run import CASES, cells, run_cells

JOBS = 4
QUICK = [cell for cell in cells() if cell[0].quick and (cell[2] == "loader" or cell[1] == "tar")]
CLASSES = sorted({case.id for case, _, _ in QUICK})


@functools.cache
def grid() -> list[Result]:
    return run_cells(QUICK, JOBS, lambda result: None)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", CLASSES)
def test_every_fault_of_the_class_is_healed_or_one_clear_error(fault, path):
    results = [result for result in grid() if result.id == fault and result.path == path]
    broken = [f"{r.name} [{r.format}]: {failure}" for r in results for failure in r.failures]
    assert not broken, "\n".join(broken)
    assert results or path == "cli"  # of MDS only the loader's cells run here


def test_every_cell_ran():
    assert len(grid()) == len(QUICK)


OUTCOME = {"ended": "exact", "seconds": 1.0, "text": "", "spoken": "", "differences": "", "clear": True}


@pytest.mark.parametrize(
    ("case", "outcome", "breach"),
    [
        (Case("N5", "x"), {"differences": "sample 3: wrong bytes in bin"}, "C1-C3"),
        (Case("N5", "x"), {"ended": "hang"}, "C4"),
        (Case("N5", "x", deadline=0.5), {}, "C4"),
        (Case("N5", "x"), {"left": "threads ['hr-loop']"}, "C5"),
        (Case("N5", "x"), {"memory_used": 4096}, "C5"),
        (Case("N5", "x"), {"resident_growth": 40 << 20}, "C5: 40 MiB more resident"),
        (Case("N5", "x"), {"spoken": "key headrace-secret"}, "a secret was shown"),
        (Case("N5", "x"), {"spoken": "Authorization: AWS4-HMAC-SHA256"}, "a secret was shown"),
        (Case("N5", "x"), {"ended": "error", "text": "read train-000002.tar: gone"}, "where it heals"),
        (Case("N5", "x", ends="fails"), {}, "where it fails"),
        (Case("N5", "x", ends="fails", words=("reset",)), {"ended": "error", "text": "train-000002.tar"}, "does not say"),
        (Case("N5", "x", ends="fails"), {"ended": "error", "text": "oh no"}, "does not name"),
        (Case("N5", "x", ends="fails"), {"ended": "error", "text": "train-000002.tar", "clear": False}, "clear error"),
        (Case("N7", "x", interrupt_after=1), {"interrupted": True, "interrupt_s": 60.0}, "C7"),
        (Case("N7", "x", interrupt_after=1), {"interrupted": False}, "C7"),
    ],
)
def test_the_judge_sees_each_breach(case, outcome, breach):
    assert any(breach in failure for failure in judge(case, {**OUTCOME, **outcome}))


def test_the_judge_passes_what_keeps_the_promises():
    assert judge(Case("N5", "x"), OUTCOME) == []
    error = {"ended": "error", "text": "read s3://data/tar/train-000002.tar: connection reset"}
    assert judge(Case("N5", "x", ends="fails", words=("reset",)), {**OUTCOME, **error}) == []
    assert judge(Case("N7", "x", interrupt_after=1), {**OUTCOME, "interrupted": True, "interrupt_s": 0.1}) == []


def test_cases_are_told_apart_by_their_titles():
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles)
    assert get("reset")["key"] == "$shards"
    assert PATIENCE["read_timeout"] <= 1  # or stalls make the suite slow
