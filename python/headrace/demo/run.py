# SPDX-License-Identifier: Apache-2.0
"""Runs the demo: server, trainer, SIGKILL half way, resume, and the figures of the report.

Drawing is the command line's business (cli/demo.py); this module tells it what happens through
``tell``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace.demo import data
from headrace.errors import Error
from headrace.serve import Server

__all__ = ["EPOCHS", "run_demo"]

EPOCHS = 6
_SILENCE_SECONDS_MAX = 120  # importing torch on a busy machine takes ten

# event name, facts
Tell = Callable[[str, dict[str, Any]], None]


def run_demo(tell: Tell, epochs: int = EPOCHS, profile: str = "s3") -> dict[str, Any]:
    """The whole demo; returns the figures of the report (product keys of ``headrace demo
    --json``)."""
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as name:
        folder = Path(name)
        tell("writing", {})
        train_samples, valid_samples = data.write_digits(folder / "buckets")
        tell("data", {"train": train_samples, "valid": valid_samples})
        work = folder / "work"
        work.mkdir()
        with Server(folder / "buckets", profile=profile) as server:
            tell("server", {"url": server.endpoint_url, "profile": profile})
            environment = {
                **os.environ,
                **server.environment,
                "XDG_CACHE_HOME": str(folder / "cache"),
            }
            killed_at = _train(work, epochs, environment, tell, kill_half_way=True)
            tell("killed", {"step": killed_at})
            _train(work, epochs, environment, tell, kill_half_way=False)
            served = server.stats()
        return _figures(work, epochs, killed_at, served)


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What the trainer says; one that says nothing for too long is ended."""
    assert process.stdout is not None
    watch = threading.Timer(_SILENCE_SECONDS_MAX, process.kill)
    watch.start()
    try:
        for line in process.stdout:
            watch.cancel()
            watch = threading.Timer(_SILENCE_SECONDS_MAX, process.kill)
            watch.start()
            if line.startswith("{"):
                yield json.loads(line)
    finally:
        watch.cancel()


def _train(
    work: Path, epochs: int, environment: dict[str, str], tell: Tell, *, kill_half_way: bool
) -> int:
    """One life of the trainer; returns the last step it told of."""
    command = [sys.executable, "-m", "headrace.demo.trainer", str(work), str(epochs)]
    errors = work / "errors.txt"
    step, steps = 0, 1
    with (
        open(errors, "w") as log,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            for event in _events(process):
                step, steps = event.get("step", step), event.get("steps", steps)
                tell(event.pop("event"), event)
                if kill_half_way and step >= steps // 2:
                    process.send_signal(signal.SIGKILL)
                    break
        except BaseException:
            process.kill()
            raise
    ended = process.returncode
    if ended != (-signal.SIGKILL if kill_half_way else 0):
        said = (
            errors.read_text()[-3000:].strip() or "no error text (killed, or silent for too long)"
        )
        raise Error(f"demo: the trainer ended with status {ended} at step {step}: {said}")
    return step


def _exactly_once(work: Path, epochs: int, samples: int) -> bool:
    """Each sample of each epoch stands once in the ledger of the steps that the model was trained
    on."""
    delivered: list[Counter[int]] = [Counter() for _ in range(epochs)]
    with open(work / "ledger.jsonl") as ledger:
        for line in ledger:
            entry = json.loads(line)
            delivered[entry["epoch"]].update(entry["ids"])
    once = Counter(range(samples))
    return all(epoch == once for epoch in delivered)


def _figures(work: Path, epochs: int, killed_at: int, served: dict[str, Any]) -> dict[str, Any]:
    report = json.loads((work / "report.json").read_text())
    stats = report["stats"]
    # Of the second life, as all of stats: one request for each block of the epochs that it trained.
    least = stats["rows"] / report["block"]
    return {
        "samples_per_s": round(stats["samples_per_s"], 1),
        "first_batch_s": round(stats["first_batch_s"], 4),
        "wait_share": round(stats["wait_share"], 4),
        "wait_sentence": report["sentence"],
        "gets": stats["requests"],
        "gets_min": round(least),
        "bytes_ratio": round(stats["bytes_ratio"], 4),
        "order_d32": report["order_d32"],
        "exactly_once": _exactly_once(work, epochs, report["samples"]),
        "accuracy_first": round(report["accuracies"][0], 4),
        "accuracy_last": round(report["accuracies"][-1], 4),
        "epochs": epochs,
        "samples": report["samples"],
        "killed_at_step": killed_at,
        "block": report["block"],
        "lanes": report["lanes"],
        "memory_peak": stats["memory_peak"],
        "server": served,
    }
