# SPDX-License-Identifier: Apache-2.0
"""The model against the golden values of docs/ordering.md."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from order_model import (
    Order,
    State,
    UnitOrder,
    key,
    mix64,
    next_batch,
    permutation,
    shuffled,
    spread,
)


def ints(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def test_mixing_and_keys_have_the_published_values():
    assert mix64(1) == 0x5692161D100B05E5
    assert key(0, 0, 1, 0) == 0x62A4ED4055D278DB
    assert key(1, 2, 3, 4) == 0x336C3255CBCC01FE
    assert key(7, 0, 8, 0) == key(7 + 2**64, 0, 8, 0)


def test_shuffled_has_the_published_values():
    assert shuffled(10, key(0, 0, 1, 0)) == ints("3 5 4 1 6 0 2 8 7 9")
    assert shuffled(8, key(0, 0, 3, 0)) == ints("0 5 6 3 1 4 7 2")


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (10**6, "682123 500581 211069 542598 342922 911579 338175 323165"),
        (2**33, "8268966505 1809164644 1166340330 3119861463"),
        (65536, "10689 40008 59335 52990"),
        (65537, "3968 58403 36849 21657"),
        (2**34, "13890634808 9064804857 12926976690 16610448004"),
    ],
)
def test_permutation_has_the_published_values(n, expected):
    at = permutation(n, key(7, 3, 1, 0))
    want = ints(expected)
    assert [at(i) for i in range(len(want))] == want


def test_spread_has_the_published_values():
    assert [spread(i, 13, key(0, 0, 1, 0)) for i in range(13)] == ints(
        "5 7 1 12 0 6 11 4 10 3 2 9 8"
    )
    k = key(7, 3, 1, 0)
    assert [spread(i, 10**6, k) for i in range(8)] == ints(
        "264456 542543 139528 917139 107208 657509 454635 763845"
    )
    assert [spread(i, 10**6, k) for i in (999_998, 999_999)] == [332_353, 650_792]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 31, 64, 100, 1023])
def test_spread_is_a_permutation(n):
    assert sorted(spread(i, n, 77) for i in range(n)) == list(range(n))


def test_orders_have_the_published_values():
    counts = [10, 7, 0, 12, 3]
    assert Order(counts, 5, 1, 4, 6).all() == ints(
        "19 14 2 22 10 27 18 8 3 21 11 26 17 15 0 24 12 25 20 9 1 23 13 28 6 4 16 30 7 5 29 31"
    )
    assert Order(counts, 5, 1, 4, 6, "block").all() == ints(
        "31 12 22 1 27 5 30 13 24 2 26 7 16 11 21 3 25 6 29 10 23 0 28 4 8 14 20 18 9 15 19 17"
    )
    assert Order([5, 9, 14, 3, 20, 11], 11, 2, 3, 5).all() == ints(
        "13 58 56 44 21 11 59 34 33 20 12 57 36 32 19 3 47 35 31 18 4 48 6 1 17 26 46 5 0 42 53 23 "
        "7 2 41 52 25 16 27 40 51 24 14 50 28 37 9 15 49 29 38 10 54 45 30 39 8 55 43 22 61 60"
    )


def test_a_large_order_has_the_published_values():
    order = Order([1251] * 1024, 0, 0, 9, 1536)
    assert [order.at(p) for p in range(8)] == ints(
        "544216 840652 213059 1150072 100823 674654 970301 340653"
    )
    assert [order.at(p) for p in range(1_000_000, 1_000_004)] == ints(
        "446165 838719 154999 1067770"
    )


def test_unit_order_has_the_published_values():
    assert UnitOrder([4, 9, 1, 6, 12, 3, 7], 5, 1, 3).all() == ints(
        "6 14 33 9 38 32 11 39 21 7 36 31 4 41 25 8 35 30 12 40 26 5 37 29 10 13 24 16 0 27 17 3 22 15 "
        "1 23 19 2 20 18 34 28"
    )


def test_every_order_delivers_every_sample_once():
    rng = random.Random(1)
    for _ in range(300):
        counts = [rng.choice([0, 1, 2, 5, 11, 30]) for _ in range(rng.randint(1, 8))]
        if sum(counts) == 0:
            continue
        seed, epoch, block, lanes = (
            rng.randrange(2**64),
            rng.randrange(5),
            rng.randint(1, 12),
            rng.randint(1, 20),
        )
        for shuffle in ("stratified", "block", "global", "none"):
            order = Order(counts, seed, epoch, block, lanes, shuffle)
            assert sorted(order.all()) == list(range(order.n))
        for shuffle in ("stratified", "block", "none"):
            units = UnitOrder(counts, seed, epoch, lanes, shuffle)
            assert sorted(units.all()) == list(range(units.n))


def test_the_mixture_seed_of_web_under_seed_7_is_the_published_one():
    import hashlib

    source_id = int.from_bytes(hashlib.sha256(b"web").digest()[:8], "little")
    assert key(7, 0, 8, source_id) == 12878351002465490008


def test_batches_leave_out_pad_wrap_and_shorten_as_specified():
    """On paper, 5 samples, 2 ranks of 2 rows, epoch 1: running counts 5..9."""
    assert next_batch(5, 4, 2, "drop", State(1, 0, 0)) == (
        [[(1, 1, True), (1, 3, True)], [(1, 2, True), (1, 4, True)]],
        State(2, 1, 1),
    )
    last = State(1, 4, 0)
    assert next_batch(5, 4, 2, "drop", last) is None
    assert next_batch(5, 4, 2, "pad", last) == (
        [[(1, 1, False), (1, 3, False)], [(1, 4, True), (1, 0, False)]],
        State(2, 0, 0),
    )
    assert next_batch(5, 4, 2, "wrap", last) == (
        [[(2, 0, True), (2, 2, True)], [(1, 4, True), (2, 1, True)]],
        State(2, 3, 0),
    )
    assert next_batch(5, 4, 2, "short", last) == ([[], [(1, 4, True)]], State(2, 0, 0))


DOC = (Path(__file__).resolve().parents[2] / "docs" / "ordering.md").read_text(encoding="utf-8")


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the first table under a line of docs/ordering.md, without its two head rows."""
    lines = DOC[DOC.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return table[2:]


def test_the_page_says_what_the_model_says_of_integers():
    rows = rows_under("Golden values (where a list is given")
    assert len(rows) == 11
    names = {"mix64": mix64, "key": key, "shuffled": shuffled}
    for expression, value in rows:
        first = value.partition(";")[0]
        if expression.startswith(("permutation", "spread")):
            n, k = expression.partition("(")[2].removeprefix("·, ").split(", ", 1)
            n, k = eval(n.replace("^", "**")), eval(k[:-1], names)
            want = ints(first)
            at = permutation(n, k) if expression[0] == "p" else lambda i, n=n, k=k: spread(i, n, k)
            assert [at(i) for i in range(len(want))] == want
        else:
            found = eval(expression, names)
            assert found == (ints(first) if isinstance(found, list) else int(value, 16))


def test_the_page_says_what_the_model_says_of_orders():
    rows = rows_under("Golden orders:")
    assert len(rows) == 4
    first, block, second, large = rows
    assert ints(first[2]) == Order([10, 7, 0, 12, 3], 5, 1, 4, 6).all()
    assert ints(block[2]) == Order([10, 7, 0, 12, 3], 5, 1, 4, 6, "block").all()
    assert ints(second[2]) == Order([5, 9, 14, 3, 20, 11], 11, 2, 3, 5).all()
    assert large[2].startswith("at(0..7) = 544216 840652 ")
    units = DOC.partition("seed 5, epoch 1, lanes 3: ")[2].partition(".")[0]
    assert ints(units) == UnitOrder([4, 9, 1, 6, 12, 3, 7], 5, 1, 3).all()
