# SPDX-License-Identifier: Apache-2.0
"""A bucket as a directory (``headrace mount``), from Python: mounting, and saying what comes next.

with Mount("s3://bucket/imagenet", "/mnt/imagenet") as mounted:
    ...

A program that reads files of a mount in an order that it knows beforehand tells the mount: the
files are then fetched in parallel before they are opened (docs/mount.md, "The plan").
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from headrace.errors import Error, NotFoundError, UnavailableError
from headrace.mount_names import names_file

__all__ = ["Mount", "Plan", "PlannedSampler", "mount_program", "prefetch", "stats", "unmount"]

_CONTROL = ".headrace"
_GREETING = b"headrace-plan 1\n"
# Paths in one send: 64 KiB of them, so that a plan that is stopped stops soon.
_SEND_BYTES = 1 << 16


def mount_program() -> Path:
    """The native program: beside the package, or named by HEADRACE_MOUNT."""
    named = os.environ.get("HEADRACE_MOUNT")
    path = Path(named) if named else Path(__file__).parent / "bin" / "headrace-mount"
    if not os.access(path, os.X_OK):
        raise NotFoundError(
            f"start the mount: {path} is not there; install libfuse3-dev and build headrace again, "
            "or name the program in HEADRACE_MOUNT"
        )
    return path


class Mount:
    """A mounted folder, unmounted by ``close()``.

    Args:
        url: ``s3://bucket/prefix``, or what else :func:`headrace.open` reads from.
        folder: an empty directory.
        words: more words for the command line of ``headrace mount``.
        manifest: a manifest file (docs/manifest.md): its shards, looked for below ``url``, are all
            there is, and nothing is listed.
        environment: variables for the program beside this process's.
    """

    def __init__(
        self,
        url: str,
        folder: str | os.PathLike[str],
        *,
        words: Sequence[str] = (),
        manifest: str | os.PathLike[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        command = [str(mount_program()), url, os.fspath(folder), *words]
        with contextlib.ExitStack() as stack:
            if manifest is not None:
                command += ["--names-file", stack.enter_context(names_file(manifest))]
            done = subprocess.run(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise UnavailableError(done.stderr.strip() or f"{command[0]}: {done.returncode}")

    def stats(self) -> dict[str, int]:
        return stats(self.folder)

    def close(self) -> None:
        """Unmounts; idempotent."""
        if os.path.ismount(self.folder):
            unmount(self.folder)

    def __enter__(self) -> Mount:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unmount(folder: str | os.PathLike[str]) -> None:
    """Unmounts ``folder``.

    Raises:
        UnavailableError: it is in use, or not a mount.
    """
    said = ""
    for command in (["umount"], ["fusermount3", "-u"]):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                [*command, os.fspath(folder)], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
            said = said or done.stderr.strip()
    raise UnavailableError(f"unmount {os.fspath(folder)}: {said or 'no umount on this machine'}")


def stats(folder: str | os.PathLike[str]) -> dict[str, int]:
    """The counters of the mount that ``folder`` lies in (docs/mount.md has them)."""
    path = _top_of(folder) / _CONTROL / "stats"
    counters: dict[str, int] = json.loads(path.read_text())
    return counters


def _top_of(path: str | os.PathLike[str]) -> Path:
    """The mount point above ``path``, which must be one of headrace's."""
    at = Path(path).absolute()
    while not os.path.ismount(at):
        at = at.parent
    if not (at / _CONTROL / "stats").exists():
        raise NotFoundError(f"find the mount of {os.fspath(path)}: no headrace mount above it")
    return at


class Plan:
    """Files on their way ahead of their readers; :func:`prefetch` makes it.

    The paths are handed over by a thread, as fast as the mount takes them: it fetches as far ahead
    as its memory allows and takes more as files are read.
    """

    def __init__(self, top: Path, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._top = top
        self._paths = paths
        self._error: Exception | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        place = (top / _CONTROL / "plan-socket").read_text().strip()
        try:
            self._socket.connect(place)
            self._socket.sendall(_GREETING)
        except OSError as cause:
            self._socket.close()
            raise UnavailableError(
                f"hand a plan to the mount at {top}: {place}: {cause.strerror}; is this another "
                "container? Share the socket's folder (--plan-socket)"
            ) from cause
        self._thread = threading.Thread(target=self._run, name="headrace-plan", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for message in self._messages():
                self._socket.sendall(message)
        except OSError:
            pass  # closed here, or the mount is gone: reads go on without a plan
        except Exception as error:  # of the caller's iterable: told by wait()
            self._error = error

    def _messages(self) -> Iterator[bytes]:
        waiting = bytearray()
        for path in self._paths:
            waiting += os.fsencode(self._relative(path)) + b"\0"
            if len(waiting) >= _SEND_BYTES:
                yield bytes(waiting)
                waiting.clear()
        yield bytes(waiting) + b"\0"  # an empty path: the plan is whole

    def _relative(self, path: str | os.PathLike[str]) -> str:
        text = os.fspath(path)
        if not os.path.isabs(text):
            return text
        top = os.fspath(self._top)
        if not text.startswith(top + "/"):
            text = os.path.realpath(text)
        if not text.startswith(top + "/"):
            raise NotFoundError(f"plan {os.fspath(path)}: it does not lie in the mount at {top}")
        return text[len(top) + 1 :]

    def wait(self, timeout: float | None = None) -> bool:
        """Until the mount has taken all paths (not: until they are fetched). True when it has.

        Raises:
            Exception: what the iterable of paths raised.
        """
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def close(self) -> None:
        """Ends the plan: what the mount has not taken is not fetched ahead. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prefetch(
    paths: Iterable[str | os.PathLike[str]], *, mount: str | os.PathLike[str] | None = None
) -> Plan:
    """Tells the mount in which order files will be read.

    Args:
        paths: in the order of reading; absolute, or relative to the mount point. Any iterable: it
            is consumed by a thread, as the files are read.
        mount: the mount point. None: that of the first path, which is then absolute.

    Raises:
        NotFoundError: no mount there.
        UnavailableError: the mount does not take plans.
    """
    if mount is not None:
        return Plan(_top_of(mount), paths)
    each = iter(paths)
    first = next(each, None)
    if first is None:
        raise NotFoundError("plan []: no paths; name the mount, or give at least one")
    return Plan(_top_of(first), _chained(first, each))


def _chained(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


class _Sampler(Protocol):
    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


class PlannedSampler:
    """A sampler for ``torch.utils.data.DataLoader`` that hands its order to the mount.

    Each epoch's indices are drawn at once from ``sampler`` and told to the mount before the first
    is given to a worker. Of data sets as torchvision's ImageFolder: each sample is a file.

    Args:
        sampler: whose order it is (RandomSampler, DistributedSampler, ...).
        paths: the file of each index: ``[path for path, _ in dataset.samples]``.
        mount: the mount point; None: that of the first path.
    """

    def __init__(
        self,
        sampler: _Sampler,
        paths: Sequence[str | os.PathLike[str]],
        *,
        mount: str | os.PathLike[str] | None = None,
    ) -> None:
        self.sampler = sampler
        self.paths = paths
        self.mount = mount

    def __iter__(self) -> Iterator[int]:
        indices = list(self.sampler)
        if not indices:
            return
        with self._plan(indices):
            yield from indices

    def _plan(self, indices: list[int]) -> contextlib.AbstractContextManager[Any]:
        paths = (self.paths[index] for index in indices)
        try:
            return prefetch(paths, mount=self.mount)
        except Error:
            # Not on a mount (a local copy in a test): the same order, without a plan.
            return contextlib.nullcontext()

    def __len__(self) -> int:
        return len(self.sampler)
