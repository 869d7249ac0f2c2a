# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reliability.md from the results of the last runs (tests/faults/results/*.json)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "reliability.md"

CLASSES = {
    "N1": "connection refused; server restarted",
    "N2": "connections never answered",
    "N3": "name does not exist",
    "N5": "RST before, in and behind the head",
    "N6": "FIN before, in and behind the head",
    "N7": "silence before and in a reply; Ctrl-C meanwhile",
    "N8": "drips, slow links",
    "N9": "malformed replies: lengths, headers, chunks, junk",
    "N10": "200 for a range, other ranges, multipart, gzip",
    "N11": "flips while the index is built, seen by the store's checksum",
    "N12": "flipped, inverted, spliced bytes",
    "N13": "TLS: certificates, alerts, truncation, broken records",
    "N14": "proxies",
    "N15": "kept connections that are gone",
    "N16": "a server that stands still",
    "S1": "500, 502, 504, documents and pages",
    "S2": "503, 429, Retry-After, bursts",
    "S3": "RequestTimeout, expired and invalid tokens",
    "S4": "clocks that differ",
    "S5": "access denied, wrong keys, wrong region",
    "S6": "a shard deleted while reading",
    "S7": "a shard written anew while reading",
    "S8": "redirects, hostile ones too",
    "S9": "odd XML",
    "S10": "listings that loop, repeat, mix",
    "S11": "odd keys",
    "S12": "HEAD forbidden, or lying",
    "S13": "checksums that do not cover what was read",
    "S14": "304, 416, 204 unasked",
    "S15": "archived objects",
    "S16": "no credentials",
    "S17": "programs for keys that fail",
}
NOT_HERE = {
    "N4": "IPv6 black hole: needs a name with both addresses; `src/net` tries the next address after connect_timeout",
    "N17": "no local ports left: needs a network namespace",
    "N18": "HTTP/2: not spoken",
}
PROMISES = """\
| | promise | how a cell checks it |
|---|---|---|
| C1 | the bytes delivered are the published ones, or one error names the object | SHA-256 of every field against what WebDataset's and MosaicML's own readers say (`tests/fixtures/*/expected.jsonl`) |
| C2 | each sample exactly once | the sample numbers of the epoch |
| C3 | the order does not depend on faults | the sequence of the same epoch without faults |
| C4 | healed or raised within a deadline, never a hang | the clock; a process that hangs is ended and counted |
| C5 | threads, descriptors, memory back to where they were | before and after each cell, in a process that runs many |
| C6 | an error says what, where, why, how often tried, what next; never a secret | words each error must have; a search for keys, signatures and passwords in errors, tracebacks and the log at its most talkative |
| C7 | Ctrl-C is heeded within a second | SIGINT while the server is silent |
"""


def _grid(document: dict[str, Any]) -> str:
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in document["cells"]:
        rows[cell["id"]].append(cell)
    lines = ["| class | what | faults | cells | exact | clear error | broken promises | slowest, s |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for id in sorted(rows, key=lambda id: (id[0], int(id[1:]))):
        cells = rows[id]
        ended = Counter(cell["ended"] for cell in cells if not cell["failures"])
        broken = sum(bool(cell["failures"]) for cell in cells)
        faults = len({cell["name"] for cell in cells})
        slowest = max(cell["seconds"] for cell in cells)
        lines.append(
            f"| {id} | {CLASSES.get(id, '')} | {faults} | {len(cells)} | {ended['exact']} | {ended['error']} "
            f"| {broken} | {slowest:.1f} |"
        )
    return "\n".join(lines)


def _broken(document: dict[str, Any]) -> str:
    lines = [
        f"- {cell['id']} {cell['name']} ({cell['format']}, {cell['path']}): {failure[:300]}"
        for cell in document["cells"]
        for failure in cell["failures"]
    ]
    return "Broken promises of that run:\n\n" + "\n".join(lines) if lines else "No promise was broken in that run."


def _peers(path: Path) -> str:
    if not path.exists():
        return ""
    document = json.loads(path.read_text())
    clients = document["clients"]
    words = {"ok": "exact", "error": "error", "WRONG": "**wrong bytes**", "HANG": "**no end**", "CRASH": "**crash**"}
    lines = ["| the server's answer | " + " | ".join(clients) + " |", "|---" * (len(clients) + 1) + "|"]
    for row in document["rows"]:
        lines.append(f"| {row['name']} | " + " | ".join(words[row[client]["ended"]] for client in clients) + " |")
    totals = {client: Counter(row[client]["ended"] for row in document["rows"]) for client in clients}
    sums = " | ".join(f"{totals[c]['WRONG']} / {totals[c]['HANG']} / {totals[c]['CRASH']}" for c in clients)
    lines.append(f"| *wrong bytes / no end / crash* | {sums} |")
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return (
        f"\n## The same answers to other clients\n\n{document['about']} {versions}. "
        "`tests/faults/fault_peers.py` makes the table.\n\n" + "\n".join(lines) + "\n"
    )


def _growth(cells: list[dict[str, Any]]) -> int:
    return int(max((cell.get("resident_growth", 0) for cell in cells), default=0)) >> 20


def _stall(path: Path) -> str:
    if not path.exists():
        return ""
    lines = ["| hedged | stall | trials | longest wait p50 / p99 / max, s | since the silence p50 / p99 / max, s |", "|---|---|---|---|---|"]
    for row in json.loads(path.read_text()):
        waits = " / ".join(f"{row[f'wait_{q}_s']:.2f}" for q in ("p50", "p99", "max"))
        since = " / ".join(f"{row[f'since_{q}_s']:.2f}" for q in ("p50", "p99", "max")) if row["stalled"] else "-"
        lines.append(f"| {'yes' if row['hedge'] else 'no'} | {'yes' if row['stalled'] else 'no'} | {row['trials']} | {waits} | {since} |")
    load = max(row["load"] for row in json.loads(path.read_text()))
    return f"""
## One connection falls silent in a body

`tests/faults/fault_stall.py`: 115 KB samples in order at S3's latencies (median 30 ms, 1 % at 300 ms), one range of a trial silent for
good after 20,000 bytes; each trial reads 160 samples. The goal is the larger of 2 x p99 and 1 s. Load average {load:.0f} on 2 cores.

{chr(10).join(lines)}
"""


def planned() -> int:
    from fault_run import cells

    return len(cells())


def page() -> str:
    document = json.loads((RESULTS / "grid.json").read_text())
    machine = document["machine"]
    cells = document["cells"]
    failed = sum(bool(cell["failures"]) for cell in cells)
    late = max((cell["ctrl_c_s"] for cell in cells), default=0)
    not_here = "\n".join(f"- {id}: {why}" for id, why in NOT_HERE.items())
    return f"""# Reliability: what was broken on purpose, and what came of it

Generated by `tests/faults/fault_report.py` from the last `make faults`; edit that, not this page.

headrace is read through the [fault server](serve.md#fault-rules) while this breaks connections, lies and falls silent.
Every fault is met by {{tar, MDS}} x {{the Python loader, the command line}}, and every cell is held to the same promises:

{PROMISES}
**{len(cells)} of {planned()} cells run, of {len({(cell["id"], cell["name"]) for cell in cells})} faults in
{len({c["id"] for c in cells})} classes: {failed} failed.** {document["seconds"]} s, commit {machine["commit"]}, {machine["cores"]} cores shared with other work, Linux
{machine["kernel"]}, Python {machine["python"]}. Ctrl-C was answered after {late:.2f} s at most. A part (the cells marked quick) runs in `make test`.
{document.get("note", "One run.")} Deadlines as they stand ({document.get("time_scale", 1):g} x), load average {machine.get("load", 0):.0f} at its end. A worker that runs
many cells was at most {_growth(cells)} MiB larger than after its first ten (16 MiB are the limit).

{_grid(document)}

{_broken(document)}

Not in the grid:

{not_here}

Where the patience of a cell is small (`attempts_max=5`, `retry_seconds_max=12`, `read_timeout=1`), a user's is 10 attempts,
60 s, and 30 s to the first byte, 5 s inside a body. MDS is opened with `check=True` where bytes are flipped: without it
its index has no checksums of samples, and only lengths protect them.
{_stall(RESULTS / "stall.json")}{_peers(RESULTS / "peers.json")}"""


if __name__ == "__main__":
    PAGE.write_text(page())
