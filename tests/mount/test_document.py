# SPDX-License-Identifier: Apache-2.0
"""docs/mount.md: every numbered sentence names tests, and every test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sentences() -> dict[str, list[str]]:
    text = (ROOT / "docs/mount.md").read_text()
    items = re.split(r"^- (?=M\d+\. )", text, flags=re.MULTILINE)[1:]
    found: dict[str, list[str]] = {}
    for item in items:
        number = item.split(".")[0]
        assert number not in found, f"{number} stands twice"
        item = re.split(r"\n\n|\n#", item)[0]
        names = re.search(r"\[([^\]]*)\]\s*$", item)
        found[number] = re.split(r",\s*", names.group(1)) if names else []
    return found


def known_tests() -> set[str]:
    found: set[str] = set()
    for path in [*ROOT.glob("src/**/*_test.cc")]:
        found |= {
            ".".join(pair)
            for pair in re.findall(r"^TEST(?:_F|_P)?\((\w+), (\w+)\)", path.read_text(), re.M)
        }
    for folder in ("tests", "python/tests"):
        for path in (ROOT / folder).rglob("test_*.py"):
            found |= set(re.findall(r"^def (test_\w+)", path.read_text(), re.M))
    return found


def test_every_sentence_has_a_test_that_is_there():
    there = known_tests()
    listed = sentences()
    assert len(listed) >= 20
    assert [n for n, names in listed.items() if not names] == []
    assert {n: name for n, names in listed.items() for name in names if name not in there} == {}


def test_the_numbers_have_no_gap():
    numbers = [int(number[1:]) for number in sentences()]
    assert numbers == list(range(1, len(numbers) + 1))
