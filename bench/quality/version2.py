# SPDX-License-Identifier: Apache-2.0
"""What would beat version 1 of the order? One experiment a question, for
docs/decisions/002-order-version-2.md.

    .venv/bin/python bench/quality/version2.py [tail rows grid again video ...] [--out FILE]

Simulated orders come from variants.py, those of version 1 from hr.Order where it says "version 1".
Figures are medians over the seeds. About ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import design
import held
import numpy as np
import variants
import worlds

import headrace as hr

BATCH = worlds.BATCH
WINDOWS = worlds.WINDOWS
Row = dict[str, Any]


def effects(ids: np.ndarray, labels: np.ndarray, windows=WINDOWS) -> list[float]:
    classes = np.bincount(labels)
    found = [design.design_effect(labels[ids], classes, m * BATCH) for m in windows]
    return [np.nan if value is None else value for value in found]


def middle(rows: list[list[float]]) -> list[float | None]:
    medians = np.median(np.array(rows, float), axis=0)
    return [None if np.isnan(x) else float(f"{x:.4g}") for x in medians]


def tail(seeds: int) -> list[Row]:
    """D(1) inside the tail, what it holds and reads, by the number of blocks that are left over."""
    found = []
    for c, lanes in ((2, 5040), (9, 1680)):
        for left in (60, 300, 840, 1500, lanes - 1):
            samples = (12 * lanes + left) * c
            labels = worlds.labels("class-sorted", samples)
            classes = np.bincount(labels)
            for how in ("permuted runs", "spread runs", "whole blocks", "840ths", "last row"):
                several, most = [], 0
                for seed in range(seeds):
                    ids, length = variants.order(samples, c, lanes, seed, tail=how)
                    last = ids[len(ids) - length :]
                    if length >= 2 * BATCH:
                        inside = design.design_effect(labels[last], classes, BATCH)
                        several.append([inside, effects(ids, labels, (1,))[0]])
                    most = max(most, tail_held(last, c, left, how))
                runs = variants.tail_runs(left, c, lanes, how)
                cuts = {"whole blocks": 0, "last row": left}.get(how, runs - 1)
                found.append(
                    {"c": c, "L": lanes, "blocks left": left, "tail": how, "ranges": left + cuts}
                    | {"samples": left * c, "held of L c": round(most / (lanes * c), 3)}
                    | {"D(1) tail, all": middle(several) if several else None}
                )
    return found


def tail_held(last: np.ndarray, c: int, left: int, how: str) -> int:
    """Most samples that the tail holds; a last row's lanes read their block in two parts."""
    unit = last // c
    if how == "last row":
        turn, lane = np.divmod(np.arange(len(last)), left)
        unit = unit * 2 + (turn >= lane * c // left)
    number = np.unique(unit, return_inverse=True)[1]
    return held.peak_by_sample(np.arange(len(last)), number)


def rank_effects(ids: np.ndarray, labels: np.ndarray, ranks: int) -> list[float]:
    """D(1) and D(32) of one rank's own rows, mean over the ranks."""
    classes = np.bincount(labels)
    own = [
        [design.design_effect(labels[ids[r::ranks]], classes, m * BATCH // ranks) for m in (1, 32)]
        for r in range(ranks)
    ]
    return [float(x) for x in np.mean(np.array(own, float), axis=0)]


def rows(seeds: int) -> list[Row]:
    """Rows dealt to the lanes by lot: pairs of one class in a batch, and what D it costs."""
    found = []
    for c, lanes in ((2, 5040), (9, 1680)):
        samples = worlds.SAMPLES // c * c
        for name, options in (
            ("stratified", {}),
            ("stratified, rows mixed", {"mix": "rows"}),
            ("stratified, lanes mixed once", {"mix": "lanes"}),
            ("stratified, eighths together", {"mix": "eighths"}),
            ("block", {"deal": "random"}),
        ):
            for data in ("class-sorted", "source-grouped"):
                labels = worlds.labels(data, samples)
                several, again = [], []
                for seed in range(seeds):
                    ids, _ = variants.order(samples, c, lanes, seed, **options)
                    pairs = variants.same_label_pairs(labels[ids], BATCH)
                    own = rank_effects(ids, labels, 8)
                    several.append([pairs, *own, *effects(ids, labels)])
                    if data == "class-sorted":
                        other, _ = variants.order(samples, c, lanes, seed + 1000, **options)
                        again.append([variants.met_again(ids, other, BATCH, samples)])
                chance = float(np.sum(np.bincount(labels).astype(float) ** 2)) / samples**2
                found.append(
                    {"c": c, "L": lanes, "order": name, "data": data, "D": middle(several)[3:]}
                    | {"rank of 8: D(1) D(32)": middle(several)[1:3]}
                    | {"pairs": middle(several)[0], "by chance": chance * BATCH * (BATCH - 1) / 2}
                    | {"met again": middle(again)[0] if again else None}
                )
    return found


def same_block_again(blocks: tuple[int, int], turn: int, samples: int) -> float:
    """Of pairs in one block of an epoch, the share that is in one block in the next."""
    number = np.arange(samples)
    one, other = number // blocks[0], (number - turn) % samples // blocks[1]
    pairs = together = 0
    for distance in range(1, blocks[0]):
        same = one[:-distance] == one[distance:]
        pairs += int(same.sum())
        together += int((same & (other[:-distance] == other[distance:])).sum())
    return together / pairs


def grid(seeds: int) -> list[Row]:
    """The grid of blocks turned by a lot for each epoch, or another c in every other epoch."""
    found = []
    for c, lanes in ((2, 5040), (9, 1680), (50, 420)):
        samples = worlds.SAMPLES // c * c
        near = c * lanes // 2  # a window in which a block's samples are sure to meet
        for name, turned, second in (
            ("same grid", False, c),
            ("grid turned by epoch", True, c),
            ("c - 1 in every other epoch", False, c - 1),
        ):
            if second < 2:
                continue
            several = []
            for seed in range(seeds):
                turn = int(np.random.default_rng(seed).integers(1, c)) if turned else 0
                ids, _ = variants.order(samples, c, lanes, seed)
                other, _ = variants.order(
                    samples, second, lanes * c // second, seed + 99, turn=turn
                )
                short = min(len(ids), len(other))
                several.append(
                    [
                        variants.met_again(ids, other, BATCH, samples),
                        variants.met_again(ids, other, near, samples),
                        same_block_again((c, second), turn, short),
                    ]
                )
            found.append(
                {"c": c, "L": lanes, "grid": name, "window": near}
                | {"met again: batch, window, block": middle(several)}
            )
    return found


def again(seeds: int) -> list[Row]:
    """Version 1, 25 epochs: pairs that met in a batch meet again in the next, against chance."""
    found = []
    for samples, c, lanes in (
        (20_000, 2, 312), (20_000, 1, 840), (64_000, 8, 2048), (128_000, 2, 840),
        (128_000, 9, 420), (128_000, 4, 1680), (300_000, 64, 256), (worlds.SAMPLES, 9, 1680),
    ):  # fmt: skip
        for shuffle in ("stratified", "block", "global"):
            before, factors = None, []
            for epoch in range(25):
                order = hr.Order(
                    [samples], seed=1, epoch=epoch, block=c, lanes=lanes, shuffle=shuffle
                )
                ids = order.at_many(np.arange(samples))
                if before is not None:
                    factors.append(variants.met_again(before, ids, BATCH, samples))
                before = ids
            error = float(np.std(factors, ddof=1) / np.sqrt(len(factors)))
            found.append(
                {"samples": samples, "c": c, "L": lanes, "order": shuffle}
                | {"met again": float(np.mean(factors)), "standard error": error}
            )
    return found


def video(seeds: int) -> list[Row]:
    """Frames of 20 KB, 0.25 GB, b = 256: equal memory, smaller blocks."""
    samples, frame = worlds.SAMPLES, 20_000
    labels = worlds.labels("video-like", samples)
    found = []
    for c, lanes in ((50, 420), (25, 840), (12, 1680), (6, 3360), (3, 6720), (1, 12500)):
        several, most = [], 0
        for seed in range(seeds):
            order = hr.Order([samples], seed=seed, block=c, lanes=lanes)
            ids = order.at_many(np.arange(samples))
            several.append(effects(ids, labels))
            if seed == 0:
                most = held.peak_by_sample(ids, np.arange(samples) // c, wraps=True)
        found.append(
            {"c": c, "L": lanes, "MB held": most * frame / 1e6, "GETs": -(-samples // c)}
            | {"D": middle(several), "bound": [design.bound(c, lanes, BATCH, m) for m in WINDOWS]}
        )
    return found


def halves(seeds: int) -> list[Row]:
    """Two-level blocks of 50 frames of 20 KB at equal memory: halves one row apart, and more."""
    samples, found = worlds.SAMPLES // 50 * 50, []
    labels = worlds.labels("video-like", samples)
    for delay, lane_count in ((0, 420), (1, 280), (3, 168)):
        made = [variants.halves(samples, 25, lane_count, delay, seed) for seed in range(seeds)]
        most = held.peak_by_sample(made[0], np.arange(samples) // 50, wraps=True)
        found.append(
            {"half": 25, "lanes": lane_count, "rows between": delay, "MB held": most * 0.02}
            | {"D": middle([effects(ids, labels) for ids in made])}
        )
    return found


def by_lane(
    sizes: list[int], deal: variants.Deal, seed: int, lanes: int, level: bool = False
) -> np.ndarray:
    return variants.units_by_lane(np.array(sizes), lanes, seed, deal, level=level)


def version_1(counts: list[int], options: dict[str, Any], seed: int, lanes: int) -> np.ndarray:
    order = hr.Order(counts, seed=seed, lanes=lanes, **options)
    return np.array(order.at_many(np.arange(len(order))))


def units(seeds: int) -> list[Row]:
    """Unequal units: version 1 cuts one tape; here lanes stay apart, or are kept even."""
    total, found = worlds.SAMPLES, []
    for name, sizes, mean, lane_count in (
        ("4 to 14", worlds.unit_counts(), 9, 840),
        ("1 to 60", worlds.unit_counts(total, 1, 60), 30, 256),
        ("9 each", [9] * (total // 9) + [total % 9], 9, 840),
    ):
        unit = np.repeat(np.arange(len(sizes)), sizes)
        ways: dict[str, tuple[Callable[[int, int], np.ndarray], np.ndarray]] = {
            "version 1, units": (partial(version_1, sizes, {"units": True}), unit),
            "version 1, equal blocks of the mean": (
                partial(version_1, [total], {"block": mean}),
                np.arange(total) // mean,
            ),
            "each lane its own units": (partial(by_lane, sizes, variants.lanes_as_dealt), unit),
            "rows kept even": (partial(by_lane, sizes, variants.balanced(1 << 20)), unit),
            "rows kept even in 64s": (partial(by_lane, sizes, variants.balanced(64)), unit),
            "first free lane": (partial(by_lane, sizes, variants.first_free), unit),
            "first free lane, level end": (
                partial(by_lane, sizes, variants.first_free, level=True),
                unit,
            ),
        }
        for way, (make, unit_of) in ways.items():
            made = [make(seed, lane_count) for seed in range(seeds)]
            most = max(held.peak_by_unit(ids, unit_of, wraps=True) for ids in made)
            for data in ("class-sorted", "source-grouped", "video-like"):
                labels = worlds.labels(data)
                classes = np.bincount(labels)
                several = []
                for ids in made:
                    end = design.design_effect(labels[ids[-16 * BATCH :]], classes, BATCH)
                    several.append([*effects(ids, labels), end])
                found.append(
                    {"units": name, "L": lane_count, "order": way, "data": data, "held": most}
                    | {
                        "D": middle(several)[:-1],
                        "D(1) of the last 16 batches": middle(several)[-1],
                    }
                )
    return found


def lanes(seeds: int) -> list[Row]:
    """A choice of L near the one of the defaults, so that little is left for the tail."""
    lot = np.random.default_rng(3)
    found = []
    for c, largest, step in ((2, 5040, 840), (2, 5040, 8), (9, 1680, 840), (9, 1680, 8)):
        for slack in (0.0, 0.05, 0.2):
            shares = []
            for _ in range(1000):
                blocks = int(lot.integers(32 * largest, 400 * largest))
                choice = range(largest, int(largest * (1 - slack)) - 1, -step)
                shares.append(min(blocks % each / blocks for each in choice))
            found.append(
                {"c": c, "L": largest, "multiples of": step, "slack": slack}
                | {"tail share, median": float(np.median(shares)), "worst": float(np.max(shares))}
            )
    return found


def small(seeds: int) -> list[Row]:
    """20,000 samples of 115 KB, 1 GB: blocks and lanes, with today's tail and with whole blocks."""
    samples, found = 20_000, []
    labels = worlds.labels("class-sorted", samples)
    for c, lane_count in ((1, 5040), (1, 1680), (2, 312), (2, 840), (2, 1680), (4, 312), (4, 840)):
        for how in ("permuted runs", "whole blocks"):
            several, length, most = [], 0, 0
            for seed in range(4 * seeds):
                ids, length = variants.order(samples, c, lane_count, seed, tail=how)
                classes, last = np.bincount(labels), ids[len(ids) - length :]
                several.append(
                    [
                        *effects(ids, labels, (1, 4, 16)),
                        design.design_effect(labels[last], classes, BATCH)
                        if length >= 2 * BATCH
                        else np.nan,
                    ]
                )
                if seed == 0:
                    most = held.peak_by_sample(ids, np.arange(samples) // c, wraps=True)
            blocks = samples // c
            left = blocks % lane_count
            cuts = 0 if how == "whole blocks" else max(0, min(lane_count, left * c) - 1)
            gets = blocks + cuts + (min(lane_count, blocks) if c > 1 else 0)
            found.append(
                {"c": c, "L": lane_count, "tail": how, "rows": blocks // lane_count}
                | {"tail share": length / samples, "ranges at most": gets, "held": most}
                | {"D(1) D(4) D(16), D(1) of the tail": middle(several)}
            )
    return found


ALL = (tail, rows, grid, again, video, halves, units, lanes, small)
EXPERIMENTS = {each.__name__: each for each in ALL}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("which", nargs="*", default=list(EXPERIMENTS))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "version2.json")
    asked = arguments.parse_args()
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.which:
        print(f"== {name}: {EXPERIMENTS[name].__doc__}", flush=True)
        kept[name] = EXPERIMENTS[name](asked.seeds)
        for row in kept[name]:
            print("  ", json.dumps(row), flush=True)
        asked.out.write_text(json.dumps(kept, indent=1).replace("\n   ", " ") + "\n")


if __name__ == "__main__":
    main()
