# SPDX-License-Identifier: Apache-2.0
"""Which pass the worker processes of a torch DataLoader are making.

torch tells a worker its number and nothing of epochs, and it starts new workers for every epoch. So
the workers of one data set object and its owner write down the passes that were begun, in a few
bytes of shared memory under a file lock: the first worker of a pass says where it begins, the
others read it there. No data goes through it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from headrace.errors import Error

__all__ = ["WorkerPasses"]

State = dict[str, Any]

# Passes remembered: a late worker of an abandoned pass still finds its own; older ones are gone.
_REMEMBERED = 8


class WorkerPasses:
    """The passes of one data set object, shared by its owner's process and its worker processes."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)
        self._descriptor = os.memfd_create("headrace-passes", os.MFD_CLOEXEC)
        self._pid = os.getpid()
        weakref.finalize(self, os.close, self._descriptor)

    def __getstate__(self) -> tuple[str, int, int]:
        return self._token, self._pid, self._descriptor

    def __setstate__(self, state: tuple[str, int, int]) -> None:
        self._token, self._pid, self._descriptor = state

    @property
    def of_parent(self) -> bool:
        """This process is a child of the one that made the passes, by multiprocessing."""
        parent = multiprocessing.parent_process()
        return parent is not None and parent.pid == self._pid

    @contextlib.contextmanager
    def _table(self) -> Iterator[dict[str, Any]]:
        """The shared table, locked; what is changed in it is kept."""
        # Opened anew: locks belong to an open file, and a forked child shares its parent's.
        descriptor = os.open(f"/proc/{self._pid}/fd/{self._descriptor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            stored = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            table = json.loads(stored or b"{}") or {
                "token": self._token,
                "next": None,
                "passes": [],
            }
            if table.get("token") != self._token:
                raise OSError("another file has this name")
            yield table
            changed = json.dumps(table).encode()
            if changed != stored:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, changed, 0)
        finally:
            os.close(descriptor)

    def begin(
        self, key: str, worker: int, propose: Callable[[State | None], tuple[State, State]]
    ) -> State:
        """The state at which the pass ``key`` begins, for worker number ``worker``.

        Args:
            key: the same in all workers of one iteration of a DataLoader.
            propose: gives this pass's start and the next one's, out of where the last pass said
                that the next one begins (None: none did); called in the first worker of the pass.
        """
        try:
            with self._table() as table:
                for found in reversed(table["passes"]):
                    if found["key"] == key and worker not in found["workers"]:
                        found["workers"].append(worker)
                        state: State = found["start"]
                        return state
                state, table["next"] = propose(table["next"])
                table["passes"].append({"key": key, "workers": [worker], "start": state})
                del table["passes"][:-_REMEMBERED]
                return state
        except OSError as fault:
            raise Error(
                f"begin a pass in DataLoader worker {worker}: process {self._pid}, which made the "
                f"data set, cannot be asked which epoch this is ({fault}); use headrace's own "
                "loader, or num_workers=0"
            ) from fault

    def next_start(self) -> State | None:
        """Where the next pass of workers begins; None: none was begun, and nothing was set."""
        with contextlib.suppress(OSError), self._table() as table:
            found: State | None = table["next"]
            return found
        return None

    def begun(self) -> bool:
        """Whether workers have begun a pass since the last :meth:`set`."""
        with contextlib.suppress(OSError), self._table() as table:
            return bool(table["passes"])
        return False

    def set(self, state: State | None) -> None:
        """The next pass begins at ``state``."""
        with contextlib.suppress(OSError), self._table() as table:
            table["next"], table["passes"] = state, []
