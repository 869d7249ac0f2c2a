# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/*.json from the model: random worlds, drawn by a fixed seed.

    python tests/model/make_golden.py

The files are committed and change only with the order's version.

src/plan/golden_test.cc reads them. The model itself is checked against the specification's golden
values by test_order_model.py.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from order_model import (
    M64,
    G,
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
from stream_model import drain, wrap

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SEED = 20240607
Json = dict[str, Any]


def integers(rng: random.Random) -> Json:
    keys = [
        [rng.randrange(2**64), rng.randrange(2**20), rng.randint(1, 8), rng.randrange(2**40)]
        for _ in range(20)
    ]
    keys += [[M64, M64, 8, M64], [0, 0, 1, 0]]
    words = [0, 1, M64, G] + [rng.randrange(2**64) for _ in range(20)]
    tables = [(n, rng.randrange(2**64)) for n in (1, 2, 3, 7, 16, 100)]
    # mix64(0) = 0, so the t-th draw of key -t*G is 0: rejected unless the bound is a power of two.
    tables += [(n, -t * G & M64) for n, t in ((10, 1), (10, 3), (13, 5), (13, 12))]
    networks = [
        (n, rng.randrange(2**64)) for n in (65_536, 65_537, 100_003, 2**31 + 11, 2**48, 2**63)
    ]
    trees = [
        (n, rng.randrange(2**64)) for n in (1, 2, 3, 65_537, 10**6, 10**9 + 7, 2**47, 2**48 - 1)
    ]
    return {
        "mix64": [[x, mix64(x)] for x in words],
        "key": [[k, key(*k)] for k in keys],
        "shuffled": [[n, k, shuffled(n, k)] for n, k in tables],
        "permutation": [[n, k, *samples_of(rng, n, permutation(n, k))] for n, k in networks],
        "spread": [
            [n, k, *samples_of(rng, n, lambda i, n=n, k=k: spread(i, n, k))] for n, k in trees
        ],
    }


def samples_of(rng: random.Random, n: int, at: Any) -> list[list[int]]:
    indices = sorted({0, n - 1, *(rng.randrange(n) for _ in range(12))})
    return [indices, [at(i) for i in indices]]


def world(
    rng: random.Random,
    counts: list[int],
    block: int,
    lanes: int,
    shuffle: str,
    units: bool,
    positions: int,
) -> Json:
    seed, epoch = rng.randrange(2**64), rng.choice([0, 1, 2, 89, 2**40])
    order = (
        UnitOrder(counts, seed, epoch, lanes, shuffle)
        if units
        else Order(counts, seed, epoch, block, lanes, shuffle)
    )
    n = order.n
    ps = (
        list(range(n))
        if n <= positions
        else sorted({0, n - 1, *(rng.randrange(n) for _ in range(positions))})
    )
    described = {"counts": counts, "seed": seed, "epoch": epoch, "block": block, "lanes": lanes}
    described |= {"shuffle": shuffle, "units": units}
    return described | {"positions": ps, "samples": [order.at(p) for p in ps]}


def orders(rng: random.Random) -> list[Json]:
    worlds = []
    for i in range(72):
        counts = [rng.choice([0, 1, 2, 4, 9, 17]) for _ in range(rng.randint(1, 9))] + [1]
        units = i % 3 == 0
        shuffle = rng.choice(["stratified", "stratified", "block"] + ([] if units else ["global"]))
        worlds.append(
            world(rng, counts, rng.randint(1, 9), rng.randint(1, 16), shuffle, units, 100)
        )
    for shuffle in ("stratified", "block"):
        for block, lanes in ((1, 7), (9, 64), (64, 256), (300, 33), (1000, 12)):
            counts = [rng.randint(0, 2000) for _ in range(40)]
            worlds.append(world(rng, counts, block, lanes, shuffle, False, 60))
            worlds.append(world(rng, counts, block, lanes, shuffle, True, 60))
    # Equal shards (no table), shards shorter than a block, more than 65,536 blocks, and as many
    # runs in the tail.
    worlds.append(world(rng, [1251] * 40, 9, 840, "stratified", False, 60))
    worlds.append(world(rng, [7] * 3000, 16, 105, "stratified", False, 60))
    worlds.append(world(rng, [100_001, 50_002], 2, 1680, "block", False, 60))
    worlds.append(world(rng, [100_001, 50_002], 5, 1680, "global", False, 60))
    worlds.append(world(rng, [400_000], 2, 150_000, "stratified", False, 60))
    return worlds


def schedules(rng: random.Random) -> list[Json]:
    worlds = []
    for i in range(120):
        remainder = ["drop", "pad", "wrap", "short"][i % 4]
        n, world = rng.randint(1, 60), rng.randint(1, 8)
        b = world * rng.randint(1, 5)
        if remainder == "drop" and b > n:
            continue
        position = rng.choice([0, rng.randrange(n)])
        at = State(rng.choice([0, 1, 7, 2**40]), position, rng.randint(0, position))
        start, steps = at, []
        for _ in range(4):
            found = next_batch(n, b, world, remainder, at)
            if found is None:
                break
            ranks, at = found
            steps.append({"ranks": ranks, "after": [at.epoch, at.position, at.drop]})
            if at.epoch != start.epoch and remainder != "wrap":
                break
        described = {"samples": n, "batch": b, "world": world, "remainder": remainder}
        worlds.append(
            described | {"start": [start.epoch, start.position, start.drop], "steps": steps}
        )
    return worlds


def streams(rng: random.Random) -> list[Json]:
    worlds = []
    for i in range(40):
        counts = [rng.choice([0, 1, 2, 5, 9, 30]) for _ in range(rng.randint(1, 12))] + [1]
        number, slots = rng.randint(1, len(counts)), rng.choice([1, 2, 3, 8, 100])
        seed, epoch = rng.randrange(2**64), rng.choice([0, 1, 89, 2**40])
        described = {"counts": counts, "streams": number, "slots": slots, "seed": seed}
        if i % 2 == 0:
            worlds.append(
                described | {"epoch": epoch, "drain": drain(counts, number, slots, seed, epoch)}
            )
        else:
            samples, states = wrap(counts, number, slots, seed, rng.randint(1, 3 * sum(counts)))
            worlds.append(described | {"wrap": samples, "states": states})
    # One world of many slots and samples.
    worlds.append({"counts": [700] * 6, "streams": 3, "slots": 333, "seed": 5, "epoch": 1})
    worlds[-1]["drain"] = drain([700] * 6, 3, 333, 5, 1)
    return worlds


def write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
    print(path.name, len(text))


def main() -> None:
    rng = random.Random(SEED)
    GOLDEN.mkdir(exist_ok=True)
    write(GOLDEN / "integers.json", json.dumps(integers(rng)))
    files = [("orders.json", orders(rng)), ("schedules.json", schedules(rng))]
    files.append(("streams.json", streams(random.Random(SEED + 1))))
    for name, worlds in files:
        rows = [json.dumps(w, separators=(",", ":")) for w in worlds]
        write(GOLDEN / name, "[\n" + ",\n".join(rows) + "\n]")


if __name__ == "__main__":
    main()
