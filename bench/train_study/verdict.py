#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of a study: mean and spread, difference to a true shuffle, verdict on the margin.

    verdict.py results/small.jsonl

The rule was fixed before the first result (protocol.md): two one-sided t-tests at 5 % on the
differences paired by seed, that is, their 90 % confidence interval against the margin.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plan
from scipy import stats

CONFIDENCE = 0.90
RUNS_MAX = 1_000
NONE = "-"
Line = dict[str, Any]
SECONDARY = {"centibits": "held-out bits per character x 100 (less is better)"}


@dataclass(frozen=True)
class Difference:
    """Order minus global, paired by seed: points, more is better."""

    mean: float
    spread: float  # standard deviation over seeds
    low: float
    high: float
    seeds: int

    def verdict(self, margin: float = plan.MARGIN) -> str:
        if -margin <= self.low and self.high <= margin:
            return "equivalent"
        if self.high < 0:
            return "worse"
        if self.low > 0:
            return "better"
        return "undecided, not worse" if self.low > -margin else "undecided"


def half_width(spread: float, seeds: int) -> float:
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, seeds - 1))
    return quantile * spread / math.sqrt(seeds)


def difference(order: Sequence[float], true_shuffle: Sequence[float]) -> Difference:
    gaps = np.array(order, float) - np.array(true_shuffle, float)
    mean, spread = float(gaps.mean()), float(gaps.std(ddof=1))
    half = half_width(spread, len(gaps))
    return Difference(mean, spread, mean - half, mean + half, len(gaps))


def seeds_to_decide(spread: float, distance: float) -> int | None:
    """Seeds with which a difference of this spread has a half-width below `distance`; None: no
    number of them (or more than 1,000)."""
    if distance <= 0:
        return None
    return next((n for n in range(2, RUNS_MAX) if half_width(spread, n) < distance), None)


def grouped(lines: list[Line]) -> dict[str, dict[str, dict[int, Line]]]:
    """part -> order -> seed -> line."""
    found: dict[str, dict[str, dict[int, Line]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        found[line["part"]][line["order"]][line["seed"]] = line
    corpora = {line["corpus"] for line in lines if "corpus" in line}
    if len(corpora) > 1:
        raise ValueError(f"make table: {len(corpora)} different corpora; begin part c again")
    return found


def shown(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else NONE
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def mean_d(lines: dict[int, Line]) -> str:
    columns = zip(*(line["d"] for line in lines.values()), strict=True)
    return " / ".join(
        NONE if None in d else f"{np.mean(d):.{2 if np.mean(d) < 10 else 0}f}" for d in columns
    )


def row(by_order: dict[str, dict[int, Line]], order: str, figure: str) -> str:
    sign = -1 if figure in SECONDARY else 1
    runs, base = by_order[order], by_order.get("global", {})
    values = [line[figure] for line in runs.values()]
    first = [line["first_epoch"] for line in runs.values() if "first_epoch" in line]
    cells = [order, str(len(runs)), shown(values), shown(first) if first else NONE, mean_d(runs)]
    seeds = sorted(set(runs) & set(base))
    if order == "global" or len(seeds) < 2:
        return "| " + " | ".join([*cells, NONE, NONE, NONE]) + " |"
    gap = difference(
        [sign * runs[seed][figure] for seed in seeds], [sign * base[seed][figure] for seed in seeds]
    )
    cells += [f"{gap.mean:+.2f}", f"{gap.low:+.2f} … {gap.high:+.2f}", verdict_of(runs, gap)]
    return "| " + " | ".join(cells) + " |"


def verdict_of(runs: dict[int, Line], gap: Difference) -> str:
    """The verdict, and where there is none what it would take."""
    if next(iter(runs.values()))["part"] not in plan.PROTOCOL_PARTS:
        return "not judged"
    said = gap.verdict()
    if "undecided" not in said:
        return said
    here = seeds_to_decide(gap.spread, plan.MARGIN - abs(gap.mean))
    none = seeds_to_decide(gap.spread, plan.MARGIN)
    return f"{said}; seeds needed: {here or 'no number'} at this difference, {none} at none"


def heading(part: plan.Part) -> str:
    sizes = f"{part.samples:,} samples, {part.epochs} epochs, batch {part.batch}"
    return (
        f"**{part.name}. {part.what}** ({sizes}, c = {part.block}, L = {part.lanes}, "
        f"webdataset's buffers {part.buffer:,})"
    )


def one_table(part: plan.Part, by_order: dict[str, dict[int, Line]], figure: str) -> Iterator[str]:
    less_is_better = figure in SECONDARY
    title = SECONDARY.get(figure, "points")
    yield (
        f"| order | runs | {title} | first epoch | D(1) / D(4) / D(32) | "
        f"{'gain over' if less_is_better else 'difference to'} global | 90 % CI | verdict |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for order in part.orders:
        if order in by_order:
            yield row(by_order, order, figure)
    yield ""


def table(lines: list[Line]) -> Iterator[str]:
    """The lines of all tables, Markdown."""
    found = grouped(lines)
    for name, part in plan.parts(lines[0]["scale"]).items():
        if name not in found:
            continue
        if part.global_of:
            found[name]["global"] = found[part.global_of]["global"]
        yield heading(part)
        yield ""
        for figure in ("points", *SECONDARY):
            if has(found[name], figure):
                yield from one_table(part, found[name], figure)
    seconds = sum(line["cpu_seconds"] for line in lines)
    yield f"{len(lines)} runs, {seconds / 60:.0f} minutes of one core in all."


def has(by_order: dict[str, dict[int, Line]], figure: str) -> bool:
    return all(figure in line for runs in by_order.values() for line in runs.values())


def main() -> int:
    path = Path(sys.argv[1])
    lines = [json.loads(text) for text in path.read_text().splitlines() if text.strip()]
    print("\n".join(table(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
