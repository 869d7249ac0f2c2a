# SPDX-License-Identifier: Apache-2.0
"""A bucket, the embedded server over it, and a mount of it, for every test of tests/mount."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fuse_here import WHY_NOT

from headrace.mount import Mount
from headrace.serve import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            WHY_NOT
            and item.path.parent == Path(__file__).parent
            and "place" in getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.skip(reason=WHY_NOT))


class Place:
    """A folder ``data`` that is the bucket, and mounts of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "buckets" / "bucket"
        self.data.mkdir(parents=True)
        self.log = root / "log"
        self.mounts: list[Mount] = []
        self._server: Server | None = None

    def serve(self, **options: Any) -> Server:
        self._server = Server(self.data.parent, **options)
        return self._server

    @property
    def server(self) -> Server:
        return self._server or self.serve()

    def mount(self, *words: str, url: str = "s3://bucket") -> Path:
        folder = self.root / f"mnt{len(self.mounts)}"
        folder.mkdir()
        log = [
            "--log-file",
            str(self.log),
            "--plan-socket",
            str(self.root / f"plan{len(self.mounts)}"),
        ]
        self.mounts.append(
            Mount(url, folder, words=[*log, *words], environment=self.server.environment)
        )
        return folder

    def log_lines(self, word: str = "") -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line for line in text.splitlines() if word in line]

    def close(self) -> None:
        for mounted in self.mounts:
            if os.path.ismount(mounted.folder) or not os.access(mounted.folder, os.F_OK):
                # -l: a test that failed may have files open.
                os.system(f"umount -l {mounted.folder}")
        if self._server is not None:
            self._server.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    there = Place(tmp_path)
    yield there
    there.close()


@pytest.fixture
def put(place: Place) -> Callable[..., bytes]:
    """Writes objects as the bucket's own files."""

    def write(key: str, content: bytes) -> bytes:
        path = place.data / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return content

    return write
