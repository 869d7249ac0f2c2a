# SPDX-License-Identifier: Apache-2.0
"""What stores ask for reading: dollars for 1,000 GETs and for a GB that leaves them.

A table, not a tariff calculator: list prices of the first tier, with where and when they were read.
``--price`` overrides it. Storage, writes and free tiers are left out: an epoch only reads.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from headrace.errors import OptionError

__all__ = ["DISTANCES", "Price", "price_of", "with_words"]

# Where the trainer stands, seen from the bucket.
DISTANCES = ("same-region", "cross-region", "internet")


@dataclass(frozen=True)
class Price:
    """Dollars. ``per_gb``: of 10^9 bytes, by distance; ``read`` is the day of the source.

    Attributes:
        provider: short name.
        per_1000_gets: for 1,000 GETs, of whatever size.
        per_gb: for a GB that is read, by DISTANCES; of a store that asks for retrieval, with it.
    """

    provider: str
    per_1000_gets: float
    per_gb: tuple[float, float, float]
    source: str
    read: str

    def epoch(self, gets: float, nbytes: float, distance: str) -> float:
        """Dollars for ``gets`` requests that read ``nbytes`` in all."""
        return gets / 1000 * self.per_1000_gets + nbytes / 1e9 * self.gb(distance)

    def gb(self, distance: str) -> float:
        return self.per_gb[DISTANCES.index(distance)]

    def to_dict(self) -> dict[str, Any]:
        out = asdict(self)
        out["per_gb"] = dict(zip(DISTANCES, self.per_gb, strict=True))
        return out


# (what the endpoint's host ends with, price). The first that fits.
_TABLE: tuple[tuple[tuple[str, ...], Price], ...] = (
    (
        ("amazonaws.com", "amazonaws.com.cn"),
        Price(
            "Amazon S3 Standard, us-east-1",
            0.0004,
            (0.0, 0.02, 0.09),
            "https://aws.amazon.com/s3/pricing/",
            "2026-11",
        ),
    ),
    (
        ("storage.googleapis.com",),
        Price(
            "Google Cloud Storage Standard",
            0.0004,
            (0.0, 0.02, 0.12),
            "https://cloud.google.com/storage/pricing-examples",
            "2026-11",
        ),
    ),
    (
        ("r2.cloudflarestorage.com",),
        Price(
            "Cloudflare R2 Standard",
            0.00036,
            (0.0, 0.0, 0.0),
            "https://developers.cloudflare.com/r2/pricing/",
            "2026-11",
        ),
    ),
)
_EXPRESS = Price(
    "Amazon S3 Express One Zone, us-east-1",
    0.00003,
    (0.0006, 0.0206, 0.0906),
    "https://aws.amazon.com/s3/faqs/",
    "2026-11",
)
_FREE = Price("files of this machine", 0.0, (0.0, 0.0, 0.0), "", "")
_WORDS = ("get", "gb")


def price_of(url: str, endpoint_url: str = "") -> Price | None:
    """The list price where ``url`` lies; None for a store that is not in the table (one's own)."""
    scheme, _, rest = url.partition("://")
    if not rest or scheme == "file":
        return _FREE
    if scheme == "gs":
        host = "storage.googleapis.com"
    elif scheme == "s3":
        named = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3", "")
        host = urlsplit(named or os.environ.get("AWS_ENDPOINT_URL", "")).hostname or "amazonaws.com"
        if host.endswith("amazonaws.com") and rest.split("/")[0].endswith("--x-s3"):
            return _EXPRESS
    else:
        host = urlsplit(url).hostname or ""
    for endings, price in _TABLE:
        if any(host == ending or host.endswith("." + ending) for ending in endings):
            return price
    return None


def with_words(price: Price | None, words: str | None) -> Price | None:
    """``price`` with what the user says: ``"get=0.0004,gb=0.02"``, dollars for 1,000 GETs and a GB.

    Raises:
        OptionError: another word, or no number.
    """
    if not words:
        return price
    given: dict[str, float] = {}
    for part in words.split(","):
        word, _, number = part.partition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if word.strip() not in _WORDS or not 0 <= amount < 1e6:
            raise OptionError(
                f"--price {words!r}: write for example get=0.0004,gb=0.02 "
                "(dollars for 1,000 GETs, and for a GB)"
            )
        given[word.strip()] = amount
    base = price or Price("as given", 0.0, (0.0, 0.0, 0.0), "", "")
    gb = given.get("gb")
    return replace(
        base,
        provider="as given",
        per_1000_gets=given.get("get", base.per_1000_gets),
        per_gb=base.per_gb if gb is None else (gb, gb, gb),
        source="--price",
        read="",
    )
