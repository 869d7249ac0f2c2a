# SPDX-License-Identifier: Apache-2.0
"""The fault grid: every case x {tar, MDS} x {Python loader, command line}, each judged by the contracts.

C1 bytes equal to what the format's own reader says, or one clear error; C2 every sample exactly once; C3 the same order
as without faults; C4 an end within the deadline; C5 threads, descriptors and memory back to where they were; C6 errors
that name object or endpoint, cause and next step, and never a secret; C7 Ctrl-C heeded. And the fault must have fired.
`make faults` runs it all (fault_run.py), tests/faults/test_faults.py a part.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fault_case import PATIENCE, Case
from fault_cell import BATCH, MEMORY, SEED
from fault_data import DATA_SETS, DataSet
from fault_places import Lane, Spot
from fault_rules import clear_rules, fired, set_rules

HERE = Path(__file__).resolve().parent
TREE = Path(os.environ.get("HEADRACE_PYTHON_TREE", HERE.parents[1] / "python"))
PATHS = ("loader", "cli")
# Above 1 on machines where others work too: all deadlines, that of Ctrl-C among them, are so many times as long.
TIME_SCALE = float(os.environ.get("HEADRACE_FAULT_TIME_SCALE", "1"))
CTRL_C_SECONDS_MAX = 1 * TIME_SCALE
# Of one worker, from its 10th cell on: buffers and arenas that are kept, no leak. A cell may hold 1.5 MB of samples and
# 8 MiB of a reply's text, and the allocator what it once had of both, on four threads.
RESIDENT_GROWTH_MAX = 16 << 20
_CELLS_TO_SETTLE = 10
SECRETS = re.compile(
    r"headrace-secret|canary-wrong-secret|canary-proxy-word|canary-junk|Signature=\s*[0-9a-f]{8}|AWS4-HMAC",
    re.IGNORECASE,
)
_KEY = re.compile(r"train-\d{6}\.tar|shard\.\d{5}\.mds|index\.json")


@dataclass
class Result:
    """How one cell ended. ``failures`` are breaches of the contracts; none = passed."""

    id: str
    name: str
    format: str
    path: str
    failures: list[str]
    seconds: float
    fired: int
    ended: str  # "exact", "error" or "hang"
    error: str = ""
    resident: int = 0
    resident_growth: int = 0
    ctrl_c_s: float = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's, without any setting of AWS or a proxy."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    nowhere = {
        "AWS_CONFIG_FILE": "/nonexistent/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
    }
    path = os.pathsep.join([str(TREE), str(HERE)])
    return {
        **kept,
        **nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": path,
        "COLUMNS": "200",
        **extra,
    }


def rules_for(case: Case, data: DataSet, spot: Spot) -> list[dict[str, Any]]:
    """The case's rules with keys, and the foreign host, filled in."""
    keys = {"$shards": data.shards, "$one": f"data/{data.one_shard}"}
    rules = []
    for rule in case.rules:
        filled = {
            name: keys.get(value, value) if isinstance(value, str) else value
            for name, value in rule.items()
        }
        if filled.get("location") == "$canary":
            filled["location"] = spot.canary
        rules.append(filled)
    return rules


def expected_digest(data: DataSet, order: list[int]) -> str:
    """What `headrace stream --digest` must print: made from the other reader's digests."""
    digest = hashlib.sha256()
    for number in order:
        digest.update(number.to_bytes(8, "little"))
        for name, content in sorted(data.expected()[number].items()):
            digest.update(name.encode() + b"\0" + bytes.fromhex(content))
    return digest.hexdigest()


class Worker:
    """A process that runs cells through the Python loader (fault_cell.py)."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._cells, self._settled = 0, 0

    def run(self, cell: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """None: no result within the time; the process is then replaced."""
        if self._process is None or self._process.poll() is not None:
            self._cells, self._settled = 0, 0
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "fault_cell.py")], env=environment({}), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(cell) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.close()
            return None
        result: dict[str, Any] = json.loads(line)
        self._cells += 1
        if self._cells <= _CELLS_TO_SETTLE:
            self._settled = max(self._settled, result["resident"])
        result["resident_growth"] = max(0, result["resident"] - self._settled)
        return result

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            self._cells, self._settled = 0, 0


class Grid:
    """Runs cells on one lane. Use one a thread."""

    def __init__(self, root: Path, scratch: Path, indexes: Path) -> None:
        self.lane = Lane(root, scratch)
        self._scratch, self._indexes = scratch, indexes
        self._worker = Worker()
        self.orders: dict[str, list[int]] = {}

    def close(self) -> None:
        self._worker.close()
        self.lane.close()

    def prepare(self) -> None:
        """A clean pass over each format, which makes the indexes that "read" cells use, and the order."""
        for name, data in DATA_SETS.items():
            with self.lane.at("server") as spot:
                cell = self._cell(
                    Case("-", "clean"),
                    data,
                    spot,
                    {**spot.options, **self._index(name, self._indexes)},
                )
                result = self._worker.run({**cell, "order": []}, 120)
            if result is None or result["error"] or result["differences"]:
                raise RuntimeError(f"the pass without faults failed: {result}")
            self.orders[name] = result["order"]

    def _index(self, format: str, folder: Path) -> dict[str, Any]:
        # MDS has no checksums of samples; the index that is made by reading all of it has (docs/formats/mds.md).
        return {"index_dir": str(folder / format), **({"check": True} if format == "mds" else {})}

    def _cell(
        self, case: Case, data: DataSet, spot: Spot, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "name": case.title,
            "format": data.format,
            "stage": case.stage,
            "url": spot.url or (data.braces if case.by_name else data.url),
            "options": dict(options),
            "control": spot.control,
            "rules": rules_for(case, data, spot),
            "environment": spot.environment,
            "loader": dict(case.loader),
            "interrupt_after": case.interrupt_after,
            "order": self.orders.get(data.format, []),
        }

    def run(self, case: Case, format: str, path: str) -> Result:
        """A failure of the suite itself is a failure of the cell."""
        try:
            return self._run(case, format, path)
        except Exception as error:
            said = getattr(error, "stderr", b"") or b""
            return Result(
                case.id,
                case.name,
                format,
                path,
                [f"the suite failed: {error!r} {said[-300:]!r}"],
                0,
                0,
                "",
            )

    def _run(self, case: Case, format: str, path: str) -> Result:
        data = DATA_SETS[format]
        with (
            tempfile.TemporaryDirectory(dir=self._scratch) as fresh,
            self.lane.at(case.place) as spot,
        ):
            indexes = Path(fresh) if case.stage == "open" else self._indexes
            options = {**PATIENCE, **spot.options, **self._index(format, indexes), **case.options}
            cell = self._cell(case, data, spot, options)
            clear_rules(spot.control)
            spot.began()
            outcome = (self._through_loader if path == "loader" else self._through_cli)(
                case, data, cell
            )
            times = sum(fired(spot.control)) if spot.lasts else 0
            if spot.lasts:
                clear_rules(spot.control)
            complaint = spot.complaint()
        failures = [*judge(case, outcome), *([complaint] if complaint else [])]
        if case.fires and times == 0:
            failures.append("the fault never fired")
        return Result(
            case.id, case.name, format, path, failures, round(outcome["seconds"], 2), times, outcome["ended"],
            outcome["text"][:1500], outcome.get("resident", 0), outcome.get("resident_growth", 0),
            round(outcome.get("interrupt_s", 0), 2),
        )  # fmt: skip

    def _through_loader(self, case: Case, data: DataSet, cell: dict[str, Any]) -> dict[str, Any]:
        begin = time.monotonic()
        result = self._worker.run(cell, case.deadline * TIME_SCALE)
        if result is None:
            return {"ended": "hang", "seconds": time.monotonic() - begin, "text": "", "spoken": ""}
        error = result["error"] or {}
        return {
            **result,
            "ended": "error" if error else "exact",
            "text": error.get("text", ""),
            "spoken": result["log"] + error.get("trace", ""),
            "type": error.get("type", ""),
            "clear": not error or error["is_ours"] or error["type"] == "KeyboardInterrupt",
            "interrupted": error.get("type") == "KeyboardInterrupt",
        }

    def _through_cli(self, case: Case, data: DataSet, cell: dict[str, Any]) -> dict[str, Any]:
        words = [
            sys.executable,
            "-m",
            "headrace",
            "--verbose",
            "stream",
            cell["url"],
            "--json",
            "--digest",
        ]
        words += ["--batch-size", str(BATCH), "--memory", MEMORY, "--seed", str(SEED)]
        secret = {
            name: cell["options"].pop(name)
            for name in list(cell["options"])
            if name.startswith("aws_")
        }
        keys = {name.upper(): value for name, value in secret.items()}
        for name, value in cell["options"].items():
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        set_rules(cell["control"], cell["rules"])
        begin = time.monotonic()
        process = subprocess.Popen(
            words, env=environment({**keys, **cell["environment"]}), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_heed_sigint,
        )  # fmt: skip
        if case.interrupt_after:
            _wait_for_fault(process, cell["control"])
        return _end_of(process, case, begin, expected_digest(data, cell["order"]))


def _wait_for_fault(process: subprocess.Popen[str], control: dict[str, str]) -> None:
    """Until the first rule has fired, or the process has ended: Python needs seconds to load on a busy machine."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end and not sum(fired(control)):
        time.sleep(0.05)


def _heed_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end_of(
    process: subprocess.Popen[str], case: Case, begin: float, digest: str
) -> dict[str, Any]:
    interrupted_at = 0.0
    try:
        if case.interrupt_after:
            time.sleep(case.interrupt_after)
            interrupted_at = time.monotonic()
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=case.deadline * TIME_SCALE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"ended": "hang", "seconds": time.monotonic() - begin, "text": "", "spoken": ""}
    end = time.monotonic()
    text = "\n".join(line for line in err.splitlines() if line.startswith("headrace: ")) or err
    outcome = {
        "ended": "exact" if process.returncode == 0 else "error", "seconds": end - begin, "text": text,
        "spoken": out + err, "differences": "", "clear": process.returncode in (0, 1, 2) and "Traceback" not in err,
        "interrupted": process.returncode == 130,
    }  # fmt: skip
    if process.returncode == 0 and json.loads(out)["digest"] != digest:
        outcome["differences"] = "another digest than that of the data in the order without faults"
    if interrupted_at:
        outcome["interrupt_s"] = end - interrupted_at
        outcome["clear"] = outcome["interrupted"]
    return outcome


def judge(case: Case, outcome: dict[str, Any]) -> list[str]:
    """The contracts that were broken, in words."""
    if outcome["ended"] == "hang":
        return [f"C4: no end within {case.deadline:g} s"]
    wrong = []
    if outcome.get("differences"):
        wrong.append(f"C1-C3: {outcome['differences']}")
    if outcome["seconds"] > case.deadline * TIME_SCALE:
        wrong.append(f"C4: {outcome['seconds']:.1f} s, deadline {case.deadline:g} s")
    if outcome.get("left"):
        wrong.append(f"C5: left behind: {outcome['left']}")
    if (growth := outcome.get("resident_growth", 0)) > RESIDENT_GROWTH_MAX:
        wrong.append(f"C5: {growth >> 20} MiB more resident than after {_CELLS_TO_SETTLE} cells")
    if outcome.get("memory_used"):
        wrong.append(f"C5: {outcome['memory_used']} bytes of the budget still in use")
    if found := SECRETS.search(outcome["spoken"]):
        wrong.append(f"C6: a secret was shown: {found.group()[:20]}")
    if case.interrupt_after:
        return wrong + _judge_interrupt(outcome)
    if outcome["ended"] != {"heals": "exact", "fails": "error"}.get(case.ends, outcome["ended"]):
        wrong.append(
            f"ended with {outcome['ended']}, where it {case.ends}: {outcome['text'][:400]}"
        )
    if outcome["ended"] == "error" and case.ends != "heals":
        wrong += _judge_error(case, outcome)
    return wrong


def _judge_interrupt(outcome: dict[str, Any]) -> list[str]:
    if not outcome["interrupted"]:
        return [f"C7: Ctrl-C did not end it: {outcome['ended']} {outcome['text'][:300]}"]
    late = outcome["interrupt_s"] > CTRL_C_SECONDS_MAX
    return [f"C7: Ctrl-C was answered after {outcome['interrupt_s']:.2f} s"] if late else []


def _judge_error(case: Case, outcome: dict[str, Any]) -> list[str]:
    text = outcome["text"]
    wrong = []
    if not outcome["clear"] or outcome.get("type") == "InternalError":
        wrong.append(f"C6: not one clear error of ours: {outcome['spoken'][-600:]}")
    missing = [word for word in case.words if word.lower() not in text.lower()]
    if missing and case.ends == "fails":
        wrong.append(f"C6: the error does not say {missing}: {text[:400]}")
    if case.error and outcome.get("type", case.error) != case.error:
        wrong.append(f"C6: {outcome['type']} where {case.error} was due: {text[:300]}")
    named = {"key": _KEY.search(text), "bucket": "data" in text, "endpoint": "://" in text}.get(
        case.names, True
    )
    if not named:
        wrong.append(f"C6: the error does not name the {case.names}: {text[:400]}")
    if len(text) > 3000:
        wrong.append(f"C6: an error of {len(text)} characters")
    return wrong
