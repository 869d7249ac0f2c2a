# SPDX-License-Identifier: Apache-2.0
"""Each format beside its own reader, on the same small samples, from local files and from S3:
samples/s, CPU seconds a GB and a sample. Processes take turns; the peers' shuffle is their own.

    python bench/formats.py --peers VENV --litdata VENV [--rounds 3] [--only mds] [--out RESULT]

Data are written by each format's own writer: 50,000 samples of 1 KB and a label (tokens: windows
of 1,024 of 16 bits; npy: a file each, and arrayrecord, without a label; wav, flac: clips of two
seconds in tars, a 25th as many, decoded to float32). The server has no latency ("zero"), so S3
rates are those of the clients. A batch is read before the pass that is measured, and indexes are
there. headrace runs with its defaults: its full shuffle, its threads; where the format's reader
knows the stored order only, also with shuffle=False. The peers run in one process without workers
(workers cost them more CPU). tfrecord, json and numpy have no reader for S3;
pyarrow has one for Parquet only (Arrow files it maps).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from one_run import child_environment
from peers.formats_peer import BATCH, CLIP, WINDOW, cpu_seconds
from server import Server, find_program
from throughput import machine

PEER = Path(__file__).parent / "peers" / "formats_peer.py"
STORED = "headrace, stored order"
# format: (its own reader, whether that reads S3)
FORMATS = {
    "webdataset": ("webdataset", True),
    "mds": ("mosaicml-streaming", True),
    "litdata": ("litdata", True),
    "tfrecord": ("tfrecord", False),
    "parquet": ("pyarrow", True),
    "arrow": ("pyarrow", False),
    "jsonl": ("json", False),
    "npy": ("numpy", False),
    "tokens": ("numpy memmap", False),
    "arrayrecord": ("array_record", False),
    "wav": ("webdataset, soundfile", True),
    "flac": ("webdataset, soundfile", True),
}
# Whose own reader has no shuffle.
UNSHUFFLED = {"tfrecord", "parquet", "arrow", "jsonl"}
# What headrace is asked for, where it is not {"bin": bytes, "cls": int}.
DECODE: dict[str, dict[str, Any]] = {
    "jsonl": {"bin": str, "cls": int},
    "npy": {"array": None},
    "tokens": {"tokens": None},
    "arrayrecord": {"record": bytes},
    "wav": {"wav": None, "cls": int},
    "flac": {"flac": None, "cls": int},
}


def data_keys(folder: Path) -> list[str]:
    """Shards, without indexes and notes."""
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if not name.endswith((".json", ".lock")))


def run_headrace(spec: dict[str, Any]) -> dict[str, float]:
    """In a fresh process: a pass over the data set."""
    import headrace as hr

    place: dict[str, Any] = {}
    if spec["endpoint"]:
        place = {"endpoint_url": spec["endpoint"], "region": "us-east-1", "anonymous": True}
    url = f"s3://{spec['bucket']}" if spec["endpoint"] else f"{spec['folder']}/"
    if spec["format"] == "tokens":
        place |= {"window": WINDOW, "token_dtype": "uint16"}
    decode = DECODE.get(spec["format"], {"bin": bytes, "cls": int})
    payload = next(iter(decode))
    if payload in ("wav", "flac"):
        decode = {**decode, payload: hr.decode.audio(frames=CLIP, channels=1)}
    # As for the peers: a first batch, so that imports and threads are there; then a whole pass.
    with hr.open(url, index_dir=spec["index_dir"], **place) as warm:
        next(iter(warm.loader(batch_size=BATCH, decode=decode)))
    rows = nbytes = 0
    with hr.open(url, index_dir=spec["index_dir"], **place) as ds:
        cpu, began = cpu_seconds(), time.monotonic()
        more = {"block": spec["block"]} if spec["block"] else {}
        if spec["stored_order"]:
            more["shuffle"] = False
        with ds.loader(batch_size=BATCH, seed=1, decode=decode, **more) as loader:
            for batch in loader:
                rows += BATCH
                column = batch[payload]
                nbytes += (
                    int(column.offsets[-1]) if decode[payload] in (bytes, str) else column.nbytes
                )
        spent, cpu = time.monotonic() - began, cpu_seconds() - cpu
    return {"rows": rows, "bytes": nbytes, "seconds": spent, "cpu_s": cpu}


def child(spec: dict[str, Any], python: str | None, scratch: Path) -> dict[str, float]:
    """One pass in a process of its own: by headrace, or by the format's own reader."""
    file = scratch / "spec.json"
    result = scratch / "result.json"
    file.write_text(json.dumps({**spec, "result": str(result), "scratch": str(scratch)}))
    own = [sys.executable, __file__, "--run", str(file)]
    command = own if python is None else [python, str(PEER), "read", spec["format"], str(file)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{spec['format']} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(result.read_text())
    return found


def measure(
    name: str, given: argparse.Namespace, root: Path, server: Server
) -> list[dict[str, Any]]:
    folder = root / "data" / name
    rows: list[dict[str, Any]] = []
    python = str((given.litdata if name == "litdata" else given.peers) / "bin" / "python")
    for place in ("local", "s3"):
        endpoint = server.url if place == "s3" else ""
        spec = {
            "format": name,
            "folder": str(folder),
            "bucket": name,
            "keys": data_keys(folder),
            "endpoint": endpoint,
            "index_dir": str(root / f"index-{place}"),
            "block": given.block,
        }
        own = ["headrace", STORED] if name in UNSHUFFLED else ["headrace"]
        peers = dict.fromkeys(own) | (
            {FORMATS[name][0]: python} if place == "local" or FORMATS[name][1] else {}
        )
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            child({**spec, "stored_order": True}, None, Path(scratch))  # the index
        runs: dict[str, list[dict[str, float]]] = {who: [] for who in peers}
        for turn in range(given.rounds):
            for who in sorted(peers, reverse=bool(turn % 2)):
                with tempfile.TemporaryDirectory(dir=root) as scratch:
                    one = {**spec, "stored_order": who == STORED}
                    runs[who].append(child(one, peers[who], Path(scratch)))
        rows += [summary(name, place, who, found) for who, found in runs.items()]
        for row in rows[-len(runs) :]:
            print(line(row), flush=True)
    return rows


def summary(name: str, place: str, who: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    def median(of: Any) -> float:
        return statistics.median(of(run) for run in runs)

    return {
        "format": name,
        "place": place,
        "reader": who,
        "samples_per_s": median(lambda run: run["rows"] / run["seconds"]),
        "cpu_s_per_gb": median(lambda run: run["cpu_s"] / run["bytes"] * 1e9),
        "cpu_us_per_sample": median(lambda run: run["cpu_s"] / run["rows"] * 1e6),
        "rows": runs[0]["rows"],
        "load": os.getloadavg()[0],
    }


def line(row: dict[str, Any]) -> str:
    return (
        f"| {row['format']} | {row['place']} | {row['reader']} | {row['samples_per_s']:,.0f} | "
        f"{row['cpu_s_per_gb']:.2f} | {row['cpu_us_per_sample']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="environment of bench/peers/setup")
    parser.add_argument("--litdata", type=Path, help="environment with litdata")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=1024)
    parser.add_argument("--block", type=int, help="headrace's; default: what it chooses")
    parser.add_argument("--only", action="append", choices=FORMATS)
    parser.add_argument("--serve", help="path of headrace-serve")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        spec = json.loads(given.run.read_text())
        Path(spec["result"]).write_text(json.dumps(run_headrace(spec)))
        return
    if not given.peers or not given.litdata:
        parser.error("--peers and --litdata: the environments of the other readers")
    rows: list[dict[str, Any]] = []
    print("| format | from | reader | samples/s | CPU-s/GB | CPU us/sample |\n" + "|---" * 6 + "|")
    with tempfile.TemporaryDirectory(prefix="headrace-bench-formats-") as text:
        root = Path(text)
        for name in given.only or FORMATS:
            folder = root / "data" / name
            folder.mkdir(parents=True)
            python = (given.litdata if name == "litdata" else given.peers) / "bin" / "python"
            words = [str(folder), str(given.samples), str(given.bytes)]
            command = [str(python), str(PEER), "write", name, *words]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"writing {name} failed:\n{done.stderr[-3000:]}")
        with Server(
            find_program("headrace-serve", given.serve), [str(root / "data")], "zero"
        ) as server:
            for name in given.only or FORMATS:
                rows += measure(name, given, root, server)
    ratios(rows)
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


def ratios(rows: list[dict[str, Any]]) -> None:
    """CPU a sample and rate beside the format's own reader."""
    ours = [row for row in rows if row["reader"].startswith("headrace")]
    for mine in ours:
        same = [r for r in rows if (r["format"], r["place"]) == (mine["format"], mine["place"])]
        for row in [r for r in same if r not in ours]:
            cpu = row["cpu_us_per_sample"] / mine["cpu_us_per_sample"]
            rate = mine["samples_per_s"] / row["samples_per_s"]
            print(
                f"{row['format']} {row['place']}, {mine['reader']}: {cpu:.1f} x less CPU a sample "
                f"than {row['reader']}, {rate:.1f} x its rate"
            )


if __name__ == "__main__":
    main()
