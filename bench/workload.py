# SPDX-License-Identifier: Apache-2.0
"""The benchmark's samples, written in the formats that the contenders read.

8,192 samples of about 115 KB of incompressible bytes, each beginning with its number, with an int
label; stored sorted by class, the hardest order for a shuffle. Tars are written by webdataset's own
writer, with its default PAX headers and without; MDS by mosaicml-streaming's (peers/make_mds.py).
Everything is a pure function of the sizes: two machines measure the same bytes.
"""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Workload:
    """Sizes of a data set; samples and their labels follow from them."""

    samples: int = 8192
    mean_bytes: int = 115_600
    classes: int = 64
    shard_bytes: int = 64_000_000

    @classmethod
    def of(cls, samples: int) -> Workload:
        """Fewer samples for a quick try, in as many shards."""
        return cls(samples=samples, shard_bytes=cls.shard_bytes * samples // cls.samples)

    @property
    def label_run(self) -> int:
        """Samples in a row with one label."""
        return -(-self.samples // self.classes)

    @property
    def name(self) -> str:
        return f"{self.samples}x{self.mean_bytes}"

    def label(self, i: int) -> int:
        return i // self.label_run

    def payload(self, i: int) -> bytes:
        """The sample's number in 8 bytes, then random bytes; lengths vary by up to 20 %."""
        random = np.random.default_rng([i, 0x68647263])
        most = max(8, self.mean_bytes // 5)
        length = max(16, self.mean_bytes + int(random.integers(-most, most + 1)))
        return i.to_bytes(8, "little") + random.bytes(length - 8)

    def write_tars(self, folder: Path, *, pax: bool) -> None:
        """Shards as webdataset.ShardWriter makes them; a float mtime gives each member PAX."""
        import webdataset

        folder.mkdir(parents=True)
        mtime = 1_600_000_000.5 if pax else 1_600_000_000
        pattern = str(folder / "train-%06d.tar")
        with webdataset.ShardWriter(
            pattern, maxcount=10**9, maxsize=self.shard_bytes, mtime=mtime, verbose=0
        ) as writer:
            for i in range(self.samples):
                writer.write(
                    {"__key__": f"{i:08d}", "bin": self.payload(i), "cls": str(self.label(i))}
                )

    def write_by_peer(self, name: str, folder: Path, peers_python: str) -> None:
        """MDS or litdata, by their own writers."""
        numbers = (self.samples, self.mean_bytes, self.classes, self.shard_bytes)
        script = PEERS / f"make_{name}.py"
        subprocess.run([peers_python, str(script), str(folder), *map(str, numbers)], check=True)


@dataclass(frozen=True)
class Stored:
    """A data set on disk: `root`/`bucket` holds the shards."""

    root: Path
    bucket: str

    @property
    def folder(self) -> Path:
        return self.root / self.bucket

    @property
    def shards(self) -> list[str]:
        """Shard keys in order."""
        return sorted(
            file.name for file in self.folder.iterdir() if file.suffix in (".tar", ".mds")
        )

    @property
    def url(self) -> str:
        """What a user of headrace would write."""
        if self.bucket == "mds":
            return f"s3://{self.bucket}/"
        return f"s3://{self.bucket}/train-{{000000..{len(self.shards) - 1:06d}}}.tar"

    def table(self) -> np.ndarray:
        """int64 [samples, 4]: shard, offset and length of each .bin member, label (tars only)."""
        cached = self.root / f"{self.bucket}.table.npy"
        if cached.exists():
            return np.load(cached)
        rows = []
        for number, shard in enumerate(self.shards):
            with tarfile.open(self.folder / shard) as tar:
                payload: tarfile.TarInfo | None = None
                for member in tar:
                    if member.name.endswith(".bin"):
                        payload = member
                    elif member.name.endswith(".cls") and payload is not None:
                        label = int(tar.extractfile(member).read())  # type: ignore[union-attr]
                        rows.append((number, payload.offset_data, payload.size, label))
        table = np.array(rows, np.int64)
        np.save(cached, table)
        return table

    @property
    def table_file(self) -> Path:
        self.table()
        return self.root / f"{self.bucket}.table.npy"

    def nbytes(self) -> int:
        return sum((self.folder / shard).stat().st_size for shard in self.shards)


def make(root: Path, workload: Workload, peers_python: str | None) -> dict[str, Stored]:
    """The data sets under `root`, written where they are not there yet."""
    root = root / workload.name
    sets = {name: Stored(root, name) for name in ("tar", "tarpax", "mds", "litdata")}
    for name, stored in sets.items():
        if stored.folder.exists():
            continue
        partial = root / f"{name}.partial"
        if partial.exists():
            raise SystemExit(f"{partial} is left over from a run that was stopped: remove it")
        if name in ("mds", "litdata"):
            if peers_python is None:
                continue
            workload.write_by_peer(name, partial, peers_python)
        else:
            workload.write_tars(partial, pax=name == "tarpax")
        partial.rename(stored.folder)
    return {name: stored for name, stored in sets.items() if stored.folder.exists()}
