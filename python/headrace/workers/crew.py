# SPDX-License-Identifier: Apache-2.0
"""The worker processes as their owner sees them: started, spoken to, watched, ended.

Knows nothing of batches. What is not answered because a worker died or hangs is an error that says
which worker, how it ended and where its Python code stood.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.spawn
import os
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headrace import _core
from headrace.errors import Error, TimeoutError, WorkerError
from headrace.workers.child import refuse_inside_worker
from headrace.workers.messages import Frames, frame

__all__ = ["Crew"]

log = logging.getLogger("headrace")

# A worker that is asked to stop and is in the midst of a sample is killed after this.
_STOP_SECONDS = 1.0
# Time that passes in one look counts at most so much against a worker: where the whole job was
# stopped for a while, nothing hung.
_LOOK_SECONDS_MAX = 0.25
# A sample that takes longer is worth a line in the log.
_SLOW_SECONDS = 60.0
# How long a worker that hangs has for writing down where it is.
_DUMP_SECONDS = 0.5

Message = dict[str, Any]
_PROGRESS = np.dtype([("task", "<i8"), ("row", "<i8")])


class _Member:
    """One worker process."""

    def __init__(
        self, number: int, process: subprocess.Popen[bytes], connection: socket.socket, crash: int
    ):
        self.number = number
        self.process = process
        self.connection = connection
        self.crash = crash  # a memfd: what faulthandler wrote
        self.frames = Frames(connection)
        self.unsent = bytearray()
        self.ready = False
        self.seen: tuple[int, int] = (-1, -1)  # task and row when last looked at
        self.seen_seconds = 0.0
        self.said_slow = False

    def send(self, message: Message) -> None:
        self.unsent += frame(message)
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes; never waits."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self.unsent:
                sent = self.connection.send(self.unsent, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                del self.unsent[:sent]

    def close(self) -> None:
        self.connection.close()
        with contextlib.suppress(OSError):
            os.close(self.crash)
        self.crash = -1

    def crash_text(self) -> str:
        with contextlib.suppress(OSError):
            return os.pread(self.crash, 1 << 16, 0).decode(errors="replace").strip()
        return ""


class Crew:
    """``count`` worker processes that run one program.

    Args:
        program: of :func:`headrace.workers.program.make_program`.
        shared: the memory that they map.
        timeout: seconds a sample may take; None: any time.
        where: says what (task, row) is, for errors.
    """

    def __init__(
        self,
        count: int,
        program: bytes,
        shared: _core.SharedMemory,
        timeout: float | None,
        where: Callable[[int, int], str],
    ) -> None:
        refuse_inside_worker()
        self._shared = shared
        self._timeout = timeout
        self._where = where
        self._members: list[_Member] = []
        # Of each worker, written by it; (-1, -1): idle.
        progress = shared.take(_PROGRESS.itemsize * count)
        if progress is None:
            raise Error("start worker processes: their memory is full")
        self._progress_at = progress.offset
        self._progress = np.ndarray(count, _PROGRESS, buffer=progress.array)
        self._close = weakref.finalize(self, _end, self._members, os.getpid())
        _crews.add(self)
        descriptor = os.memfd_create("headrace-program", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(program)
            for number in range(count):
                self._members.append(self._start(number, descriptor))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(descriptor)

    def _start(self, number: int, program: int) -> _Member:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        crash = -1
        try:
            # Threads of libraries in each of several workers would fight for the cores.
            environment = {"OMP_NUM_THREADS": "1", **os.environ}
            command = [
                os.fsdecode(multiprocessing.spawn.get_executable()),
                *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
                str(Path(__file__).with_name("start.py")),
                str(theirs.fileno()),
            ]
            crash = os.memfd_create("headrace-crash", os.MFD_CLOEXEC)
            # A session of its own: a terminal's Ctrl-C is for the owner.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=environment,
            )
        except BaseException:
            ours.close()
            if crash >= 0:
                os.close(crash)
            raise
        finally:
            theirs.close()
        member = _Member(number, process, ours, crash)
        with contextlib.suppress(ConnectionError):  # it died: the next look finds that
            socket.send_fds(ours, [b"f"], [self._shared.descriptor, program, crash])
        self._progress[number] = (-1, -1)
        member.send({"progress": self._progress_at + _PROGRESS.itemsize * number})
        return member

    def __len__(self) -> int:
        return len(self._members)

    @property
    def running(self) -> bool:
        return self._close.alive

    def send(self, worker: int, message: Message) -> None:
        self._members[worker].send(message)

    def receive(self, seconds: float) -> list[tuple[int, Message]]:
        """(worker, message) of what came, at the latest after ``seconds``.

        Raises:
            WorkerError: a worker died or could not start.
            TimeoutError: a worker hangs.
        """
        begin = time.monotonic()
        by_descriptor = {member.connection.fileno(): member for member in self._members}
        poll = select.poll()
        for descriptor, member in by_descriptor.items():
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if member.unsent else 0))
        found: list[tuple[int, Message]] = []
        for descriptor, events in poll.poll(max(0, round(seconds * 1000))):
            member = by_descriptor[descriptor]
            member.flush()
            alive = not events & ~select.POLLOUT or member.frames.read(wait=False)
            for message in member.frames.complete():
                if "ready" in message:
                    member.ready = True
                elif "failed" in message and "task" not in message:
                    self._fail_start(member, message["failed"])
                else:
                    found.append((member.number, message))
            if not alive:
                self._fail_dead(member)
        self._look(min(time.monotonic() - begin, _LOOK_SECONDS_MAX))
        return found

    # --- watching ---------------------------------------------------------------------------------

    def _look(self, passed: float) -> None:
        for member in self._members:
            now = self._now(member)
            if now != member.seen or (member.ready and now[0] < 0):
                member.seen, member.seen_seconds, member.said_slow = now, 0.0, False
                continue
            member.seen_seconds += passed
            if self._timeout is not None and member.seen_seconds >= self._timeout:
                self._fail_hung(member)
            if member.seen_seconds >= _SLOW_SECONDS and not member.said_slow:
                member.said_slow = True
                log.warning("%s takes longer than %d s", self._doing(member), int(_SLOW_SECONDS))

    def _doing(self, member: _Member) -> str:
        what = f"worker {member.number} (process {member.process.pid})"
        if not member.ready:
            return f"start {what}"
        task, row = self._now(member)
        return f"{self._where(task, row)} in {what}" if task >= 0 else what

    def _now(self, member: _Member) -> tuple[int, int]:
        task, row = self._progress[member.number].tolist()
        return task, row

    def _fail_start(self, member: _Member, text: str) -> None:
        said = f"start worker {member.number}: it could not load the transform:\n{text}"
        self.close()
        raise WorkerError(said)

    def _fail_dead(self, member: _Member) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            member.process.wait(_STOP_SECONDS)
        doing, text = self._doing(member), member.crash_text()
        status = member.process.returncode
        self.close()
        raise WorkerError(f"{doing}: {_how_it_ended(status)}" + (f"\n{text}" if text else ""))

    def _fail_hung(self, member: _Member) -> None:
        doing = self._doing(member)
        with contextlib.suppress(OSError):
            member.process.send_signal(signal.SIGRTMAX)  # faulthandler writes where it is
        end = time.monotonic() + _DUMP_SECONDS
        while not member.crash_text() and time.monotonic() < end:
            time.sleep(0.01)
        text = member.crash_text()
        self.close()
        raise TimeoutError(
            f"{doing}: not done after {self._timeout:g} s; worker_timeout= sets the limit"
            + (f"\n{text}" if text else "")
        )

    def close(self) -> None:
        """Ends the processes and waits for them; idempotent."""
        self._close()

    def _forget(self) -> None:
        """In a forked child: these are its parent's."""
        for member in self._members:
            member.process.returncode = 0  # or its destructor warns
            member.close()
        self._close.detach()


def _how_it_ended(status: int | None) -> str:
    if status is None:
        return "it closed its connection"
    if status >= 0:
        return f"it ended with exit status {status}; a transform must not end its process"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if name == "SIGKILL":
        return (
            "it was killed by SIGKILL, often by the kernel for lack of memory (dmesg says so): use "
            "fewer workers=, a smaller memory=, or a transform that holds less"
        )
    return f"it was killed by {name}; native code that the transform calls crashed"


def _end(members: list[_Member], owner: int) -> None:
    if os.getpid() != owner:
        return
    for member in members:
        member.send({"stop": True})
    end = time.monotonic() + _STOP_SECONDS
    for member in members:
        ended = select.poll()
        ended.register(member.connection, 0)  # its end is closed when the process is gone
        if not ended.poll(max(0, round((end - time.monotonic()) * 1000))):
            member.process.kill()
        member.process.wait()
        member.close()
    members.clear()


_crews: weakref.WeakSet[Crew] = weakref.WeakSet()


def _after_fork() -> None:
    for crew in list(_crews):
        crew._forget()


os.register_at_fork(after_in_child=_after_fork)
assert sys.platform == "linux"
