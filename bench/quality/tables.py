# SPDX-License-Identifier: Apache-2.0
"""Prints results.json: the two tables of docs/quality.md, then every figure with its range.

python bench/quality/tables.py [FILE]
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

WINDOWS = ("1", "4", "16", "32", "64")
Row = dict[str, Any]


def number(value: float) -> str:
    return f"{value:.2f}" if value < 9.95 else f"{value:,.0f}"


def spread_of(values: list[float]) -> str:
    """Median, and the range where it is not the same to the digits shown."""
    middle = number(statistics.median(values))
    low, high = number(min(values)), number(max(values))
    return middle if low == high else f"{middle} ({low}-{high})"


def effects(row: Row, data: str, figure: str, window: str) -> list[float]:
    return [seed[data][figure][window] for seed in row["seeds"]]


def table(rows: list[Row], data: str, figure: str = "D") -> list[str]:
    lines = ["| order | held GB | " + " | ".join(f"D({m})" for m in WINDOWS) + " |"]
    lines.append("|---" * (len(WINDOWS) + 2) + "|")
    for row in rows:
        cells = [spread_of(effects(row, data, figure, m)) for m in WINDOWS]
        lines.append(f"| {row['name']} | {row['held_bytes'] / 1e9:.2f} | {' | '.join(cells)} |")
        if row["bound"] and figure == "D" and data != "pre-shuffled":
            bound = [f"≤ {number(row['bound'][m])}" for m in WINDOWS]
            lines.append(f"| *its bound* | | {' | '.join(bound)} |")
    return lines


def rank_table(rows: list[Row]) -> list[str]:
    """One rank's own rows: D(1) and D(32), the median rank, in the data sets that are sorted."""
    names = list(rows[0]["seeds"][0])[:3]
    lines = ["| order | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [
            " ".join(
                number(statistics.median(effects(row, data, "rank median", m))) for m in ("1", "32")
            )
            for data in names
        ]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return lines


def summary(rows: list[Row]) -> list[str]:
    """One line an order: held GB, then D(1) D(4) D(16) D(32) D(64) in each data set."""
    names = list(rows[0]["seeds"][0])
    lines = ["| order | holds | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        cells = [
            " ".join(number(statistics.median(effects(row, data, "D", m))) for m in WINDOWS)
            for data in names
        ]
        lines.append(f"| {row['name']} | {row['held_bytes'] / 1e9:.2f} GB | {' | '.join(cells)} |")
        shared = row["options"].get("shuffle") == "block"  # by the stratified order of that c and L
        if shared or row["options"].get("units"):
            name = f"*bound at c={row['options']['block']}*" if shared else "*bound*"
            bound = " ".join(number(row["bound"][m]) for m in WINDOWS)
            lines.append(f"| {name} | | {' | '.join([bound] * 3 + ['1 1 1 1 1'])} |")
    return lines


def widest(rows: list[Row]) -> float:
    """The largest distance of one seed's figure from the median of its row."""
    found = 0.0
    for row in rows:
        for data in row["seeds"][0]:
            for m in WINDOWS:
                values = effects(row, data, "D", m)
                middle = statistics.median(values)
                found = max(found, *(abs(value / middle - 1) for value in values))
    return found


def main() -> None:
    file = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "results.json"
    result = json.loads(Path(file).read_text())
    print(result["machine"], result["versions"])
    for ranks in (1, 8):
        rows = [row for row in result["rows"] if row["ranks"] == ranks]
        if not rows:
            continue
        print(f"\n{ranks} ranks, medians; no seed is farther from them than {widest(rows):.1%}\n")
        print("\n".join(summary(rows)))
        for data in rows[0]["seeds"][0]:
            print(f"\n{ranks} ranks, {data}\n\n" + "\n".join(table(rows, data)))
        if ranks > 1:
            print(f"\none rank's own rows of {ranks}\n\n" + "\n".join(rank_table(rows)))


if __name__ == "__main__":
    main()
