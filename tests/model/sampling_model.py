# SPDX-License-Identifier: Apache-2.0
"""Weighted sampling and folds as docs/ordering.md says them, in exact rational numbers.

The C++ ones (src/plan/weighted_draws, src/plan/selection) are compared with this over random worlds
(tests/golden/draws.json, folds.json). It was written from the page, not from the C++ code.
"""

from __future__ import annotations

import math
from fractions import Fraction

from order_model import M64, TAG_SAMPLER, G, bounded, key, mix64, stream


def integer_weights(weights: list[float]) -> list[int]:
    n, largest = len(weights), Fraction(max(weights))
    exponent = 0  # 2^(exponent - 1) <= largest < 2^exponent
    while Fraction(2) ** exponent <= largest:
        exponent += 1
    while Fraction(2) ** (exponent - 1) > largest:
        exponent -= 1
    k = 62 - exponent - n.bit_length()
    rough = sum(math.floor(Fraction(w) * Fraction(2) ** k) for w in weights)
    t = k + 62 - (rough + n).bit_length()
    return [0 if w == 0 else max(1, math.floor(Fraction(w) * Fraction(2) ** t)) for w in weights]


def draw(integers: list[int], seed: int, epoch: int, position: int) -> int:
    r = bounded(stream(key(seed, epoch, TAG_SAMPLER, position)), sum(integers))
    for sample, weight in enumerate(integers):
        if r < weight:
            return sample
        r -= weight
    raise AssertionError("beyond the sum")


def fold_of(number: int, seed: int, of: int) -> int:
    kappa = key(seed, M64, TAG_SAMPLER, 0)
    return mix64(kappa + (number + 1) * G) * of >> 64
