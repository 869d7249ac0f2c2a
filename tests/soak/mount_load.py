# SPDX-License-Identifier: Apache-2.0
"""A mount in the mixed load of ``soak.py cache``: random reads through the kernel, each compared
with the same bytes of a server without faults; now and then the daemon is killed and mounted anew.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import urllib.request
from pathlib import Path

from headrace.mount import Mount, unmount


class MountLoad:
    """Reads on a thread of its own until ``close()``; ``problems`` is what was wrong."""

    def __init__(self, folder: Path, endpoint: str, truth: str, words: list[str], seed: int):
        self.folder, self._truth, self._chance = folder, truth, random.Random(seed)
        self._words = ["--no-sign-request", "--endpoint-url", endpoint, *words]
        if log := os.environ.get("HEADRACE_SOAK_LOG"):
            self._words += ["--log-file", log]
        self.problems: list[str] = []
        self.reads = self.bytes = self.kills = 0
        self.looks: list[dict[str, int]] = []  # at the daemon that lives
        self._contents: dict[str, bytes] = {}
        self._end = threading.Event()
        self._turn = threading.Lock()  # a read, or a kill
        folder.mkdir()
        self._mount = Mount("s3://data", folder, words=self._words)
        self._pid = self._find()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _find(self) -> int:
        """The daemon's process, which is its own parent's no more."""
        for entry in Path("/proc").iterdir():
            try:
                words = entry.joinpath("cmdline").read_bytes().split(b"\0")
            except (NotADirectoryError, FileNotFoundError, ProcessLookupError):
                continue
            if words[0].endswith(b"headrace-mount") and os.fsencode(self.folder) in words:
                return int(entry.name)
        raise RuntimeError(f"no headrace-mount for {self.folder}")

    def _content(self, name: str) -> bytes:
        if name not in self._contents:
            with urllib.request.urlopen(f"{self._truth}/data/{name}") as reply:
                self._contents[name] = reply.read()
        return self._contents[name]

    def _run(self) -> None:
        while not self._end.is_set():
            with self._turn:
                try:
                    self._read()
                except OSError as error:
                    self.problems.append(f"a read through the mount failed: {error}")

    def _read(self) -> None:
        """One file: parts of it at chance, or all of it in order."""
        chance = self._chance
        name = chance.choice(sorted(os.listdir(self.folder)))
        content = self._content(name)
        with open(self.folder / name, "rb", buffering=0) as file:
            whole = chance.random() < 0.1
            size = 1 << 20 if whole else chance.choice([100, 4096, 40_000, 300_000])
            places = range(0, len(content), size)
            for at in places if whole else chance.sample(places, min(20, len(places))):
                got = os.pread(file.fileno(), size, at)
                self.reads, self.bytes = self.reads + 1, self.bytes + len(got)
                if got != content[at : at + size]:
                    self.problems.append(f"wrong bytes through the mount: {name} at {at}")

    def look(self, kill: bool) -> None:
        """Notes what the daemon takes; or kills it and mounts again."""
        with self._turn:
            at = Path("/proc", str(self._pid))
            ended = not at.joinpath("statm").exists()
            if ended:
                self.problems.append(f"the daemon ended by itself, after {self.kills} kills")
            if kill or ended:
                if not ended:
                    os.kill(self._pid, signal.SIGKILL)
                    self.kills += 1
                unmount(self.folder)
                self._mount = Mount("s3://data", self.folder, words=self._words)
                self._pid, self.looks = self._find(), []
                return
            try:
                pages = int(at.joinpath("statm").read_text().split()[1])
                now = {
                    "fds": len(os.listdir(at / "fd")),
                    "threads": len(os.listdir(at / "task")),
                    "rss": pages * os.sysconf("SC_PAGE_SIZE"),
                    "eio": self._mount.stats()["eio"],
                }
            except OSError as error:  # it ends just now: the next look mounts again
                self.problems.append(f"the daemon was not there to be looked at: {error}")
            else:
                self.looks.append(now)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        unmount(self.folder)
