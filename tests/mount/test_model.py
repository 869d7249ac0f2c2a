# SPDX-License-Identifier: Apache-2.0
"""The mount against a model: random keys that come, change and go, and every look at them.

The model is docs/mount.md (M1 to M6, M10, M11) written down a second time, in Python, over the set
of keys; the mount is asked through the kernel, with names that may not be older than nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fuse_here import WHY_NOT
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from key_server import KeyServer

from headrace.mount import Mount, unmount

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")


@dataclass
class Folder:
    folders: dict[bytes, Folder] = field(default_factory=dict)
    files: dict[bytes, bytes] = field(default_factory=dict)


def can_be_a_name(part: bytes) -> bool:
    return part not in (b"", b".", b"..") and b"\0" not in part and len(part) <= 255


def model_of(keys: dict[bytes, bytes]) -> Folder:
    top = Folder()
    for key, content in keys.items():
        *folders, last = key.split(b"/")
        at = top
        for part in folders:
            if not can_be_a_name(part):
                break
            at = at.folders.setdefault(part, Folder())
        else:
            if can_be_a_name(last):
                at.files[last] = content
    return top


def visible(folder: Folder) -> dict[bytes, bytes | None]:
    """Name to content; None of a folder, which shadows a file."""
    return {**folder.files, **dict.fromkeys(folder.folders)}


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the OSError that it raises."""
    try:
        return call()
    except OSError as error:
        return error


PARTS = st.sampled_from(
    [b"a", b"b", b"a-", b"a.", b"c c", b".", b"..", b"", "ü".encode(), "日本".encode(), b"\xff\xfe",
     b"%2F", b"+", b"x" * 255, b"x" * 256, b"&<>\"'", b"\n", b".headrace2", b"~"]
)  # fmt: skip
KEYS = (
    st.lists(PARTS, min_size=1, max_size=4)
    .map(b"/".join)
    .map(lambda key: key[:1024])
    .filter(lambda key: key != b"")
)
CONTENTS = st.binary(max_size=20) | st.integers(1, 300_000).map(lambda n: bytes([n % 251]) * n)


class Machine(RuleBasedStateMachine):
    server: KeyServer
    mount: bytes

    @initialize()
    def begin(self) -> None:
        with self.server.lock:
            self.server.keys.clear()
        self.server.page_max = 3  # listings of several pages
        self.opened: list[tuple[int, bytes]] = []

    def teardown(self) -> None:
        for file, _ in getattr(self, "opened", []):
            os.close(file)

    @rule(key=KEYS, content=CONTENTS)
    def put(self, key: bytes, content: bytes) -> None:
        self.server.put(key, content)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if keys := sorted(self.server.keys):
            self.server.remove(data.draw(st.sampled_from(keys)))

    @rule(parts=st.lists(PARTS, min_size=1, max_size=3))
    def look_up(self, parts: list[bytes]) -> None:
        """Any path, also of what is not there: the errno that the model says."""
        path = b"/".join(parts)
        if any(part in (b"", b".", b"..") for part in parts):
            return  # the kernel's own business
        at: Folder | None = model_of(self.server.keys)
        expected: object = None
        for i, part in enumerate(parts):
            assert at is not None
            if len(part) > 255:
                expected = errno.ENAMETOOLONG
                break
            if part in at.folders:
                at = at.folders[part]
                expected = "folder"
            elif part in at.files:
                expected = at.files[part] if i == len(parts) - 1 else errno.ENOTDIR
                break
            else:
                expected = errno.ENOENT
                break
        found = outcome(lambda: os.stat(self.mount + b"/" + path))
        if isinstance(found, OSError):
            assert found.errno == expected, (path, expected)
            return
        if os.path.isdir(self.mount + b"/" + path):
            assert expected == "folder"
        else:
            assert isinstance(expected, bytes)
            assert found.st_size == len(expected)

    @rule(data=st.data())
    def open_one(self, data: st.DataObject) -> None:
        files = sorted(self.all_files())
        if not files:
            return
        path, content = data.draw(st.sampled_from(files))
        file = os.open(self.mount + b"/" + path, os.O_RDONLY)
        assert os.pread(file, len(content) + 1, 0) == content
        self.opened.append((file, content))

    @rule(data=st.data(), size=st.integers(1, 5000))
    def read_an_open_one(self, data: st.DataObject, size: int) -> None:
        """Of the version that was opened, or ESTALE."""
        if not self.opened:
            return
        file, content = data.draw(st.sampled_from(self.opened))
        at = data.draw(st.integers(0, len(content)))
        got = outcome(lambda: os.pread(file, size, at))
        if isinstance(got, OSError):
            assert got.errno == errno.ESTALE
        else:
            assert got == content[at : at + size]

    def all_files(self) -> list[tuple[bytes, bytes]]:
        found = []
        pending = [(b"", model_of(self.server.keys))]
        while pending:
            path, folder = pending.pop()
            for name, content in visible(folder).items():
                if content is not None:
                    found.append((path + name, content))
            pending += [(path + name + b"/", below) for name, below in folder.folders.items()]
        return found

    @invariant()
    def every_folder_lists_what_the_model_has(self) -> None:
        pending = [(b"", model_of(self.server.keys))]
        while pending:
            path, folder = pending.pop()
            with os.scandir(self.mount + b"/" + path) as entries:
                found = {entry.name: entry.is_dir() for entry in entries}
            assert found == {name: content is None for name, content in visible(folder).items()}, (
                path
            )
            pending += [(path + name + b"/", below) for name, below in folder.folders.items()]


def test_random_trees_are_as_the_model_says():
    server = KeyServer()
    server.late_seconds_max = 0.004  # listings of the background and of the foreground overtake
    folder = Path(tempfile.mkdtemp(prefix="headrace-model-"))
    words = ["--no-sign-request", "--endpoint-url", server.url, "--region", "us-east-1"]
    words += ["--metadata-ttl", "0", "--negative-ttl", "0", "--log-file", str(folder) + ".log"]
    mount = Mount("s3://bucket", folder, words=words)
    Machine.server, Machine.mount = server, os.fsencode(folder)
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=int(os.environ.get("HR_MODEL_EXAMPLES", "6")),
                stateful_step_count=20,
                deadline=None,
                # What comes late is not the same twice: a failure is not made smaller by trying.
                phases=[Phase.explicit, Phase.generate],
                derandomize="HR_MODEL_EXAMPLES" not in os.environ,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert "EIO" not in Path(str(folder) + ".log").read_text()
        assert mount.stats()["eio"] == 0
    finally:
        unmount(folder) if os.path.ismount(folder) else None
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
        Path(str(folder) + ".log").unlink(missing_ok=True)
