# SPDX-License-Identifier: Apache-2.0
"""Streams epochs with headrace for a given time and reports rates; the child of bench/small.py.

Each payload of the synthetic set begins with its sample number: every row is checked against the
number that the order says, and no number may come twice within an epoch.
"""

import json
import sys
import time
from pathlib import Path

from meter import cpu_seconds, ids_of, ids_of_views, versions

spec = json.loads(Path(sys.argv[1]).read_text())
import numpy as np  # noqa: E402

import headrace as hr  # noqa: E402


def written_bytes():
    """Bytes that this process sent towards a disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def main():
    opened = time.monotonic()
    ds = hr.open(spec["url"], endpoint_url=spec["endpoint"], region="us-east-1", **spec["open"])
    open_s = time.monotonic() - opened
    loader = ds.loader(decode={"bin": bytes}, **spec["options"])
    written, cpu, begun = written_bytes(), cpu_seconds(), time.monotonic()
    # Numbers of samples; who reads in stream order has not counted them.
    seen = np.zeros(4_000_000 if spec.get("any_order") else len(ds), bool)
    rows = payload = wrong = repeated = received = requests = hedges = 0
    waits, asked = [], begun
    warm = spec.get("warm_seconds", 0.0)  # what comes before counts for nothing but exactness
    first_batch_s = seconds = 0.0
    while rows == 0 or seconds < spec["seconds"]:
        for batch in loader:
            waits.append(time.monotonic() - asked)
            column = batch["bin"]
            small = int(column.offsets[-1]) < 16384 * len(column)
            if small or spec.get("joined"):
                ids = ids_of(column.values, column.offsets)
            else:
                ids = ids_of_views(column.views())
            if not spec.get("any_order"):  # the stream order numbers samples in its own way
                wrong += int(np.count_nonzero(ids != batch.ids))
            repeated += int(np.count_nonzero(seen[ids]))
            seen[ids] = True
            rows += len(ids)
            payload += int(column.offsets[-1])
            seconds = time.monotonic() - begun
            first_batch_s = first_batch_s or seconds
            if warm and seconds >= warm:
                stats = loader.stats()
                received, requests = stats["bytes_received"], stats["requests"]
                hedges = stats["hedges"]
                rows = payload = 0
                waits.clear()
                warm, cpu, begun = 0.0, cpu_seconds(), time.monotonic()
                seconds = 0.0
            if seconds >= spec["seconds"]:
                break
            asked = time.monotonic()
        else:
            seen[:] = False
    cpu = cpu_seconds() - cpu
    described, stats = str(loader).splitlines(), loader.stats()
    loader.close()
    result = {
        "samples": len(seen),
        "wait_p50_ms": float(np.percentile(waits, 50)) * 1e3,
        "wait_p99_ms": float(np.percentile(waits, 99)) * 1e3,
        "requests": stats["requests"] - requests,
        "hedges": stats["hedges"] - hedges,
        "received_all_mb": stats["bytes_received"] / 1e6,
        "stored_bytes": ds.nbytes,
        "open_s": open_s,
        "rows": rows,
        "wrong_rows": wrong,
        "repeated_rows": repeated,
        "seconds": seconds,
        "first_batch_s": first_batch_s,
        "samples_per_s": rows / seconds,
        "payload_mb_per_s": payload / 1e6 / seconds,
        "received_mb_per_s": (stats["bytes_received"] - received) / 1e6 / seconds,
        "cpu_s": cpu,
        "cpu_s_per_payload_gb": cpu / (payload / 1e9),
        "cpu_us_per_sample": cpu * 1e6 / rows,
        "disk_written_bytes": written_bytes() - written,
        "loader": described,
        "stats_text": str(stats),
        "versions": versions(["headrace", "numpy"]),
    }
    Path(spec["result_file"]).write_text(json.dumps(result))


main()
