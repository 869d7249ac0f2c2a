# SPDX-License-Identifier: Apache-2.0
"""What a store was seen to do, or is said to: the figures that the model needs, and their JSON.

Rates are decimal: MB = 10^6 bytes. Nothing is measured here (measure.py) and nothing follows
(model.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import OptionError

__all__ = [
    "CONNECTION_MBPS",
    "QUANTILES",
    "StoreFigures",
    "lognormal",
    "quantiles_of",
    "read_figures",
]

# Percentiles that are kept of a distribution: dense where a tail decides.
QUANTILES = (
    *(0, 1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90),
    *(92, 94, 95, 96, 97, 98, 98.5, 99, 99.25, 99.5, 99.75, 99.9, 100),
)
_QUANTILES_MAX = 1000
# Of one connection to S3 in the same region, where nobody measured: 50-90 MB/s are published.
CONNECTION_MBPS = 80.0

Floats = npt.NDArray[np.float64]
Quantiles = tuple[tuple[float, float], ...]  # (percentile, value), rising


def quantiles_of(values: npt.ArrayLike) -> Quantiles:
    """(percentile, value) at QUANTILES."""
    found = np.percentile(np.asarray(values, np.float64), QUANTILES)
    return tuple((p, round(float(v), 4)) for p, v in zip(QUANTILES, found, strict=True))


@dataclass(frozen=True)
class StoreFigures:
    """A store as one machine sees it.

    Attributes:
        first_byte_ms: (percentile, milliseconds) ascending, of a request on an open connection.
        connection_MBps: of one body on one connection.
        MBps_max, GETps_max: what all requests of the machine get together, at the loader's ranges
            and at small ones; inf where no limit is known.
        throttled: GETps_max is where the store began to answer "slow down", so that all machines
            share it; else it is this machine's or its network's.
    """

    first_byte_ms: Quantiles
    connection_MBps: float
    MBps_max: float = math.inf
    GETps_max: float = math.inf
    throttled: bool = False

    def draw_first_byte_s(self, uniform: Floats) -> Floats:
        """First-byte times in seconds for uniform numbers in [0, 1)."""
        percent = [p / 100 for p, _ in self.first_byte_ms]
        millis = [ms for _, ms in self.first_byte_ms]
        return np.interp(uniform, percent, millis) / 1e3

    def first_byte(self, percentile: float) -> float:
        """Milliseconds."""
        return float(self.draw_first_byte_s(np.array([percentile / 100]))[0] * 1e3)


def lognormal(
    median_ms: float, *, sigma: float = 0.35, tail: float = 0.01, factor: float = 10.0
) -> Quantiles:
    """(percentile, ms) of a log-normal first byte; a share ``tail`` takes ``factor`` medians.

    The default shape is that of S3 within a region (docs/probe.md).
    """
    from statistics import NormalDist

    normal = NormalDist()
    table: list[tuple[float, float]] = []
    for p in QUANTILES:
        body = min(max(p / 100 / (1 - tail), 1e-4), 1 - 1e-4)
        late = p / 100 > 1 - tail
        ms = factor * median_ms if late else median_ms * math.exp(sigma * normal.inv_cdf(body))
        table.append((p, round(max(ms, table[-1][1] if table else 0.0), 4)))
    return tuple(table)


def read_figures(path: Path) -> tuple[StoreFigures, dict[str, Any]]:
    """The store's figures, and all of the document, from ``headrace probe URL --json``.

    Raises:
        OptionError: no such file, or not such a document.
    """
    try:
        document = json.loads(path.read_text())
        return figures_of(document), document
    except OSError as fault:
        raise OptionError(f"read probe {path}: {fault.strerror}") from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise OptionError(
            f"read probe {path}: not what `headrace probe URL --json` writes: {fault!r}"
        ) from fault


def figures_of(document: Mapping[str, Any]) -> StoreFigures:
    """Raises KeyError, TypeError or ValueError for what is no probe's document."""
    table = [(float(p), float(ms)) for p, ms in document["first_byte_ms"]["quantiles"]]
    knee, limit = document["knee"], document["get_limit"]
    loader = document.get("loader") or {}
    # What was only seen, not shown to be the most, is no limit; nor is what the loader surpassed.
    megabytes = float(knee["MBps_max"]) if knee["reached"] else math.inf
    figures = StoreFigures(
        first_byte_ms=tuple(table),
        connection_MBps=_number(document["per_connection_MBps"]),
        MBps_max=max(megabytes, float(loader.get("MBps", 0.0))),
        GETps_max=float(limit["GETps"]) if limit["reached"] else math.inf,
        throttled=bool(limit["throttled"]),
    )
    _check(figures)
    return figures


def _number(value: Any) -> float:
    """inf for what was not measured."""
    return math.inf if value is None or value != value else float(value)


def _check(figures: StoreFigures) -> None:
    table = figures.first_byte_ms
    if not 2 <= len(table) <= _QUANTILES_MAX or table[0][0] != 0 or table[-1][0] != 100:
        raise ValueError("first_byte_ms.quantiles does not go from 0 to 100")
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(table))
    if not rising or table[0][1] < 0 or not math.isfinite(table[-1][1]):
        raise ValueError("first_byte_ms.quantiles does not rise")
    for name in ("connection_MBps", "MBps_max", "GETps_max"):
        if not getattr(figures, name) > 0:
            raise ValueError(f"{name} is not above 0")
