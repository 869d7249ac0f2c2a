# SPDX-License-Identifier: Apache-2.0
"""Longer proofs than `make test` has time for. Each prints one line of JSON and exits 0 or 1.

    soak.py kills --kills 50      SIGKILL at random moments, resume on a random rank count: nothing lost, nothing twice
    soak.py cgroup --processes 8  that many loaders under one memory limit: none is killed

Recorded results: docs/proofs.md. Run from the tree after `make native`: .venv/bin/python tests/soak/soak.py ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import headrace as hr
from headrace.serve import Server

SYNTHETIC = ["--synthetic", "data=samples=20000,bytes=20000,shard=32MB,format=tar,order=sorted"]
GLOBAL_BATCH, BLOCK, LANES, SEED = 48, 6, 48, 11

# Ranks import numpy only, so that a life is short and most of it is streaming.
RANK = """
import json, os, sys, time
import headrace as hr
options, rank, world, folder, state_path, epochs = json.loads(sys.argv[1]), *map(int, sys.argv[2:4]), *sys.argv[4:6], int(sys.argv[6])
ds = hr.open('s3://data/', **options)
loader = ds.loader(global_batch_size=%d, block=%d, lanes=%d, seed=%d, memory='32MiB', rank=rank, world_size=world,
                   decode={'cls': int})
if os.path.exists(state_path):
    loader.load_state_dict(json.load(open(state_path)))
with open(f'{folder}/ledger-{rank}', 'a') as ledger:
    for epoch in loader.epochs(epochs):
        for batch in loader:
            ledger.write(json.dumps([loader.step, batch.ids[batch.valid].tolist()]) + '\\n')
            ledger.flush()
            if loader.step %% 7 == 0:
                mine = f'{folder}/state-{rank}'
                with open(mine + '.new', 'w') as f:
                    json.dump(loader.state_dict(), f)
                os.replace(mine + '.new', mine)
            time.sleep(0.001)
""" % (GLOBAL_BATCH, BLOCK, LANES, SEED)


def steps_of(folder: Path, world: int) -> dict[int, list[int]]:
    """step -> sample numbers, of the steps that every rank wrote down whole."""
    ranks: list[dict[int, list[int]]] = []
    for rank in range(world):
        path = folder / f"ledger-{rank}"
        entries: dict[int, list[int]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                step, numbers = json.loads(line)
            except ValueError:
                continue  # cut by the kill
            entries[step] = numbers
        ranks.append(entries)
    common = set.intersection(*(set(entries) for entries in ranks))
    return {step: sorted(i for entries in ranks for i in entries[step]) for step in common}


def keep_common_state(folder: Path, world: int, state: Path) -> None:
    """What a checkpoint of all ranks holds: the newest step that every one of them reached."""
    paths = [folder / f"state-{rank}" for rank in range(world)]
    if all(path.exists() for path in paths):
        states = [json.loads(path.read_text()) for path in paths]
        first = min(states, key=lambda s: (s["epoch"], s["position"]))
        state.write_text(json.dumps(first))


def kills(arguments: argparse.Namespace) -> dict[str, object]:
    rng = random.Random(arguments.seed)
    trained: dict[int, list[int]] = {}
    repeated_differently = 0
    with Server(anonymous=True, words=SYNTHETIC) as server, tempfile.TemporaryDirectory() as scratch:
        state, worlds = Path(scratch, "state.json"), []
        options = {"endpoint_url": server.endpoint_url, "anonymous": True}
        hr.open("s3://data/", **options).close()  # builds the index once
        epochs = 1000
        for life in range(arguments.kills + 1):
            world = rng.choice([1, 2, 3, 4, 6, 8])
            worlds.append(world)
            folder = Path(scratch, f"life-{life}")
            folder.mkdir()
            if life == arguments.kills:  # the last one ends the epoch that the job is in
                epochs = json.loads(state.read_text())["epoch"] + 1
            ranks = [
                subprocess.Popen(
                    [sys.executable, "-c", RANK, json.dumps(options), str(rank), str(world), str(folder),
                     str(state), str(epochs)],
                )
                for rank in range(world)
            ]  # fmt: skip
            if life < arguments.kills:
                time.sleep(rng.uniform(0.5, 1.0 + 0.4 * world))
                for process in ranks:
                    process.kill()
            codes = [process.wait() for process in ranks]
            keep_common_state(folder, world, state)
            if life == arguments.kills and any(codes):
                raise SystemExit(f"the last life failed: {codes}")
            for step, numbers in steps_of(folder, world).items():
                repeated_differently += trained.get(step, numbers) != numbers
                trained[step] = numbers
        calm = hr.open("s3://data/", **options).loader(
            global_batch_size=GLOBAL_BATCH, block=BLOCK, lanes=LANES, seed=SEED, memory="64MiB",
            decode={"cls": int},
        )  # fmt: skip
        want: dict[int, list[int]] = {}
        for _ in calm.epochs(epochs):
            for batch in calm:
                want[calm.step] = sorted(batch.ids[batch.valid].tolist())
    return {
        "kills": arguments.kills, "worlds": worlds, "epochs": epochs, "steps": len(want),
        "samples": sum(map(len, want.values())), "missing_steps": len(set(want) - set(trained)),
        "repeated_differently": repeated_differently, "ledger": ledger_hash(trained),
        "ledger_of_one_calm_run": ledger_hash(want), "ok": trained == want and not repeated_differently,
    }  # fmt: skip


def ledger_hash(steps: dict[int, list[int]]) -> str:
    return hashlib.sha256(json.dumps(sorted(steps.items())).encode()).hexdigest()[:32]


LOADER = """
import json, sys, time
import headrace as hr
options, rank, world, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
loader = hr.open('s3://data/', **options).loader(batch_size=64, rank=rank, world_size=world)
end, rows = time.monotonic() + seconds, 0
for epoch in loader.epochs(1000):
    for batch in loader:
        rows += len(batch.ids)
        if time.monotonic() > end:
            print(rows)
            sys.exit(0)
"""


class MemoryGroup:
    """A memory cgroup (version 1 or 2) of this machine; needs root."""

    def __init__(self, limit: int) -> None:
        v1 = Path("/sys/fs/cgroup/memory")
        self.path = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"headrace-soak-{os.getpid()}"
        self.path.mkdir()
        self.v1 = v1.is_dir()
        (self.path / ("memory.limit_in_bytes" if self.v1 else "memory.max")).write_text(str(limit))

    def join(self) -> None:
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> int:
        name = "memory.max_usage_in_bytes" if self.v1 else "memory.peak"
        return int((self.path / name).read_text())

    def remove(self) -> None:
        self.path.rmdir()


def cgroup(arguments: argparse.Namespace) -> dict[str, object]:
    group = MemoryGroup(arguments.limit)
    big = ["--synthetic", "data=samples=400000,bytes=115000,shard=64MB,format=tar"]
    try:
        with Server(anonymous=True, words=[*big, "--profile", "s3"]) as server:
            options = {"endpoint_url": server.endpoint_url, "anonymous": True, "index": str(arguments.index)}
            if not arguments.index.exists():
                ds = hr.open("s3://data/", endpoint_url=server.endpoint_url, anonymous=True)
                ds.index(save=str(arguments.index))
                ds.close()
            world = arguments.processes
            loaders = [
                subprocess.Popen(
                    [sys.executable, "-c", LOADER, json.dumps(options), str(rank), str(world),
                     str(arguments.seconds)],
                    stdout=subprocess.PIPE, text=True, preexec_fn=group.join,
                    env={**os.environ, "LOCAL_WORLD_SIZE": str(world)},
                )
                for rank in range(world)
            ]  # fmt: skip
            rows = [process.communicate()[0].strip() for process in loaders]
            codes = [process.returncode for process in loaders]
        return {
            "processes": world, "limit": arguments.limit, "peak": group.peak(), "seconds": arguments.seconds,
            "rows": [int(r or 0) for r in rows], "exit_codes": codes, "ok": not any(codes),
        }  # fmt: skip
    finally:
        group.remove()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    proofs = parser.add_subparsers(required=True)
    killing = proofs.add_parser("kills")
    killing.add_argument("--kills", type=int, default=50)
    killing.add_argument("--seed", type=int, default=1)
    killing.set_defaults(run=kills)
    limited = proofs.add_parser("cgroup")
    limited.add_argument("--processes", type=int, default=8)
    limited.add_argument("--limit", type=int, default=4 << 30, help="bytes")
    limited.add_argument("--seconds", type=float, default=20)
    limited.add_argument("--index", type=Path, default=Path(tempfile.gettempdir(), "headrace-soak.hridx"))
    limited.set_defaults(run=cgroup)
    arguments = parser.parse_args()
    result = arguments.run(arguments)
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
