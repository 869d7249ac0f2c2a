# SPDX-License-Identifier: Apache-2.0
"""The disk cache under a mount: what was read once is not asked of the store again, and never wrong."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace as hr
from headrace import mount as hr_mount
from headrace.errors import UnavailableError

BLOCK_BYTES, HEADER_BYTES = 512 << 10, 4096  # docs/cache.md


def blocks(cache: Path) -> list[Path]:
    return [p for p in (cache / "headrace-cache-v1" / "blocks").rglob("*") if p.is_file()]


def gets(place) -> int:
    return place.server.stats()["by_op"]["GetObject"]


def read_all(there: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        assert (there / name).read_bytes() == content


def fill_cache(place, words: list[str], contents: dict[str, bytes], disk: Path) -> None:
    """Reads all of it, again where a disk slower than the store left blocks out (docs/cache.md)."""
    wanted = sum(-(-len(content) // BLOCK_BYTES) for content in contents.values())
    for _ in range(20):
        there = place.mount(*words)
        read_all(there, contents)
        hr_mount.unmount(there)
        if len(blocks(disk)) == wanted:
            return
    raise AssertionError(f"{len(blocks(disk))} blocks on disk after 20 readings, not {wanted}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for the cache, on a disk of which more is free than the cache leaves free."""
    for parent in (tmp_path, Path("/dev/shm")):
        if parent.is_dir() and (there := os.statvfs(parent)).f_bavail > 0.06 * there.f_blocks:
            folder = Path(tempfile.mkdtemp(prefix="headrace-disk-", dir=parent))
            yield folder
            return shutil.rmtree(folder)
    return pytest.skip("no disk of which 6 % are free")


@pytest.fixture
def contents(put) -> dict[str, bytes]:
    sizes = [1, 115_000, BLOCK_BYTES, 3_000_001, 20_000_000]
    return {f"f{i}": put(f"f{i}", random.Random(i).randbytes(n)) for i, n in enumerate(sizes)}


def test_what_was_read_is_read_from_disk_after_a_restart(place, contents, disk):
    words = ["--cache-dir", str(disk)]
    fill_cache(place, words, contents, disk)
    asked = gets(place)
    there = place.mount(*words)
    read_all(there, contents)
    stats = hr_mount.stats(there)
    assert gets(place) == asked > 0
    assert stats["cache_asked_bytes"] == 0
    assert stats["cache_hit_bytes"] >= sum(map(len, contents.values()))


def test_damaged_blocks_are_fetched_again(place, contents, disk):
    words = ["--cache-dir", str(disk)]
    fill_cache(place, words, contents, disk)
    files = sorted(blocks(disk), key=lambda path: path.stat().st_size)
    flipped, cut, other = files[-1], files[-2], files[-3]
    content = bytearray(flipped.read_bytes())
    content[HEADER_BYTES + 100_000] ^= 1
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-1])
    other.write_bytes(files[-4].read_bytes())
    asked = gets(place)
    there = place.mount(*words)
    read_all(there, contents)
    assert 1 <= gets(place) - asked <= 3
    assert hr_mount.stats(there)["cache_corrupt"] == 3
    hr_mount.unmount(there)
    there = place.mount(*words)
    read_all(there, contents)
    assert hr_mount.stats(there)["cache_corrupt"] == 0


def test_a_new_version_of_an_object_is_not_the_old_one_from_disk(place, put, disk):
    put("f", b"a" * 1_000_000)
    words = ["--cache-dir", str(disk), "--metadata-ttl", "0"]
    there = place.mount(*words)
    assert (there / "f").read_bytes() == b"a" * 1_000_000
    put("f", b"b" * 1_000_000)
    assert (there / "f").read_bytes() == b"b" * 1_000_000
    hr_mount.unmount(there)
    assert (place.mount(*words) / "f").read_bytes() == b"b" * 1_000_000


def test_the_limit_of_the_disk_cache_holds_and_what_was_used_last_stays(place, put, disk):
    contents = {f"f{i:02}": put(f"f{i:02}", random.Random(i).randbytes(400_000)) for i in range(20)}
    limit = 10 * (400_000 + HEADER_BYTES)
    words = ["--cache-dir", str(disk), "--cache-bytes", str(limit)]
    there = place.mount(*words)
    for name, content in contents.items():
        assert (there / name).read_bytes() == content
        assert sum(path.stat().st_size for path in blocks(disk)) <= limit
    assert hr_mount.stats(there)["cache_evictions"] >= 9
    hr_mount.unmount(there)
    there = place.mount(*words)
    assert (there / "f19").read_bytes() == contents["f19"]
    assert hr_mount.stats(there)["cache_asked_bytes"] == 0


def test_what_a_plan_names_to_come_again_stays_on_disk(place, put, disk):
    """Files that are named twice, others in between: each is asked for once, and twice by age."""
    names = [f"f{i:02}" for i in range(90)]
    contents = {name: put(name, random.Random(name).randbytes(1_000_000)) for name in names}
    planned, others = names[:30], names[30:]
    limit = len(planned) * (1_000_000 + 2 * HEADER_BYTES)
    words = ["--cache-dir", str(disk), "--cache-bytes", str(limit), "--memory", "32MiB"]
    there = place.mount(*words)
    with hr_mount.prefetch([there / name for name in planned * 2]) as plan:
        assert plan.wait(20)
        for name in [*planned, *others, *planned]:
            with open(there / name, "rb") as file:
                assert file.read() == contents[name]
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # not the kernel's
    assert len(names) <= gets(place) <= len(names) + 5  # without the second naming: 120


def test_loader_and_mounts_share_a_cache(place, put, disk):
    """What a loader has read, the mount has; what the mount has read, another mount and a loader have."""
    lines = "".join(f'{{"id": {i}, "text": "{"x" * 2000}"}}\n' for i in range(3000))
    put("data/rows.jsonl", lines.encode())
    other = put("data2/rows.jsonl", lines.encode()[::-1].lstrip(b"\n") + b"\n")
    words = ["--cache-dir", str(disk)]
    dataset = hr.open("s3://bucket/data/", cache_dir=disk, **place.server.options)
    ids = [int(i) for batch in dataset.loader(batch_size=100) for i in batch["id"]]
    assert sorted(ids) == list(range(3000))
    held = len(blocks(disk))
    there, also = place.mount(*words), place.mount(*words)
    asked = gets(place)
    assert (there / "data/rows.jsonl").read_bytes() == lines.encode()
    assert gets(place) == asked
    assert (there / "data2/rows.jsonl").read_bytes() == other
    asked = gets(place)
    hr_mount.unmount(there)  # all is written
    assert (also / "data2/rows.jsonl").read_bytes() == other
    assert gets(place) == asked
    assert len(blocks(disk)) == 2 * held > 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--cache-bytes", "1GB"], "--cache-bytes needs --cache-dir"),
        (["--cache-dir", "mnt0/cache"], "lies in the mount's own folder"),
        (["--cache-dir", "open-to-all"], "open-to-all"),
    ],
)
def test_wrong_places_for_the_cache_are_refused(place, put, monkeypatch, words, reason):
    put("f", b"x")
    monkeypatch.chdir(place.root)
    (place.root / "open-to-all/headrace-cache-v1").mkdir(parents=True)
    (place.root / "open-to-all/headrace-cache-v1").chmod(0o777)
    with pytest.raises(UnavailableError, match=reason):
        place.mount(*words)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if subprocess.run(words, check=False, capture_output=True).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """All that is free, taken by somebody else."""
    path = disk / "of-somebody-else"
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        while file.write(b"x" * 65536):
            pass
    return path


def cache_files_are_whole(cache: Path) -> bool:
    """Nothing but blocks under their names: no file that was begun and not ended."""
    return all(re.fullmatch(r"[0-9a-f]{32}-[0-9a-f]{8}", path.name) for path in blocks(cache))


def test_a_full_disk_costs_the_cache_and_no_byte(place, contents, small_disk):
    words = ["--cache-dir", str(small_disk / "cache")]
    there = place.mount(*words)
    read_all(there, contents)  # three times as much as the disk has
    free = os.statvfs(small_disk)
    assert free.f_bavail >= 0.05 * free.f_blocks
    other = fill(small_disk)
    assert os.statvfs(small_disk).f_bavail == 0
    before = len(blocks(small_disk / "cache"))
    while_full = place.mount(*words)
    read_all(while_full, contents)
    assert len(blocks(small_disk / "cache")) <= before
    hr_mount.unmount(while_full)
    other.unlink()
    for path in blocks(small_disk / "cache"):
        path.unlink()
    after = place.mount(*words)
    read_all(after, contents)
    assert hr_mount.stats(after)["cache_write_bytes"] > 0
    hr_mount.unmount(after)
    hr_mount.unmount(there)
    assert cache_files_are_whole(small_disk / "cache")


def test_a_disk_that_others_fill_and_free_while_it_is_read_through(place, contents, small_disk):
    """Writes fail in the middle (ENOSPC): the blocks are not there, and the bytes are right."""
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            fill(small_disk).unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(3):
            there = place.mount("--cache-dir", str(small_disk / "cache"))
            read_all(there, contents)
            hr_mount.unmount(there)
    finally:
        ended.set()
        thread.join()
    assert cache_files_are_whole(small_disk / "cache")


def test_a_loader_reads_over_a_full_disk(place, put, small_disk):
    rows = "".join(f'{{"id": {i}, "text": "{"x" * 4000}"}}\n' for i in range(2000))
    put("data/rows.jsonl", rows.encode())
    fill(small_disk)
    dataset = hr.open("s3://bucket/data/", cache_dir=small_disk / "cache", **place.server.options)
    for _ in range(2):
        ids = [int(i) for batch in dataset.loader(batch_size=100) for i in batch["id"]]
        assert sorted(ids) == list(range(2000))
