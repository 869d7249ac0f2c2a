#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the training study: each part, order and seed; one line of JSON a finished run.

    study.py [--scale small|full] [--part a --part c] [--jobs 2]

A run that already has its line is not run again: after a cut, say the same again. protocol.md says
what is compared and by which rule; verdict.py makes the table. One thread a run, nice 10.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(HERE)]

import numpy as np  # noqa: E402
import plan  # noqa: E402
import torch  # noqa: E402
from orders import epoch_of  # noqa: E402
from training import TRAIN, stored_labels  # noqa: E402

import quality  # noqa: E402

WINDOWS = (1, 4, 32)
Key = tuple[str, str, str, int]


def key_of(line: dict[str, Any]) -> Key:
    return (line["scale"], line["part"], line["order"], line["seed"])


def finished(out: Path) -> dict[Key, dict[str, Any]]:
    """The runs of a file; a last line that was cut off is as if it had not been written."""
    found = {}
    for text in out.read_text().splitlines() if out.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[key_of(line)] = line
    return found


def mixing(part: plan.Part, order: str, seed: int, folder: Path) -> dict[str, Any]:
    """D(m) of the first epoch over the labels, of all rows and of rank 0's."""
    labels = stored_labels(part, folder)
    rows = labels[epoch_of(part, order, seed, 0, folder)]
    return {
        "d": [quality.design_effect(rows.reshape(-1), part.batch, m) for m in WINDOWS],
        "d_rank0": [
            quality.design_effect(rows[:, 0].reshape(-1), part.batch // part.ranks, m)
            for m in WINDOWS
        ],
    }


def run(key: Key, folder: Path) -> dict[str, Any]:
    scale, name, order, seed = key
    part = plan.parts(scale)[name]
    begin, cpu = time.monotonic(), time.process_time()
    figures = TRAIN[name](part, order, seed, folder)
    return {
        "scale": scale,
        "part": name,
        "order": order,
        "seed": seed,
        **figures,
        **mixing(part, order, seed, folder),
        "seconds": round(time.monotonic() - begin, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def quietly() -> None:
    """A guest on its machine; and one thread, so that sums are made in one order."""
    os.nice(10)
    torch.set_num_threads(1)


def run_packed(task: tuple[Key, Path]) -> dict[str, Any]:
    return run(*task)


def wanted(arguments: argparse.Namespace) -> list[Key]:
    """Seed after seed, so that a cut leaves whole comparisons."""
    parts = plan.parts(arguments.scale)
    return [
        (arguments.scale, name, order, seed)
        for seed in arguments.seeds
        for name in arguments.part or plan.PROTOCOL_PARTS
        for order in parts[name].orders
        if not arguments.order or order in arguments.order
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=list(plan.SIZES), default="small")
    parser.add_argument("--part", action="append", choices=list(TRAIN))
    parser.add_argument("--order", action="append", choices=plan.ORDERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=plan.SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a core each")
    parser.add_argument("--out", type=Path, help="default: results/SCALE.jsonl")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "train-study")
    arguments = parser.parse_args()
    out = arguments.out or HERE / "results" / f"{arguments.scale}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = finished(out)
    tasks = [(key, arguments.data) for key in wanted(arguments) if key not in done]
    print(f"{len(done)} runs done, {len(tasks)} to do, into {out}", flush=True)
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.jobs, initializer=quietly) as pool, out.open("a") as file:
        if file.tell() and not out.read_text().endswith("\n"):
            file.write("\n")  # the line that a cut left unfinished stays alone
        for line in pool.imap(run_packed, tasks):
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(*key_of(line), f"{line['points']:.2f}", f"{line['seconds']:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
