# SPDX-License-Identifier: Apache-2.0
"""Flips bits of every fixture, and counts what reading says (cuts: cut_sweep.py).

    damage_sweep.py [--index-flips 200000] [--fresh-flips 100] [--jobs 2] [--only NAME ...]

One row a data set, in Markdown, for docs/proofs.md. A flip is one bit of a byte, spread evenly over
all shards; as many flips as bytes are one in every byte. *index*: the shard was damaged after its
index was made, and the samples there are read through that index, with our checksums
(``check=True``); of units (Parquet, Arrow) one flip costs an open and a decoder, so that there are
--unit-flips of them (src/format/unit_checks_test.cc has every bit). *fresh*: the index is made of the damaged shard and everything is read, with nothing
but the format's own checks. Each is an error (detected), the same data (harmless: padding, names
nobody reads), or other data (undetected). Local files: what a store adds (ETags) is left out.
"""

import argparse
import dataclasses
import multiprocessing
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

import every_format  # noqa: E402
from test_every_format import decode_of  # noqa: E402

import headrace as hr  # noqa: E402


@dataclasses.dataclass
class Counts:
    """What damage did."""

    error: int = 0
    same: int = 0
    wrong: int = 0

    def add(self, outcome: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)

    def __str__(self) -> str:
        total = self.error + self.same + self.wrong
        return f"{self.error} / {self.same} / {self.wrong}" if total else "none"


class Sweep:
    """One way to open one fixture, copied to a folder where it is damaged."""

    def __init__(self, case: every_format.Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.root = folder / "data"
        shutil.copytree(every_format.FIXTURES / case.name / "data", self.root)
        self.url = str(self.root) + case.where.removeprefix("data").rstrip("/")
        with self.open() as ds:
            self.counted = ds.counted
            self.units = ds.core.unit_counts() is not None
            self.shards = [self.path_of(entry[0]) for entry in ds.shards]
        self.truth = self.read_all()

    def path_of(self, key: str) -> Path:
        """Of a shard, by the end of its name: keys are relative to where the data set begins."""
        found = [p for p in self.root.rglob("*") if p.is_file() and str(p).endswith("/" + key)]
        return found[0]

    def open(self, **options):
        return hr.open(
            self.url,
            save=None,
            index_dir=str(self.folder / "index"),
            **self.case.options,
            **options,
        )

    def read_all(self) -> list[str]:
        """Every sample, in an order that is always the same."""
        with self.open() as ds:
            if ds.core.unit_counts() is not None:
                return [repr(row) for row in ds]
            if ds.counted:  # samples may lack fields, which a batch cannot
                return [repr(ds.raw(i)) for i in range(len(ds))]
            order = {"slots": 1, "streams": 1}
            loader = ds.loader(batch_size=16, seed=1, decode=decode_of(ds), **order)
            rows = [
                repr([batch[n][r] for n in batch])
                for batch in loader
                for r in range(len(batch.ids))
            ]
            loader.close()
            return rows

    def fresh(self) -> str:
        try:
            return "same" if self.read_all() == self.truth else "wrong"
        except (hr.Error, UnicodeDecodeError):
            return "error"

    def flips(self, number: int):
        """(path, offset, bit), spread evenly over all shards."""
        total = sum(p.stat().st_size for p in self.shards)
        step = max(1, total // number)
        at = 0
        for path in self.shards:
            size = path.stat().st_size
            while at < size:
                yield path, at, (at * 2654435761 >> 7) % 8
                at += step
            at -= size

    def damaged(self, path: Path, at: int, bit: int, outcome) -> str:
        """What `outcome()` says while one bit is flipped."""
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            for value in (byte ^ 1 << bit, byte):
                file.seek(at)
                file.write(bytes([value]))
                file.flush()
                if value != byte:
                    result = outcome()
        return result

    def through_index(self, number: int, counts: Counts, **options) -> None:
        """Flips of bytes that samples have, read through an index that was made before."""
        saved = str(self.folder / f"before-{len(options)}.idx")
        with self.open(**options) as ds:
            ds.core.save_index(saved)
        with self.open(index=saved, trust="copy") as ds:
            owners: dict[tuple[str, int, int], list[int]] = {}
            for i in range(len(ds)):
                owners.setdefault(ds.extent(i), []).append(i)
            by_path: dict[Path, list] = {}
            truth: dict[int, dict[str, bytes]] = {}
            for (key, begin, size), rows in owners.items():
                by_path.setdefault(self.path_of(key), []).append((begin, begin + size, rows))

            def outcome() -> str:
                try:
                    good = all(ds.raw(i) == truth[i] for i in rows)
                except hr.Error:
                    return "error"
                return "same" if good else "wrong"

            for path, at, bit in self.flips(number):
                rows = [i for b, e, own in by_path.get(path, []) if b <= at < e for i in own]
                for i in rows:
                    if i not in truth:
                        truth[i] = ds.raw(i)
                if rows:
                    counts.add(self.damaged(path, at, bit, outcome))

    def through_index_of_units(self, number: int, counts: Counts) -> None:
        """Flips of any bytes; each is read anew, since a data set keeps the last unit."""
        saved = str(self.folder / "before-units.idx")
        with self.open(check=True) as ds:
            ds.core.save_index(saved)
            samples = range(len(ds))

        def outcome() -> str:
            try:
                with self.open(index=saved, trust="copy") as ds:
                    good = all(repr(ds[i]) == self.truth[i] for i in samples)
            except hr.Error:
                return "error"
            return "same" if good else "wrong"

        for path, at, bit in self.flips(number):
            counts.add(self.damaged(path, at, bit, outcome))


def row_of(case: every_format.Case, options: argparse.Namespace) -> str:
    """A row of the table."""
    checked, fresh = Counts(), Counts()
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(case, Path(folder))
        size = sum(path.stat().st_size for path in sweep.shards)
        if sweep.units:
            sweep.through_index_of_units(options.unit_flips, checked)
        elif sweep.counted:
            sweep.through_index(min(size, options.index_flips), checked, check=True)
        for path, at, bit in sweep.flips(options.fresh_flips):
            fresh.add(sweep.damaged(path, at, bit, sweep.fresh))
    return f"| `{case.title}` | {size:,} | {checked if sweep.counted else 'stream'} | {fresh} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--index-flips", type=int, default=200_000, help="of each data set at most")
    parser.add_argument("--unit-flips", type=int, default=1000, help="of each with units")
    parser.add_argument(
        "--fresh-flips", type=int, default=100, help="of each, without an index before"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="begins with it"
    )
    options = parser.parse_args()
    print("| data set | bytes | index with checksums | fresh index |")
    print("|---|---|---|---|")
    cases = [
        (case, options)
        for case in every_format.cases()
        if not options.only or any(case.name.startswith(name) for name in options.only)
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for row in pool.starmap(row_of, cases, chunksize=1):
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
