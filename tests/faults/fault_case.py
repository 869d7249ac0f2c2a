# SPDX-License-Identifier: Apache-2.0
"""What a row of the fault matrix is, and short ways to write its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Case", "connect", "get", "head", "lists"]

Rule = dict[str, Any]

# Impatient, so that a fault that stays is an error within seconds. Patience is the same code with other numbers.
PATIENCE: dict[str, Any] = {
    "attempts_max": 5,
    "retry_seconds_max": 12,
    "connect_timeout": 1,
    "read_timeout": 1,
}


@dataclass(frozen=True)
class Case:
    """A fault, and what a user is owed.

    Attributes:
        id: the class of the matrix: N1 .. N18 network, S1 .. S17 service.
        name: the variant.
        rules: for the fault server; "$shards" stands for all shards of the format, "$one" for one of them.
        ends: "heals" (every sample, exact, in the same order) or "fails" (one clear error). Nothing in between: a case
            whose end nobody can say beforehand proves nothing.
        words: each must stand in the error's text.
        error: the class of the error, "" for any of ours.
        names: what the error must name: "key", "bucket", "endpoint" or "".
        stage: the rules hold from before the opening ("open": no index yet) or from the first read on ("read").
        place: where the client is sent, when it is not a fault server with these rules (fault_places.py).
        interrupt_after: seconds until Ctrl-C; then the case is that it is answered.
        quick: part of `make test`.
    """

    id: str
    name: str
    rules: tuple[Rule, ...] = ()
    ends: str = "heals"
    words: tuple[str, ...] = ()
    error: str = ""
    names: str = "key"
    stage: str = "read"
    place: str = "server"
    by_name: bool = False  # the URL names the shards (HEAD) instead of listing them
    options: Mapping[str, Any] = field(default_factory=dict)
    loader: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("tar", "mds")
    deadline: float = 40
    interrupt_after: float = 0
    fires: bool = True  # a rule must have fired
    retries_max: int | None = None
    quick: bool = False

    @property
    def title(self) -> str:
        return f"{self.id} {self.name}"


def get(kind: str, **words: Any) -> Rule:
    """A rule for reads of shards."""
    return {"kind": kind, "op": "GetObject", "key": "$shards", **words}


def lists(kind: str, **words: Any) -> Rule:
    return {"kind": kind, "op": "ListObjectsV2", **words}


def head(kind: str, **words: Any) -> Rule:
    return {"kind": kind, "op": "HeadObject", **words}


def connect(kind: str, **words: Any) -> Rule:
    return {"kind": kind, "op": "Connect", **words}
