# SPDX-License-Identifier: Apache-2.0
"""headrace-serve as the store of a benchmark: a fresh one for every run, and its counters.

A fresh server with the run's seed gives every contender the same weather: first-byte delays are a
function of (seed, request, attempt).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

# Named as in the tables. "notail" is s3 without its 1 % of late first bytes.
PROFILES: dict[str, list[str]] = {
    "s3": ["--profile", "s3"],
    "notail": ["--profile", "s3", "--tail-probability", "0"],
    "zero": ["--profile", "zero"],
}
_START_SECONDS = 20.0


def find_program(name: str, given: str | None) -> str:
    """The path of a native program: as given, in the package, or newest in build/."""
    repository = Path(__file__).parents[1]
    if given is not None:
        candidates = [Path(given)]
    else:
        built = sorted(repository.glob(f"build/*/**/{name}"), key=lambda p: -p.stat().st_mtime)
        candidates = [repository / "python" / "headrace" / "bin" / name, *built]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise SystemExit(f"no program {name}: build it, or say where it is (see bench/README.md)")


class Server:
    """A running headrace-serve on a free port; a context manager."""

    def __init__(
        self,
        program: str,
        what: list[str],
        profile: str,
        seed: int = 1,
        *,
        writable: bool = False,
        tls: bool = False,  # for the url only: `what` has the options
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-bench-serve-")
        port_file = Path(self._folder.name) / "port"
        self._process = subprocess.Popen(
            [program, *what, "--anonymous", *([] if writable else ["--read-only"]), "--port", "0",
             "--seed", str(seed), "--port-file", str(port_file), *PROFILES[profile]],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.port = self._wait_for_port(port_file)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def _wait_for_port(self, file: Path) -> int:
        limit = time.monotonic() + _START_SECONDS
        while time.monotonic() < limit and self._process.poll() is None:
            text = file.read_text().strip() if file.exists() else ""
            if text:
                return int(text)
            time.sleep(0.01)
        self._process.kill()
        raise SystemExit(f"headrace-serve did not start: {self._process.args}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/-/stats", timeout=10) as reply:
            return dict(json.load(reply))

    def reset_stats(self) -> None:
        request = urllib.request.Request(f"{self.url}/-/stats", method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()

    def cpu_seconds(self) -> float:
        """User and system time of the server so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
