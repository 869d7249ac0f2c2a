# SPDX-License-Identifier: Apache-2.0
"""One cell of the fault grid through the Python loader, in a process of its own that runs many, one after another.

Reads a JSON line a cell from stdin, writes a JSON line a result to stdout: what was delivered and how it ended (C1,
C2, C3, C6), how long it took (C4), what was left behind (C5), how soon Ctrl-C was answered (C7). It judges nothing but
the bytes; whoever started it (fault_grid.py) does, and ends it when it hangs.
"""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from fault_data import DATA_SETS, differences
from fault_rules import set_rules

import headrace as hr

BATCH, MEMORY, SEED = 20, "1500KiB", 3
_SETTLE_SECONDS_MAX = 3.0


def _threads() -> list[str]:
    return sorted(Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task"))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stored_rows(batch: Any, fields: list[str]) -> list[tuple[int, dict[str, bytes]]]:
    """(number, stored bytes by field) of a batch of raw columns."""
    rows = []
    for i, number in enumerate(batch.ids):
        row = {}
        for field in fields:
            column = batch[field]
            row[field] = column.values.view("u1")[column.offsets[i] : column.offsets[i + 1]].tobytes()
        rows.append((int(number), row))
    return rows


class Interrupted:
    """Sends this process SIGINT after a while, and remembers when."""

    def __init__(self, after: float) -> None:
        self.sent = 0.0
        self._timer = threading.Timer(after, self._send)
        if after > 0:
            self._timer.start()

    def _send(self) -> None:
        self.sent = time.monotonic()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def end(self) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()


def read_all(cell: dict[str, Any]) -> tuple[list[tuple[int, dict[str, bytes]]], dict[str, Any]]:
    """Opens the data set, reads one epoch; the rules come into force before, or behind, the opening."""
    rules = cell["rules"]
    if cell["stage"] == "open":
        set_rules(cell["control"], rules)
    dataset = hr.open(cell["url"], **cell["options"])
    if cell["stage"] == "read":
        set_rules(cell["control"], rules)
    raw = {field: hr.decode.raw() for field in dataset.fields}
    shape = {"batch_size": BATCH, "memory": MEMORY, "seed": SEED, "remainder": "short"}
    loader = dataset.loader(decode=raw, **shape, **cell.get("loader", {}))
    rows = []
    try:
        for batch in loader:
            rows += stored_rows(batch, dataset.fields)
    finally:
        loader.close()
        dataset.close()
    return rows, dict(loader.stats())


def describe(error: BaseException) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "is_ours": isinstance(error, hr.Error),
        "code": getattr(error, "code", ""),
        "text": str(error),
        "trace": "".join(traceback.format_exception(error))[-4000:],
    }


def run(cell: dict[str, Any], log: io.StringIO) -> dict[str, Any]:
    for name, value in cell.get("environment", {}).items():
        os.environ[name] = value
    log.truncate(0)
    before = _threads(), _descriptors()
    result: dict[str, Any] = {"name": cell["name"], "error": None, "differences": "", "samples": 0, "memory_used": 0}
    interrupt = Interrupted(cell.get("interrupt_after", 0))
    begin = time.monotonic()
    try:
        rows, stats = read_all(cell)
        result["samples"] = len(rows)
        result["differences"] = differences(DATA_SETS[cell["format"]], rows, cell["order"])
        result["memory_used"] = stats["memory_used"]
        result["order"] = [number for number, _ in rows] if not cell["order"] else []
        result["retries"], result["rereads"] = stats["retries"], stats["rereads"]
    except (Exception, KeyboardInterrupt) as error:
        result["error"] = describe(error)
        if interrupt.sent:
            result["interrupt_s"] = time.monotonic() - interrupt.sent
        del error
    result["seconds"] = time.monotonic() - begin
    interrupt.end()
    for name in cell.get("environment", {}):
        del os.environ[name]
    result["left"] = left_behind(*before)
    result["resident"] = resident_bytes()
    result["log"] = log.getvalue()[-20000:]
    return result


def left_behind(threads: list[str], descriptors: int) -> str:
    """Threads and descriptors that are more than before, after a moment to end; "" when there are none."""
    end = time.monotonic() + _SETTLE_SECONDS_MAX
    while True:
        gc.collect()
        now = _threads(), _descriptors()
        more = [name for name in now[0] if now[0].count(name) > threads.count(name)]
        if not more and now[1] <= descriptors:
            return ""
        if time.monotonic() > end:
            return f"threads {more}, descriptors {descriptors} -> {now[1]}"
        time.sleep(0.02)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = io.StringIO()
    logging.basicConfig(stream=log, level=logging.DEBUG)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), log)), flush=True)


if __name__ == "__main__":
    main()
