# SPDX-License-Identifier: Apache-2.0
"""A worker process: takes rows of batches, runs the transform on each, puts the results into shared
memory."""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import pickle
import random
import runpy
import socket
import sys
import traceback
import types
from collections import deque
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

from headrace import _core
from headrace.batch import Batch
from headrace.errors import Error
from headrace.randomness import sample_key, sample_randomness
from headrace.transform import Sample, rows_of
from headrace.workers.codec import Room, encode
from headrace.workers.messages import Frames, frame
from headrace.workers.packing import Placed, pack
from headrace.workers.shared import import_batch, view

__all__ = ["refuse_inside_worker", "run"]

_importing_main = False


def refuse_inside_worker() -> None:
    """Raises where a worker's import of the program would start workers again."""
    if _importing_main:
        raise Error(
            "start worker processes: this is a worker process that imports the program's main "
            "file to find transform=; put what the program does under "
            "if __name__ == '__main__':, or move the transform to a module of its own"
        )


def run(
    connection: socket.socket, memory: Any, main: dict[str, str] | None, pickled: bytes
) -> None:
    """Until the owner says stop."""
    _core.exit_when_peer_closes(connection.fileno())
    sys.meta_path.insert(0, _TorchIsImported())
    try:
        if main is not None:
            _import_main(main)
        functions = pickle.loads(pickled)  # from the owner: the user's own functions
    except BaseException:
        connection.sendall(frame({"failed": traceback.format_exc()}))
        return
    connection.sendall(frame({"ready": True}))
    _Worker(connection, memory, **functions).serve()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _import_main(main: dict[str, str]) -> None:
    """The program's own file, not as ``__main__``: what it guards does not run."""
    global _importing_main
    module = types.ModuleType("__mp_main__")
    _importing_main = True
    try:
        if "name" in main:
            found = runpy.run_module(main["name"], run_name="__mp_main__", alter_sys=True)
        else:
            found = runpy.run_path(main["path"], run_name="__mp_main__")
    finally:
        _importing_main = False
    module.__dict__.update(found)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


_key = 0  # of the sample that is being transformed


def _seed_libraries(key: int) -> None:
    """The generators that libraries use unasked: they too belong to the sample in a worker."""
    global _key
    _key = key
    random.seed(key)
    np.random.seed(key & 0xFFFFFFFF)
    torch = sys.modules.get("torch")
    if torch is not None:
        _seed_torch(torch)


def _seed_torch(torch: Any) -> None:
    torch.default_generator.manual_seed(_key & 0x7FFFFFFFFFFFFFFF)


class _TorchIsImported(importlib.abc.MetaPathFinder):
    """Torch may be imported by the first sample's transform: that sample's numbers are its own
    too."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "torch" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run_module = spec.loader.exec_module

        def run_and_seed(module: types.ModuleType) -> None:
            run_module(module)
            module.set_num_threads(1)  # as torch's DataLoader: there are as many workers as wanted
            _seed_torch(module)

        spec.loader.exec_module = run_and_seed  # type: ignore[method-assign]
        return spec


class _Worker:
    def __init__(
        self,
        connection: socket.socket,
        memory: Any,
        transform: Callable[[Sample], Any],
        collate: Callable[[Sequence[Any]], Any] | None,
    ) -> None:
        self._connection = connection
        self._frames = Frames(connection)
        self._memory = memory
        self._transform = transform
        self._collate = collate
        self._messages: deque[dict[str, Any]] = deque()
        self._progress: Any = None  # [task, row]: for the owner to watch

    def serve(self) -> None:
        while True:
            message = self._next()
            if "stop" in message:
                return
            if "progress" in message:
                self._progress = view(self._memory, ["<i8", [2], message["progress"]])
            else:
                self._answer(message)

    def _next(self) -> dict[str, Any]:
        while not self._messages:
            if not self._frames.read(wait=True):
                os._exit(1)
            self._messages.extend(self._frames.complete())
        return self._messages.popleft()

    def _answer(self, task: dict[str, Any]) -> None:
        begin, end = task["rows"]
        done = begin
        try:
            batch = import_batch(self._memory, task["batch"])
            rows = []
            for sample in rows_of(batch, begin, end):
                self._mark(task["task"], done)
                rows.append(self._run(batch, done, sample, task["seeds"]))
                done += 1
            self._mark(task["task"], end)
            room = Room()
            form = self._pack(rows, task, room)
            at = self._put(room, task)
            self._send({"done": task["task"], "form": form, "room": at, "bytes": room.bytes})
        except BaseException as fault:  # SystemExit too: it is the transform's
            self._send(self._failure(task, done, end, fault))
        finally:
            self._mark(-1, -1)

    def _mark(self, task: int, row: int) -> None:
        self._progress[:] = (task, row)

    def _run(self, batch: Batch, row: int, sample: Sample, seeds: Sequence[int]) -> Any:
        seed = seeds[0 if batch.sources is None else int(batch.sources[row])]
        epoch, number = int(batch.epochs[row]), int(batch.ids[row])
        _seed_libraries(sample_key(seed, epoch, number))
        with sample_randomness(seed, epoch, number):
            return self._transform(sample)

    def _pack(self, rows: list[Any], task: dict[str, Any], room: Room) -> dict[str, Any]:
        if self._collate is not None:
            return {"collated": encode(self._collate(rows), room)}
        places = {name: Placed(*given) for name, given in task["places"].items()}
        return pack(rows, task["rows"][0], places, room, self._memory)

    def _put(self, room: Room, task: dict[str, Any]) -> int | None:
        """Writes the room's content where the owner said, or asks for a larger place."""
        if not room.bytes:
            return None
        offset, size = task["room"]
        if room.bytes > size:
            self._send({"ask": task["task"], "bytes": room.bytes})
            waiting: deque[dict[str, Any]] = deque()
            while "grant" not in (message := self._next()):
                if "stop" in message:
                    os._exit(0)
                waiting.append(message)
            self._messages.extendleft(reversed(waiting))
            offset = message["grant"]
        room.write(self._memory, offset)
        return int(offset)

    def _failure(
        self, task: dict[str, Any], row: int, end: int, fault: BaseException
    ) -> dict[str, Any]:
        kept = None
        try:
            kept = pickle.dumps(fault, protocol=5)
            pickle.loads(kept)  # some exceptions can be pickled only
        except Exception:
            kept = None
        return {
            "failed": "".join(traceback.format_exception(fault)),
            "task": task["task"],
            "row": row if row < end else None,  # None: of no single row: collate, or its packing
            "summary": "".join(traceback.format_exception_only(fault)).strip(),
            "exception": None if kept is None else kept.hex(),
        }

    def _send(self, message: dict[str, Any]) -> None:
        self._connection.sendall(frame(message))
