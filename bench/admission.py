# SPDX-License-Identifier: Apache-2.0
"""How loaders share a store that bears only so much, and what an outage costs.

Three scenes on headrace-serve (its s3 profile, 30 ms to the first byte): a store capped at so many
GET/s with 1 and with 8 processes; 32 processes that start at once; ten seconds of 503 for
everything. Each process reads single samples (block=1) as fast as it can. Prints one line a scene
and writes them as JSON.

    python bench/admission.py --cap 5500 --seconds 30 --out admission.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import chain
from pathlib import Path
from typing import Any

from server import find_program

_SAMPLES, _BYTES = 60_000, 20_000
_WARM = 10.0
_CAPPED = "status,status=503,op=GetObject,above_per_s={}"
_AWAY = {"rules": [{"kind": "status", "status": 503}]}


class Store:
    """headrace-serve with a computed bucket; a context manager."""

    def __init__(self, program: str, folder: Path, cap: float) -> None:
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        fault = ["--fault", _CAPPED.format(cap)] if cap else []
        self._process = subprocess.Popen(
            [program, "--synthetic", f"b=samples={_SAMPLES},bytes={_BYTES},shard=16MB",
             "--anonymous", "--read-only", "--port", "0", "--port-file", str(port_file),
             "--profile", "s3", *fault],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not port_file.exists() or not port_file.read_text().strip():
            if self._process.poll() is not None:
                raise SystemExit(f"headrace-serve did not start: {self._process.args}")
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{int(port_file.read_text())}"

    def control(self, method: str, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/-/{what}", data=data, method=method)
        with urllib.request.urlopen(request) as reply:
            text = reply.read()
        return json.loads(text) if text.strip() else None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def read(url: str, folder: str, seconds: float, memory: int) -> None:
    """One process: opens, says that it is ready, waits for the word, reads; rows a half second."""
    import headrace as hr

    dataset = hr.open("s3://b/", endpoint_url=url, anonymous=True, index_dir=folder)
    loader = dataset.loader(batch_size=64, block=1, memory=memory << 20)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    rows: list[int] = []
    for batch in chain.from_iterable(loader for _ in loader.epochs(1_000_000)):
        at = int((time.monotonic() - begun) * 2)
        if at >= seconds * 2:
            break
        rows.extend([0] * (at + 1 - len(rows)))
        rows[at] += len(batch.ids)
    stats = loader.stats()
    names = ("requests", "retries", "throttles", "hedges", "hedges_won", "requests_in_flight_max")
    print(json.dumps({"rows": rows, **{name: stats[name] for name in names}}), flush=True)
    loader.close()


class Crowd:
    """``n`` processes that begin at one word."""

    def __init__(self, n: int, store: Store, folder: Path, seconds: float) -> None:
        # Read ahead of a read that takes 300 ms: 33 MB at 5,500 a second. No set fits whole.
        memory = max(64, min(256, 2048 // n))
        command = [
            sys.executable, __file__, "--read", store.url, str(folder), str(seconds),
            str(memory),
        ]  # fmt: skip
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(n)
        ]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def begin(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(process.communicate()[0]) for process in self._processes]


def capped(program: str, folder: Path, n: int, cap: float, seconds: float) -> dict[str, Any]:
    """Rates are of ``seconds`` behind the first _WARM; refusals are counted from the start."""
    with Store(program, folder, cap) as store:
        crowd = Crowd(n, store, folder, _WARM + seconds)
        store.control("DELETE", "stats")
        crowd.begin()
        results = crowd.results()
    rates = [sum(result["rows"][int(2 * _WARM) :]) / seconds for result in results]
    asked = sum(result["requests"] for result in results)
    refused = sum(result["throttles"] for result in results)
    return {
        "scene": f"capped at {cap:g} GET/s, {n} processes",
        "samples_per_s": sum(rates),
        "of_the_cap": sum(rates) / cap,
        "slowest_of_mean": min(rates) / (sum(rates) / n),
        "refused_share": refused / max(1, asked),
        "hedges_share": sum(result["hedges"] for result in results) / max(1, asked),
    }


def outage(program: str, folder: Path, cap: float, before: float, away: float) -> dict[str, Any]:
    seconds = before + away + 10
    with Store(program, folder, cap) as store:
        crowd = Crowd(1, store, folder, seconds)
        crowd.begin()
        time.sleep(before)
        store.control("POST", "faults", _AWAY)
        time.sleep(away)
        store.control("DELETE", "faults")
        (result,) = crowd.results()
    rows = result["rows"] + [0] * int(seconds * 2 - len(result["rows"]))
    usual = sum(rows[int(before) : int(before * 2)]) / (before / 2)  # its second half
    after = rows[int((before + away) * 2) :]
    back = next((i / 2 for i, n in enumerate(after) if n * 2 >= 0.9 * usual), None)
    return {
        "scene": f"{away:g} s of 503 for everything",
        "samples_per_s_before": usual,
        "refused": result["throttles"],
        "extra_share_of_10_s": result["throttles"] / (usual * away),
        "back_after_s": back,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cap", type=float, default=5500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--serve", help="the server's program")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", nargs=4, metavar=("URL", "FOLDER", "SECONDS", "MIB"))
    args = parser.parse_args()
    if args.read:
        read(args.read[0], args.read[1], float(args.read[2]), int(args.read[3]))
        return
    program = find_program("headrace-serve", args.serve)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="headrace-admission-") as name:
        folder = Path(name)
        with Store(program, folder, 0) as store:  # the index, once for all
            import headrace as hr

            hr.open("s3://b/", endpoint_url=store.url, anonymous=True, index_dir=name).close()
        for n in (1, 8, 32):
            lines.append(capped(program, folder, n, args.cap, args.seconds))
            print(json.dumps(lines[-1]), flush=True)
        lines.append(outage(program, folder, 0, 10, 10))
        print(json.dumps(lines[-1]), flush=True)
    if args.out is not None:
        args.out.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
