# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments, resumed on random rank counts and batch sizes: nothing lost, repeated or reordered.

Every life is 1-8 real processes; each is killed at a moment of its own, so that ranks end at different steps and also in
the middle of a write. The next life goes on from the newest state that all ranks had reached. `headrace audit` judges the
ledgers of all lives.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from job import Job, Life, common_state, start, wait

import headrace as hr
from headrace.serve import Server

SAMPLES = 1200
DATA = ["--synthetic", f"data=samples={SAMPLES},bytes=1500,shard=250KB,format=tar,order=sorted"]
WORLDS = (1, 2, 3, 4, 5, 6, 7, 8)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16)  # a rank


def kills(cycles: int, seed: int) -> dict[str, Any]:
    """``cycles`` lives that are killed, and one that ends its epoch."""
    rng = random.Random(seed)
    began = time.monotonic()
    with Server(anonymous=True, words=DATA) as server, tempfile.TemporaryDirectory() as scratch:
        job = _job(server, Path(scratch), rng)
        state, worlds, killed = None, Counter[int](), 0
        for number in range(cycles + 1):
            last = number == cycles
            life = Life(
                number, rng.choice(WORLDS), rng.choice(BATCHES), state, 10**6,
                run=f"life-{number}" if rng.random() < 0.5 else "",
            )  # fmt: skip
            if last:
                life.epochs = (state or {"epoch": 0})["epoch"] + 1
            worlds[life.world] += 1
            start(job, life)
            if not last:
                killed += _kill_each(life, rng)
            elif any(codes := wait(life)):
                raise SystemExit(f"the last life failed: {codes}")
            state = common_state(job, life)
        audit = hr.audit(job.ledgers)
    return {
        "cycles": cycles, "seed": seed, "remainder": job.loader_options["remainder"], "killed": killed,
        "worlds": dict(sorted(worlds.items())), **summary(audit),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def summary(audit: hr.Audit) -> dict[str, Any]:
    """What a line of JSON says of an audit."""
    return {
        "ledgers": audit.files,
        "epochs_proven": sum(epoch.proven for epoch in audit.epochs),
        "rows": audit.rows,
        "superseded": audit.superseded_rows,
        "lost": sum(epoch.missing for epoch in audit.epochs),
        "repeated": sum(epoch.repeated for epoch in audit.epochs),
        "reordered": sum(epoch.misplaced for epoch in audit.epochs),
        "problems": audit.problem_counts,
        "torn": audit.note_counts.get("torn", 0),
        "ok": audit.ok and any(epoch.proven for epoch in audit.epochs),
    }


def _job(server: Server, folder: Path, rng: random.Random) -> Job:
    options = {"endpoint_url": server.endpoint_url, "anonymous": True}
    index = folder / "data.hridx"
    if os.fork() == 0:  # this process stays without threads, so that it can fork ranks
        hr.open("s3://data/", **options).index(save=str(index))
        os._exit(0)
    os.wait()
    return Job(
        "s3://data/",
        {**options, "index": str(index)},
        {
            "block": 5, "lanes": 48, "seed": rng.randrange(2**64), "memory": "16MiB", "decode": {"cls": int},
            "remainder": rng.choice(["drop", "pad", "wrap"]),
        },
        folder,
        state_every=rng.randint(1, 7),
    )  # fmt: skip


def _kill_each(life: Life, rng: random.Random) -> int:
    """Kills every rank at its own moment, before its first batch or hundreds of steps later."""
    longest = 0.15 + 0.05 * life.world
    moments = sorted((rng.uniform(0.02, longest), pid) for pid in life.pids)
    begin = time.monotonic()
    for moment, pid in moments:
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        os.kill(pid, signal.SIGKILL)
    codes = wait(life)
    if set(codes) != {-signal.SIGKILL}:
        raise SystemExit(f"life {life.number}: a rank ended by itself: {codes}")
    return len(codes)
