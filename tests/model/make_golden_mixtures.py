# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/{mixtures,units,draws,folds}.json from the models, as make_golden.py does.

python tests/model/make_golden_mixtures.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import mixture_model as mm
import sampling_model as sm

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SEED = 20261123
Json = dict[str, Any]


def random_weights(rng: random.Random, sources: int) -> list[int]:
    shape = rng.choice(["equal", "any", "steep", "ties", "zeros"])
    if shape == "equal":
        weights = [1.0] * sources
    elif shape == "steep":
        weights = [2.0 ** -min(i, 31) for i in range(sources)]
    elif shape == "ties":
        weights = [float(rng.choice([1, 1, 2, 3])) for _ in range(sources)]
    else:
        weights = [rng.uniform(0.01, 1) ** 3 + 1e-6 for _ in range(sources)]
    if shape == "zeros":
        weights = [w if rng.random() < 0.7 else 0.0 for w in weights]
        weights[rng.randrange(sources)] = 1.0
    return mm.integer_weights(weights)


def units(rng: random.Random) -> list[Json]:
    """Weights, counts at large prefixes, the sources of a few units there."""
    worlds = []
    for sources in [1, 2, 3, 5, 5, 8, 13, 20, 40, 64, 64, 200]:
        weights = random_weights(rng, sources)
        at = [0, 1, 1000, 2**32, 2**48 - 12, rng.randrange(2**40)]
        worlds.append(
            {
                "weights": weights,
                "at": at,
                "counts": [mm.counts(weights, u) for u in at],
                "sources": [mm.sources_of(weights, u, u + 12) for u in at],
            }
        )
    given = [
        [0.5, 0.3, 0.15, 0.04, 0.01],
        [1, 1, 1],
        [3, 0, 5],
        [1e-300, 1e-300],
        [7.0],
        [0.1] * 10,
    ]
    given += [[rng.random() for _ in range(n)] for n in (2, 3, 7, 30)]
    given += [[1.0, 2.0**-32 * 1.01], [2.0**500, 2.0**499]]
    return [*worlds, {"given": [[w, mm.integer_weights(w)] for w in given]}]


def point_json(point: mm.Point) -> list[Any]:
    return [point.epoch, point.position, point.units, point.steps, point.sources, point.weights]


def mixture(rng: random.Random) -> Json:
    sources = rng.choice([1, 2, 3, 4, 6])
    g = rng.choice([1, 2, 3, 4])
    b = g * rng.randint(1, 8)
    ends = [rng.choice(["repeat", "repeat", "stop", "end"]) for _ in range(sources)]
    least = {"repeat": 1, "stop": b, "end": b}
    kinds = [mm.Source(least[e] + rng.randint(0, 4 * b), e) for e in ends]
    total = sum(s.samples for s in kinds)
    epoch_samples = max(b, rng.choice([total, 3 * b + rng.randrange(b), 20 * b]))
    steps = {0, *(rng.randint(1, 20) for _ in range(rng.randint(0, 3)))}
    changes = {step: random_weights(rng, sources) for step in sorted(steps)}
    mix = mm.Mixture(kinds, rng.randrange(2**64), g, b, epoch_samples, changes)
    point = mm.first_point(mix)
    if rng.random() < 0.3:  # far along; the changes lie behind
        at = [
            (0 if s.at_end == "stop" else rng.randrange(9), rng.randrange(s.samples)) for s in kinds
        ]
        point = mm.Point(
            rng.randrange(9), b * rng.randrange(epoch_samples // b), rng.randrange(2**47), 10**6,
            at, random_weights(rng, sources),
        )  # fmt: skip
        if mm.before_batch(mix, point) is None:  # as who loads such a state does
            point = mm.begin_epoch(point)
    start, batches, over = point, [], False
    while len(batches) < 18 and not over:
        found = mm.next_batch(mix, point)
        if found is None:
            point = mm.begin_epoch(point)
            over = mm.before_batch(mix, point) is None
            batches.append(None)  # no batch is left in the epoch
            continue
        rows, point = found
        flat = [number for row in rows for number in row]
        batches.append({"rows": flat, "after": point_json(point)})
    return {
        "sources": [[s.samples, s.at_end] for s in kinds],
        "seed": mix.seed, "group": g, "batch": b, "epoch_samples": epoch_samples,
        "changes": [[step, w] for step, w in changes.items()],
        "start": point_json(start), "batches": batches, "over": over,
    }  # fmt: skip


def draws(rng: random.Random) -> list[Json]:
    worlds = []
    for n in [1, 2, 3, 10, 255, 256, 257, 600]:
        for shape in ("any", "runs", "steep"):
            if shape == "any":
                weights = [rng.choice([0.0, 1.0, 0.5, rng.random()]) for _ in range(n)]
            elif shape == "runs":
                classes = [float(rng.choice([0, 1, 3])) for _ in range(5)]
                weights = [classes[5 * i // n] for i in range(n)]
            else:
                weights = [2.0 ** -rng.randint(0, 100) for _ in range(n)]
            weights[rng.randrange(n)] = 2.0 ** rng.randint(-20, 20)
            worlds.append(draw_world(rng, [as_float32(w) for w in weights]))
    return worlds


def as_float32(value: float) -> float:
    """As a column holds it."""
    cell = memoryview(bytearray(4)).cast("f")
    cell[0] = value
    return float(cell[0])


def draw_world(rng: random.Random, weights: list[float]) -> Json:
    integers = sm.integer_weights(weights)
    seed = rng.randrange(2**64)
    at = [(rng.choice([0, 1, 2**40]), rng.choice([0, 1, rng.randrange(2**48)])) for _ in range(12)]
    return {
        "weights": weights,
        "integers": integers,
        "seed": seed,
        "at": at,
        "samples": [sm.draw(integers, seed, e, p) for e, p in at],
    }


def folds(rng: random.Random) -> list[Json]:
    worlds = []
    for of in (1, 2, 3, 10, 100, 10**9, 2**63):
        seed = rng.choice([0, rng.randrange(2**64)])
        ids = [0, 1, 2**64 - 1, *(rng.randrange(2**48) for _ in range(12))]
        found = [sm.fold_of(i, seed, of) for i in ids]
        worlds.append({"seed": seed, "of": of, "ids": ids, "folds": found})
    return worlds


def main() -> None:
    rng = random.Random(SEED)
    tables = {
        "units.json": units(rng),
        "mixtures.json": [mixture(rng) for _ in range(48)],
        "draws.json": draws(rng),
        "folds.json": folds(rng),
    }
    for name, worlds in tables.items():
        rows = [json.dumps(w, separators=(",", ":")) for w in worlds]
        text = "[\n" + ",\n".join(rows) + "\n]\n"
        (GOLDEN / name).write_text(text, encoding="utf-8")
        print(name, len(text))


if __name__ == "__main__":
    main()
