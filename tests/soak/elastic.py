# SPDX-License-Identifier: Apache-2.0
"""Saved on 8 ranks, resumed on other rank counts with the memory of a rank unchanged.

Exact (by `headrace audit`); bytes received over the stored bytes of what was delivered; requests over the least that the
plan needs; the memory's peak over its budget. Each case begins from one and the same state, in the middle of an epoch.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from job import Job, Life, common_state, fork, start, wait

import headrace as hr
from headrace.serve import Server

SAMPLES, SAMPLE_BYTES = 14_000, 115_000  # as ImageNet's
BLOCK, LANES = 2, 840  # a multiple of every rank count here
DATA = [
    "--synthetic",
    f"data=samples={SAMPLES},bytes={SAMPLE_BYTES},shard=64MB,format=tar,order=sorted",
]
SAVED_ON, WORLDS = 8, (8, 7, 6, 5, 3, 1, 12)
MEMORY = 24 << 20  # a rank
BATCH = 8  # a rank; so the global batch changes with the ranks
BYTES_RATIO_MAX = 1.05


def elastic() -> dict[str, Any]:
    rows = []
    with (
        Server(anonymous=True, words=[*DATA, "--first-byte-ms", "5"]) as server,
        tempfile.TemporaryDirectory() as scratch,
    ):
        job, facts = _job(server, Path(scratch))
        first = Life(0, SAVED_ON, BATCH, None, 10**6, run="saved")
        job.loader_options["epoch_size"] = SAMPLES // 5 * 2
        first.epochs = 1  # one virtual epoch: 40 %
        start(job, first)
        if any(codes := wait(first)):
            raise SystemExit(f"the life that saves failed: {codes}")
        state = common_state(job, first)
        assert state is not None
        for number, world in enumerate(WORLDS, 1):
            rows.append(_resume(job, facts, state, number, world))
            print(_line(rows[-1]), file=sys.stderr)
    return {
        "saved_on": SAVED_ON, "position": state["position"], "block": state["block"], "lanes": state["lanes"],
        "memory": MEMORY, "cases": rows, "ok": all(row["ok"] for row in rows),
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    return (
        f"on {row['world']:2} ranks: {row['verdict']}, bytes {row['bytes_ratio']:.4f}x, requests "
        f"{row['requests_factor']:.2f}x, memory peak {row['memory_peak'] / (1 << 20):.1f} of {MEMORY >> 20} MiB"
    )


def _job(server: Server, folder: Path) -> tuple[Job, dict[str, Any]]:
    options = {"endpoint_url": server.endpoint_url, "anonymous": True}
    index, facts = folder / "data.hridx", folder / "facts.json"

    def look() -> None:
        dataset = hr.open("s3://data/", **options)
        dataset.index(save=str(index))
        facts.write_text(json.dumps({"sample_bytes": dataset.core.sample_bytes / len(dataset)}))

    os.waitpid(fork(look), 0)
    loader = {
        "seed": 5,
        "memory": MEMORY,
        "remainder": "pad",
        "decode": {"cls": int},
        "block": BLOCK,
        "lanes": LANES,
    }
    job = Job(
        "s3://data/",
        {**options, "index": str(index)},
        loader,
        folder,
        step_seconds=0.0,
        state_every=10**9,
    )
    return job, json.loads(facts.read_text())


def _resume(
    job: Job, facts: dict[str, Any], state: dict[str, Any], number: int, world: int
) -> dict[str, Any]:
    """The rest of the epoch on ``world`` ranks; its ledgers, with those of the first life, judged by themselves."""
    here = Job(
        job.url, job.open_options, {k: v for k, v in job.loader_options.items() if k != "epoch_size"},
        job.folder / f"case-{number}", step_seconds=0.0, state_every=10**9,
    )  # fmt: skip
    shutil.copytree(job.ledgers, here.ledgers)
    life = Life(number, world, BATCH, state, 1, run=f"resumed-{world}")
    start(here, life)
    codes = wait(life)
    stats = [
        json.loads((life.states(here) / f"stats-{rank}").read_text())
        for rank in range(world)
        if not codes[rank]
    ]
    audit = hr.audit(here.ledgers, epoch=0)
    left = SAMPLES - state["position"]
    plan = hr.Order(_counts(here), block=state["block"], lanes=state["lanes"])
    received = sum(part["bytes_received"] for part in stats)
    ratio = received / (left * facts["sample_bytes"])
    peak = max((part["memory_peak"] for part in stats), default=0)
    least = plan.blocks * left / SAMPLES
    return {
        "world": world,
        "verdict": "exact" if audit.ok else "NOT EXACT",
        "bytes_ratio": round(ratio, 4),
        "requests": sum(part["requests"] for part in stats),
        "requests_factor": round(sum(part["requests"] for part in stats) / least, 3),
        "evictions": sum(part["evictions"] for part in stats),
        "memory_peak": peak,
        "ok": audit.ok and not any(codes) and ratio <= BYTES_RATIO_MAX and peak <= MEMORY,
    }


def _counts(job: Job) -> Any:
    from headrace.ledger_file import read_records, unpack_counts, unpack_json

    first = next(iter(read_records(next(job.ledgers.glob("*.ledger")))))
    return unpack_counts(unpack_json(first.payload)["counts"])  # type: ignore[union-attr]
