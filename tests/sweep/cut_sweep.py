# SPDX-License-Identifier: Apache-2.0
"""Cuts shards of every fixture off at every length, and counts what reading says.

    cut_sweep.py [--all-below 8192] [--ends 4096] [--spread 500] [--index-every 16] [--jobs 2] [--only NAME ...]

One row a data set, in Markdown, for docs/proofs.md. Cut are its shards whose names differ by more
than digits, of those that do not the smallest; the others stay whole beside it. Lengths: all of a
shard of at most --all-below bytes; of a larger one all of the first and last --ends bytes, and
--spread more evenly between. For each length

- *fresh*: the data set is opened, with an index made now, and every sample of the cut shard is read
  and decoded: an error, the same samples (what is missing belongs to none), fewer, or others.
- *index*: it is opened through an index made when it was whole, and read likewise; as the size
  alone decides, at each length that --index-every divides.

Fewer samples than there were is damage that nobody saw, unless no reader could see it: whole_files.py
says, without code of ours, whether what is left is itself a whole file of its format. Whatever it
does not say so of is *undetected*, and the exit status 1.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import logging
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/sweep")]

import every_format  # noqa: E402
import numpy as np  # noqa: E402
from test_every_format import decode_of  # noqa: E402
from whole_files import whole_file  # noqa: E402

import headrace as hr  # noqa: E402

KINDS = ("error", "same", "fewer", "undetected")


@dataclasses.dataclass(frozen=True)
class Task:
    """A shard that is cut."""

    case: every_format.Case
    shard: str  # beneath the fixture's data
    options: argparse.Namespace


def digest(value: Any) -> str:
    """Of all bytes of a decoded value, where repr() would leave most out."""
    if isinstance(value, np.ndarray):
        value = f"{value.dtype}{value.shape}".encode() + value.tobytes()
    if isinstance(value, dict):
        value = repr([(name, digest(one)) for name, one in value.items()])
    return hashlib.md5(value if isinstance(value, bytes) else repr(value).encode()).hexdigest()


class Cut:
    """A fixture copied to a folder where one of its shards is cut."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.case = task.case
        self.folder = folder
        root = folder / "data"
        shutil.copytree(every_format.FIXTURES / task.case.name / "data", root)
        self.shard = root / task.shard
        self.url = str(root) + task.case.where.removeprefix("data").rstrip("/")
        with self.opened() as ds:
            shards = [path_of(root, entry[0]) for entry in ds.shards]
            files = [path for path in root.rglob("*") if path.is_file()]
            if len(shards) > 1 and set(files) == set(shards):  # nothing speaks of the others
                self.url = str(self.shard)
        self.forever = self.opened()  # so that threads are not started anew at every length
        self.counted = self.forever.counted
        self.decode = None if self.counted else decode_of(self.forever)
        self.truth = self.rows()
        self.saved = str(folder / "before.idx")
        if self.counted:
            self.forever.core.save_index(self.saved)

    def opened(self, **options):
        where = {"save": None, "index_dir": str(self.folder / "none")}
        return hr.open(self.url, **where, **self.case.options, **options)

    def rows(self, **options) -> list[str]:
        """What the samples of the cut shard are; of a stream, all."""
        with self.opened(**options) as ds:
            if ds.counted:
                first = 0
                for key, _, count, _ in ds.shards:
                    if str(self.shard).endswith("/" + key):
                        return [digest(ds[i]) for i in range(first, first + count)]
                    first += count
                return []
            order = {"batch_size": 64, "seed": 1, "slots": 1, "streams": 1, "decode": self.decode}
            loader = ds.loader(**order, remainder="pad")
            with contextlib.closing(loader):
                return [
                    digest(repr([batch[name][row] for name in batch]))
                    for batch in loader
                    for row in np.flatnonzero(batch.valid)
                ]

    def outcome(self, **options) -> str:
        try:
            rows = self.rows(**options)
        except hr.Error:
            return "error"
        if rows == self.truth:
            return "same"
        if self.counted:  # the last may have lost fields
            kept = rows[:-1] == self.truth[: len(rows)][:-1] and len(rows) <= len(self.truth)
        else:
            kept = not Counter(rows[:-1]) - Counter(self.truth)
        return "fewer" if kept and whole_file(self.shard) else "undetected"


def path_of(root: Path, key: str) -> Path:
    """Of a shard, by the end of its name: keys are relative to where the data set begins."""
    return next(p for p in root.rglob("*") if p.is_file() and str(p).endswith("/" + key))


def lengths(size: int, options: argparse.Namespace) -> list[int]:
    """Descending: a file is cut, not written again."""
    if size <= options.all_below:
        return list(range(size - 1, -1, -1))
    between = range(0, size, max(1, size // options.spread))
    return sorted(
        {*range(options.ends), *range(max(0, size - options.ends), size), *between}, reverse=True
    )


def run(task: Task) -> tuple[Task, Counter]:
    """Counts of (way, outcome) at all lengths of a shard."""
    logging.getLogger("headrace").setLevel("ERROR")  # what it says of each length
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            cut = Cut(task, Path(folder))
        except hr.UnsupportedError:  # complex numbers: refused when whole
            return task, counts
        size = cut.shard.stat().st_size
        counts["bytes"] = size
        for length in lengths(size, task.options):
            os.truncate(cut.shard, length)
            ways: dict[str, dict[str, str]] = {"fresh": {}}
            if cut.counted and length % task.options.index_every == 0:
                ways["index"] = {"index": cut.saved}
            for way, options in ways.items():
                found = cut.outcome(**options)
                counts[way, found] += 1
                if found == "undetected":
                    print(f"{task.case.title} {task.shard} {way} at {length}", file=sys.stderr)
        cut.forever.close()
    return task, counts


def tasks_of(case: every_format.Case, options: argparse.Namespace) -> list[Task]:
    """A shard of each kind of name, the smallest of its kind."""
    data = every_format.FIXTURES / case.name / "data"
    url = str(data) + case.where.removeprefix("data").rstrip("/")
    with (
        tempfile.TemporaryDirectory() as folder,
        hr.open(url, save=None, index_dir=folder, **case.options) as ds,
    ):
        paths = sorted(
            (path_of(data, entry[0]) for entry in ds.shards), key=lambda p: -p.stat().st_size
        )
    kinds = {re.sub(r"\d+", "#", path.name): path for path in paths if path.stat().st_size}
    return [Task(case, str(path.relative_to(data)), options) for path in kinds.values()]


def work(tasks: list[Task]) -> int:
    """Lengths of a data set's shards: the least work comes first."""
    data = every_format.FIXTURES / tasks[0].case.name / "data"
    return sum(len(lengths((data / t.shard).stat().st_size, t.options)) for t in tasks)


def line(case: every_format.Case, done: list[Counter]) -> str:
    done = [counts for counts in done if counts]
    total = sum(done, Counter())

    def cell(way: str) -> str:
        found = [total[way, kind] for kind in KINDS]
        return " / ".join(map(str, found)) if any(found) else "stream"

    tried = sum(total["fresh", kind] for kind in KINDS)
    return f"| `{case.title}` | {len(done)} | {total['bytes']:,} | {tried:,} | {cell('fresh')} | {cell('index')} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--all-below", type=int, default=8192, help="bytes: every length of these")
    parser.add_argument("--ends", type=int, default=4096, help="of larger ones, at both ends")
    parser.add_argument("--spread", type=int, default=500, help="and as many evenly between")
    parser.add_argument("--index-every", type=int, default=16, help="lengths")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", action="append", default=[], help="names that begin with it")
    options = parser.parse_args()
    wanted = [
        c
        for c in every_format.cases()
        if not options.only or c.name.startswith(tuple(options.only))
    ]
    todo = {case.title: tasks_of(case, options) for case in wanted}
    done: dict[str, list[Counter]] = {title: [] for title in todo}
    total: Counter = Counter()
    print("| data set | shards | bytes | lengths | fresh index | index made before |", flush=True)
    print("|---|---|---|---|---|---|")
    flat = [task for tasks in sorted(todo.values(), key=work) for task in tasks]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for task, counts in pool.imap_unordered(run, flat, chunksize=1):
            title = task.case.title
            done[title].append(counts)
            total += counts
            if len(done[title]) == len(todo[title]):
                print(line(task.case, done[title]), flush=True)
    undetected = total["fresh", "undetected"] + total["index", "undetected"]
    print(f"all: {dict(total)}", file=sys.stderr)
    return 1 if undetected else 0


if __name__ == "__main__":
    sys.exit(main())
