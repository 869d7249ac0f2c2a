# SPDX-License-Identifier: Apache-2.0
"""Runs the fault grid: `make faults`.

fault_run.py [--only WORDS] [--jobs N] [--formats tar,mds] [--paths loader,cli] [--quick] [--results FILE [--merge]]

Prints each broken contract, then the counts; exit status 1 when there is one. fault_report.py makes
docs/reliability.md of the results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from fault_case import Case
from fault_data import lay_out
from fault_grid import PATHS, TIME_SCALE, Grid, Result
from fault_network import NETWORK
from fault_service import SERVICE

CASES = [*NETWORK, *SERVICE]
Cell = tuple[Case, str, str]


def cells(
    only: str = "", formats: tuple[str, ...] = ("tar", "mds"), paths: tuple[str, ...] = PATHS
) -> list[Cell]:
    """The grid, cases first. ``only``: an id ("N5") or words of the title."""
    chosen = [case for case in CASES if not only or case.id == only or only in case.title]
    return [
        (case, format, path)
        for case in chosen
        for format in formats
        if format in case.formats
        for path in paths
    ]


def run_cells(todo: list[Cell], jobs: int, report: Callable[[Result], None]) -> list[Result]:
    """Cells are dealt to ``jobs`` lanes as these are free."""
    queue: SimpleQueue[Cell] = SimpleQueue()
    for cell in todo:
        queue.put(cell)
    results: list[Result] = []
    lock = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="headrace-faults-") as folder:
        root = Path(folder, "root")
        lay_out(root)
        errors: list[BaseException] = []

        def lane(number: int) -> None:
            scratch = Path(folder, f"lane-{number}")
            scratch.mkdir()
            grid = Grid(root, scratch, scratch / "indexes")
            try:
                grid.prepare()
                for case, format, path in _drain(queue):
                    result = grid.run(case, format, path)
                    with lock:
                        results.append(result)
                        report(result)
            except BaseException as error:
                errors.append(error)
                raise
            finally:
                grid.close()

        threads = [threading.Thread(target=lane, args=(i,)) for i in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise RuntimeError("the grid itself failed") from errors[0]
    return results


def _drain(queue: SimpleQueue[Cell]) -> Iterator[Cell]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "load": os.getloadavg()[0],
    }


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old run with the cells of the new in the places of their like."""

    def place(cell: dict[str, Any]) -> tuple[str, ...]:
        return cell["id"], cell["name"], cell["format"], cell["path"]

    cells = {place(cell): cell for cell in [*old["cells"], *new["cells"]]}
    return {
        "machine": new["machine"],
        "time_scale": new.get("time_scale", TIME_SCALE),
        "seconds": old["seconds"] + new["seconds"],
        "cells": list(cells.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--formats", default="tar,mds")
    parser.add_argument("--paths", default=",".join(PATHS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument(
        "--merge", action="store_true", help="keep the file's other cells: some were run again"
    )
    options = parser.parse_args()
    todo = cells(options.only, tuple(options.formats.split(",")), tuple(options.paths.split(",")))
    if options.quick:
        todo = [cell for cell in todo if cell[0].quick]
    begin = time.monotonic()
    so_far: list[Result] = []
    old = json.loads(options.results.read_text()) if options.merge else {"seconds": 0, "cells": []}

    def save() -> None:
        seconds = round(time.monotonic() - begin)
        document = {
            "machine": machine(),
            "seconds": seconds,
            "time_scale": TIME_SCALE,
            "cells": [r.as_json() for r in so_far],
        }
        options.results.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(merged(old, document), indent=1) + "\n"
        options.results.write_text(text.replace(f"{Path.home()}/", "~/"))  # records name no machine

    def report(result: Result) -> None:
        so_far.append(result)
        if options.results and len(so_far) % 20 == 0:  # a run that is cut off is not lost
            save()
        for failure in result.failures:
            print(
                f"FAILED {result.id} {result.name} [{result.format}, {result.path}]: {failure}",
                flush=True,
            )

    results = run_cells(todo, options.jobs, report)
    seconds = time.monotonic() - begin
    failed = sum(bool(result.failures) for result in results)
    classes = len({result.id for result in results})
    print(
        f"{len(results)} cells of {len({(r.id, r.name) for r in results})} faults in {classes} classes: "
        f"{failed} failed; {seconds:.0f} s"
    )
    if options.results:
        save()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
