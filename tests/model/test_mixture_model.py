# SPDX-License-Identifier: Apache-2.0
"""The models of mixtures and of sampling against the golden values of docs/ordering.md."""

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import mixture_model as mm
import sampling_model as sm

DOC = (Path(__file__).resolve().parents[2] / "docs" / "ordering.md").read_text(encoding="utf-8")


def ints_after(text: str) -> list[int]:
    """The numbers that follow `text` on the page, up to the first word."""
    numbers = []
    for word in DOC.partition(text)[2].split():
        digits = word.rstrip(",.;")
        if not digits.isdigit():
            break
        numbers.append(int(digits))
        if digits != word:
            break
    return numbers


def test_the_page_says_what_the_model_says_of_mixtures():
    weights = mm.integer_weights([0.5, 0.3, 0.15, 0.04, 0.01])
    assert ints_after("weights 0.5 0.3 0.15 0.04 0.01: w = ") == weights
    assert sum(weights) == 2**32
    assert ints_after("sources of units 0..19 = ") == mm.sources_of(weights, 0, 20)
    source_id = int.from_bytes(hashlib.sha256(b"web").digest()[:8], "little")
    assert ints_after('seed of "web" under seed 7 = ') == [mm.source_seed(7, source_id)]


def test_the_page_says_what_the_model_says_of_folds_and_draws():
    assert ints_after("seed 7, K = 10, parts of 0..19: ") == [
        sm.fold_of(i, 7, 10) for i in range(20)
    ]
    integers = sm.integer_weights([1, 0, 3, 0.5])
    assert ints_after("seed 7, epoch 1: W = ") == integers
    assert ints_after("samples at 0..15 = ") == [sm.draw(integers, 7, 1, p) for p in range(16)]


def test_a_batch_on_paper():
    """Two equal sources of 10 and 3 samples, units of 1, batches of 4: units 0 1 0 1."""
    mix = mm.Mixture(
        [mm.Source(10, "repeat"), mm.Source(3, "repeat")], 3, 1, 4, 13, {0: [2**31, 2**31]}
    )
    rows, after = mm.next_batch(mix, mm.first_point(mix))
    assert sorted(rows) == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]
    rows, after = mm.next_batch(mix, after)
    assert sorted(rows) == [(0, 0, 2), (0, 0, 3), (1, 0, 2), (1, 1, 0)]
    assert after == mm.Point(0, 8, 8, 2, [(0, 4), (1, 1)], [2**31, 2**31])
    _, after = mm.next_batch(mix, after)
    assert (after.epoch, after.position, after.steps) == (1, 0, 3)


def test_a_stopped_and_an_ended_source_on_paper():
    half = {0: [2**31, 2**31]}
    stop = mm.Mixture([mm.Source(10, "repeat"), mm.Source(4, "stop")], 3, 1, 4, 100, half)
    point = mm.first_point(stop)
    for _ in range(2):
        _, point = mm.next_batch(stop, point)
    assert point.sources[1] == (1, 0)  # used up; its weight falls before the next batch
    assert point.weights == [2**31, 2**31]
    rows, point = mm.next_batch(stop, point)
    assert {source for source, _, _ in rows} == {0}
    assert (point.weights, point.units) == ([2**31, 0], 4)

    end = mm.Mixture([mm.Source(10, "repeat"), mm.Source(5, "end")], 3, 1, 4, 100, half)
    point = mm.first_point(end)
    for _ in range(2):
        _, point = mm.next_batch(end, point)
    assert mm.next_batch(end, point) is None
    rows, point = mm.next_batch(end, mm.begin_epoch(point))
    assert [row for row in sorted(rows) if row[0] == 1] == [(1, 1, 0), (1, 1, 1)]
    assert (point.epoch, point.position) == (1, 4)
