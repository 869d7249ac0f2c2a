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

__all__ = ["job_facts", "place_of", "sources_of", "start_facts"]


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
    if counts:
        facts["counts"] = (
            [pack_counts(part.counts) for part in parts.values()]
            if "sources" in facts
            else pack_counts(dataset.counts)
        )
    facts["state"] = json.loads(plan.state_text(at))
    return facts


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
        "stands": list(stands),
    }


def _public(url: str) -> str:
    """Without user names, passwords and signatures."""
    return re.sub(r"//[^/@]*@", "//", re.sub(r"\?[^,\s]*", "", url))
