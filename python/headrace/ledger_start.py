# SPDX-License-Identifier: Apache-2.0
"""What a start record says: everything from which an audit computes again what should follow
(docs/ledger.md, "Start records")."""

from __future__ import annotations

import json
import os
import re
import socket
from typing import Any

from headrace.ledger_file import pack_counts
from headrace.units import order_counts

__all__ = ["checked_start", "job_facts", "place_of", "sources_of", "start_facts"]

_EPOCH_MAX = 2**32 - 1


def sources_of(dataset: Any) -> dict[str, Any]:
    """The data sets by name: of a mixture its sources, else the one under ``""``."""
    found: dict[str, Any] = getattr(dataset, "sources", None) or {"": dataset}
    return found


def job_facts(dataset: Any, plan: Any) -> dict[str, Any]:
    """What stays the same while batches follow each other."""
    parts = sources_of(dataset).values()
    return {
        "url": _public(dataset.url),
        "samples": len(dataset),
        "numbers": max(part.core.samples for part in parts),
        "batch": plan.batch,
        "world": plan.ranks.world_size,
    }


def place_of(at: Any) -> list[int]:
    """(epoch, position, drop); of a mixture (0, batches since it began, 0)."""
    return [0, at["steps"], 0] if isinstance(at, dict) else list(at)


def start_facts(dataset: Any, plan: Any, at: Any, *, counts: bool) -> dict[str, Any]:
    """The part of a start record that says what will be delivered.

    Args:
        counts: with the shards' sample counts, which are long; once in a file is enough.
    """
    parts = sources_of(dataset)
    facts: dict[str, Any] = {
        "at": place_of(at),
        "agreement": plan.agreement(at)[1],
        "rank": plan.ranks.rank,
        "host": socket.gethostname(),
        "process": os.getpid(),
        **job_facts(dataset, plan),
    }
    if "" not in parts:
        facts["sources"] = [
            _source(name, part, order, stands)
            for (name, part), order, stands in zip(
                parts.items(), plan.stream_sources(at), at["sources"], strict=True
            )
        ]
    else:
        facts |= _units(dataset, plan.choice.shuffle)
    if counts:
        facts["counts"] = (
            [
                pack_counts(order_counts(part, source["shuffle"])[0])
                for part, source in zip(parts.values(), facts["sources"], strict=True)
            ]
            if "sources" in facts
            else pack_counts(order_counts(dataset, plan.choice.shuffle)[0])
        )
    facts["state"] = json.loads(plan.state_text(at))
    return facts


def _units(part: Any, shuffle: str) -> dict[str, Any]:
    """Whether the counts are of units (docs/ordering.md, "Unequal units")."""
    return {"units": True} if order_counts(part, shuffle)[1] else {}


def _source(name: str, part: Any, order: dict[str, Any], stands: Any) -> dict[str, Any]:
    """One of a mixture: its order, and where that stands."""
    return {
        "name": name,
        "url": _public(part.url),
        "samples": len(part),
        "numbers": part.core.samples,
        "order_hash": part.order_hash,
        "filter": part.filter_hash,
        **{key: order[key] for key in ("seed", "shuffle", "block", "lanes")},
        **_units(part, order["shuffle"]),
        "stands": list(stands),
    }


def checked_start(start: dict[str, Any]) -> dict[str, Any]:
    """The start record, if all of it that an audit needs is there.

    Raises:
        ValueError, KeyError, TypeError: it is not.
    """
    state = start["state"]
    if "sources" in start:
        _check_sources(start["sources"], start.get("counts"))
        state["remainder"] = "wrap"
    else:
        _check_order(state)
        if int(start["numbers"]) < int(start["samples"]):
            raise ValueError(f"{start['samples']} samples of {start['numbers']}")
        state["remainder"] = str(state["remainder"])
    for name in ("run", "cause"):
        start[name] = str(start[name])
    for place in (start["at"], start.get("loaded") or (0, 0, 0)):
        epoch, position, drop = map(int, place)
        if min(epoch, position, drop) < 0 or epoch > _EPOCH_MAX:
            raise ValueError(f"no place: {place}")
    numbers = [int(start[name]) for name in ("samples", "numbers", "batch", "world", "rank")]
    samples, whole, batch, world, rank = numbers
    if min(samples, whole, batch, world) < 1 or not 0 <= rank < world or batch % world:
        raise ValueError(f"samples, numbers, batch, world, rank: {numbers}")
    if not 1 <= int(start["id_bytes"]) <= 8:
        raise ValueError(f"id_bytes {start['id_bytes']}")
    start["time"], start["shared"] = float(start["time"]), bool(start["shared"])
    return start


def _check_order(facts: dict[str, Any]) -> None:
    for name in ("seed", "block", "lanes"):
        facts[name] = int(facts[name])
    for name in ("shuffle", "order_hash"):
        facts[name] = str(facts[name])


def _check_sources(sources: Any, counts: Any) -> None:
    if not isinstance(sources, list) or not sources:
        raise ValueError("no sources")
    if counts is not None and len(counts) != len(sources):
        raise ValueError(f"shards of {len(counts)} sources, not of {len(sources)}")
    for source in sources:
        _check_order(source)
        source["name"] = str(source["name"])
        epoch, position = map(int, source["stands"])
        if not 0 <= position < int(source["samples"]) <= int(source["numbers"]) or epoch < 0:
            raise ValueError(f"source {source['name']} stands at {source['stands']}")


def _public(url: str) -> str:
    """Without user names, passwords and signatures."""
    return re.sub(r"//[^/@]*@", "//", re.sub(r"\?[^,\s]*", "", url))
