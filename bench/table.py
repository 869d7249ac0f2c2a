# SPDX-License-Identifier: Apache-2.0
"""Runs to a Markdown table: min / median / max of each contender, in one row."""

from __future__ import annotations

from statistics import median
from typing import Any

Run = dict[str, Any]


def spread(values: list[float], digits: int = 0) -> str:
    """`min / **median** / max`, or the one value."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if len(known) == 1:
        return f"**{known[0]:,.{digits}f}**"
    middle = median(known)
    return f"{min(known):,.{digits}f} / **{middle:,.{digits}f}** / {max(known):,.{digits}f}"


def middle(values: list[Any], digits: int = 0, scale: float = 1.0) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known) / scale:,.{digits}f}" if known else "-"


def _exact(runs: list[Run]) -> str:
    if any(run.get("lost") is None for run in runs):
        return "-"
    lost = max(run["lost"] for run in runs)
    repeated = max(run["repeated"] for run in runs)
    wrong = max(run["wrong_labels"] for run in runs)
    if lost == repeated == wrong == 0:
        return "yes"
    return f"NO: {lost} lost, {repeated} repeated, {wrong} wrong labels"


COLUMNS = {
    "samples/s": lambda r: spread([x["samples_per_s"] for x in r]),
    "MB/s": lambda r: middle([x["mb_per_s"] for x in r]),
    "CPU-s/GB": lambda r: spread([x["cpu_s_per_gb"] for x in r], 2),
    "first batch s: from process / import / iter": lambda r: " / ".join(
        middle([x.get(f"first_batch_from_{since}_s") for x in r], 2)
        for since in ("process", "import", "iter")
    ),
    "peak RSS / PSS MB": lambda r: " / ".join(
        middle([x[name] for x in r], 0, 1e6) for name in ("rss_peak_bytes", "pss_peak_bytes")
    ),
    "GETs": lambda r: middle([x["gets"] for x in r]),
    "bytes: x payload / x stored": lambda r: " / ".join(
        middle([x[name] for x in r], 3) for name in ("bytes_x_payload", "bytes_x_stored")
    ),
    "in flight": lambda r: middle([x["in_flight_max"] for x in r]),
    "D(1) / D(4) / D(16)": lambda r: " / ".join(
        middle([x.get(f"d{m}") for x in r], 2) for m in (1, 4, 16)
    ),
    "exact": _exact,
    "load": lambda r: (
        f"{min(x['load_before'] for x in r):.1f}-{max(x['load_after'] for x in r):.1f}"
    ),
}


def table(runs: list[Run], profile: str) -> str:
    """One profile's contenders, fastest median first; failed runs are counted, not hidden."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        if run["profile"] == profile:
            by_name.setdefault(run["contender"], []).append(run)
    rows = []
    for name, all_runs in by_name.items():
        good = [run for run in all_runs if "failed" not in run]
        failed = f"{len(all_runs) - len(good)}/{len(all_runs)}"
        cells = [column(good) for column in COLUMNS.values()] if good else ["-"] * len(COLUMNS)
        rate = median([run["samples_per_s"] for run in good]) if good else 0.0
        rows.append((rate, [name, *cells, failed]))
    rows.sort(key=lambda row: -row[0])
    titles = ["contender", *COLUMNS, "failed runs"]
    lines = [titles, ["---"] * len(titles), *(cells for _, cells in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
