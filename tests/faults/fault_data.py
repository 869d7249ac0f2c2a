# SPDX-License-Identifier: Apache-2.0
"""The two data sets of the fault suite, as WebDataset's and MosaicML's own writers wrote them, and what their
own readers say is in them (tests/fixtures/*/expected.jsonl): what was delivered is judged by that, not by us."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BUCKET = "data"


@dataclass(frozen=True)
class DataSet:
    """One format of the grid."""

    format: str  # "tar" or "mds"
    fixture: str
    url: str  # by listing
    braces: str  # by name, "" where the format has none
    shards: str  # glob over bucket/key
    one_shard: str  # key of the shard that single-object faults strike

    def expected(self) -> list[dict[str, str]]:
        """For each sample {field: SHA-256 of its stored bytes}."""
        return _expected(self.fixture)


DATA_SETS = {
    "tar": DataSet(
        "tar",
        "wds-medium",
        f"s3://{BUCKET}/tar/",
        f"s3://{BUCKET}/tar/train-{{000000..000004}}.tar",
        f"{BUCKET}/tar/train-*.tar",
        "tar/train-000002.tar",
    ),
    "mds": DataSet(
        "mds",
        "mds-medium",
        f"s3://{BUCKET}/mds/",
        "",
        f"{BUCKET}/mds/shard.*.mds",
        "mds/shard.00003.mds",
    ),
}


def lay_out(root: Path) -> None:
    """The folder for ``headrace-serve``: one bucket with both data sets."""
    for data in DATA_SETS.values():
        shutil.copytree(FIXTURES / data.fixture / "data", root / BUCKET / data.format)


@cache
def _expected(fixture: str) -> list[dict[str, str]]:
    samples = []
    for line in (FIXTURES / fixture / "expected.jsonl").read_text().splitlines():
        fields: dict[str, Any] = json.loads(line)["fields"]
        samples.append({name: field["sha256"] for name, field in fields.items()})
    return samples


def differences(
    data: DataSet, delivered: Iterable[tuple[int, dict[str, bytes]]], order: list[int]
) -> str:
    """Why ``delivered`` (sample number, stored bytes by field) is not exactly the data set, each sample once,
    in ``order``; "" when it is."""
    expected = data.expected()
    numbers = []
    for number, fields in delivered:
        numbers.append(number)
        if not 0 <= number < len(expected):
            return f"sample {number} does not exist"
        got = {name: hashlib.sha256(content).hexdigest() for name, content in fields.items()}
        wrong = [name for name in expected[number] if got.get(name) != expected[number][name]]
        if wrong:
            return f"sample {number}: wrong bytes in {', '.join(wrong)}"
    if sorted(numbers) != list(range(len(expected))):
        return f"{len(numbers)} samples delivered, {len(set(numbers))} of them different, of {len(expected)}"
    if order and numbers != order:
        return "another order than without faults"
    return ""
