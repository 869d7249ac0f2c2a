# SPDX-License-Identifier: Apache-2.0
"""A training job in small, for proofs: rank processes that stream, keep states and write ledgers, and can be killed.

The ranks are forked from a process that has imported headrace and used none of it, so that a life costs milliseconds
before its first batch. numpy only; no process group: nothing makes the ranks wait for each other.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headrace as hr


@dataclass
class Job:
    """What stays the same over all lives."""

    url: str
    open_options: dict[str, Any]
    loader_options: dict[str, Any]
    folder: Path  # ledgers and states
    step_seconds: float = 0.001  # what a trainer would do with a batch
    state_every: int = 5  # steps between two states of a rank

    @property
    def ledgers(self) -> Path:
        return self.folder / "ledger"


@dataclass
class Life:
    """One start of the job on ``world`` ranks."""

    number: int
    world: int
    batch: int  # a rank
    state: dict[str, Any] | None
    epochs: int  # it ends by itself before this epoch
    run: str = ""  # HEADRACE_RUN_ID, or "": ranks do not know that they belong together
    pids: list[int] = field(default_factory=list)

    def states(self, job: Job) -> Path:
        return job.folder / f"life-{self.number}"


def train(job: Job, life: Life, rank: int) -> None:
    """One rank's whole life."""
    os.environ.pop("HEADRACE_RUN_ID", None)
    if life.run:
        os.environ["HEADRACE_RUN_ID"] = life.run
    dataset = hr.open(job.url, **job.open_options)
    loader = dataset.loader(
        batch_size=life.batch,
        rank=rank,
        world_size=life.world,
        ledger=job.ledgers,
        **job.loader_options,
    )
    if life.state is not None:
        loader.load_state_dict(life.state)
    path = life.states(job) / f"state-{rank}"
    steps = 0
    for _ in loader.epochs(life.epochs):
        for _ in loader:
            steps += 1
            if steps % job.state_every == 0:
                path.with_suffix(".new").write_text(json.dumps(loader.state_dict()))
                os.replace(path.with_suffix(".new"), path)
            time.sleep(job.step_seconds)
    (life.states(job) / f"end-{rank}").write_text(json.dumps(loader.state_dict()))
    (life.states(job) / f"stats-{rank}").write_text(json.dumps(loader.stats()))
    loader.close()


def fork(body: Callable[[], None]) -> int:
    """A child process that runs ``body`` and leaves without cleaning up what it shares with this one."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def start(job: Job, life: Life) -> None:
    """Forks the ranks."""
    life.states(job).mkdir(parents=True)
    for rank in range(life.world):
        life.pids.append(fork(lambda rank=rank: train(job, life, rank)))


def kill(life: Life) -> None:
    for pid in life.pids:
        os.kill(pid, signal.SIGKILL)


def wait(life: Life) -> list[int]:
    """Exit codes; negative: killed by that signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in life.pids]


def last_state(job: Job, life: Life, rank: int) -> dict[str, Any] | None:
    for name in (f"end-{rank}", f"state-{rank}"):
        path = life.states(job) / name
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text())
            return state
    return None


def common_state(job: Job, life: Life) -> dict[str, Any] | None:
    """What a checkpoint of all ranks holds: the newest state that every one of them had reached."""
    states = [last_state(job, life, rank) for rank in range(life.world)]
    known = [state for state in states if state is not None]
    if len(known) < life.world:
        return life.state
    return min(
        known, key=lambda s: (s["epoch"], 0 if s["position"] <= s["drop"] else s["position"])
    )
