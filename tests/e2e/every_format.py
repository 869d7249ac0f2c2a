# SPDX-License-Identifier: Apache-2.0
"""The fixtures as cases: how each is opened, which order it gets, and the table that says what passed.

test_every_format.py runs them; the table in docs/formats/README.md is made of its results.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parents[1] / "fixtures"
MANIFEST = FIXTURES / "MANIFEST.md"
HEAD = [
    "| data set | written by | format | order | samples | equal to its reader | shuffled, 3 ranks, killed and resumed |",
    "|---|---|---|---|---|---|---|",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to open one fixture."""

    name: str  # of the fixture
    where: str = "data/"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    equal: str = "test_fixtures"  # the test file that compares samples with expected.jsonl
    tag: str = ""

    @property
    def url(self) -> str:
        return f"s3://{self.name}/{self.where}"

    @property
    def title(self) -> str:
        return self.name + (f" ({self.tag})" if self.tag else "")


def _case(name: str) -> list[Case]:
    """What is to be said of a fixture; most need nothing."""
    sequence = {"samples": "sequence"}
    special = {
        "nanogpt-bin": [
            Case(name, options={"window": 256, "token_dtype": "uint16"}, equal="test_tokens")
        ],
        "llmc-bin": [Case(name, options={"window": 128}, equal="test_tokens")],
        "megatron-indexed": [
            Case(name, f"data/text_{d}_document.bin", sequence, "test_token_documents", d)
            for d in ("u16", "i32")
        ],
        "megatron-multimodal": [Case(name, options=sequence, equal="test_token_documents")],
        "litdata-tokens": [Case(name, options={"window": 64}, equal="test_token_documents")],
        "litdata76-tokens": [Case(name, options={"window": 64}, equal="test_token_documents")],
        "npy-npz": [
            Case(name, options={"format": form}, equal="test_objects", tag=form)
            for form in ("npy", "npz")
        ],
        "imagefolder": [Case(name, equal="test_objects")],
        "jsonl": [
            Case(
                name,
                "data/{blank-lines,bom,crlf,no-trailing-newline,plain}.jsonl",
                tag="plain",
            ),
            Case(name, tag="compressed too", options={"order": "stream"}),
        ],
        "hf-arrow": [Case(name, equal="test_arrow")],
        "litdata76-json-rows": [Case(name, equal="test_arrow")],
    }
    if name.startswith("parquet"):
        return [Case(name, equal="test_parquet")]
    return special.get(name, [Case(name)])


# Known, and refused with the reason (docs/formats).
REFUSED = {"lance": "lance.md"}


def cases() -> list[Case]:
    names = sorted(path.parent.name for path in FIXTURES.glob("*/expected.jsonl"))
    return [case for name in names if name not in REFUSED for case in _case(name)]


def writers() -> dict[str, str]:
    """Fixture to its writer and version, from MANIFEST.md."""
    found = {}
    for line in MANIFEST.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 2 and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1]
    return found


def digest(value: Any) -> str:
    """Of a value in any of its forms: bytes, text, number, array."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, np.ndarray | np.generic | int | float | bool):
        array = np.asarray(value)
        if array.ndim == 0:  # ds says Python's numbers, a batch numpy's
            array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
        value = f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
    if not isinstance(value, bytes | bytearray | memoryview):
        value = json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(bytes(value)).hexdigest()


def row(case: Case, facts: dict[str, Any]) -> str:
    checked = "expected.jsonl (`" + case.equal + ".py`)"
    cells = [
        f"`{case.name}`" + (f", {case.tag}" if case.tag else ""),
        writers().get(case.name, "?"),
        f"`{facts['format']}`",
        facts["order"],
        f"{facts['samples']:,}",
        checked,
        facts["passed"],
    ]
    return "| " + " | ".join(cells) + " |"
