# SPDX-License-Identifier: Apache-2.0
"""The embedded S3 server from Python: for tests, demos and fault drills.

with Server("data/", profile="s3") as server:
    ds = hr.open("s3://bucket/train-{0..7}.tar", **server.options)
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import NotFoundError, UnavailableError

__all__ = ["Server", "server_program"]

# The server's built-in credentials (docs/serve.md): it listens on the loopback interface only.
ACCESS_KEY, SECRET_KEY = "headrace", "headrace-secret"
_START_SECONDS_MAX = 20.0

FaultRules = Sequence[Mapping[str, Any]] | str | os.PathLike[str]


def server_program() -> Path:
    """The native server: beside the package, or named by HEADRACE_SERVE."""
    named = os.environ.get("HEADRACE_SERVE")
    path = Path(named) if named else Path(__file__).parent / "bin" / "headrace-serve"
    if not os.access(path, os.X_OK):
        raise NotFoundError(
            f"start the server: {path} is not there; reinstall headrace, or name the program in "
            "HEADRACE_SERVE"
        )
    return path


def _rules_json(faults: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"rules": [dict(rule) for rule in faults]})


class Server:
    """A headrace-serve process on a free port of the loopback interface, ended by ``close()``.

    Args:
        root: folder whose sub-folders are the buckets; None with ``--synthetic`` in ``words``.
        profile: latency profile, ``"zero"`` or ``"s3"``.
        anonymous: do not check signatures.
        tls: HTTPS with a certificate of its own, which ``options`` and ``environment`` name.
        faults: fault rules (docs/serve.md), as dictionaries or the path of a JSON file.
        words: more words for the program's command line (docs/serve.md).
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        profile: str = "zero",
        anonymous: bool = False,
        tls: bool = False,
        faults: FaultRules | None = None,
        words: list[str] | None = None,
    ) -> None:
        command = [str(server_program())]
        command += [] if root is None else [os.fspath(root)]
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-serve-")
        port_file = Path(self._folder.name, "port")
        command += ["--port", "0", "--port-file", str(port_file), "--profile", profile]
        command += ["--anonymous"] * anonymous
        self.ca_file = str(Path(self._folder.name, "ca.pem")) if tls else ""
        command += ["--tls", "--tls-out", self.ca_file] if tls else []
        command += [] if faults is None else ["--faults", self._rules_file(faults)]
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command + (words or []), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        self.port = self._wait_for(port_file)
        self.anonymous = anonymous

    def _rules_file(self, faults: FaultRules) -> str:
        if isinstance(faults, str | os.PathLike):
            return os.fspath(faults)
        path = Path(self._folder.name, "faults.json")
        path.write_text(_rules_json(faults))
        return str(path)

    def _wait_for(self, port_file: Path) -> int:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                return int(port_file.read_text())
            time.sleep(0.01)
        self.close()
        self._log.seek(0)
        raise UnavailableError(
            f"start the server: no port after start: {self._log.read(2000).strip()}"
        )

    @property
    def pid(self) -> int:
        """The server's process, for drills that stop or kill it."""
        return self._process.pid

    @property
    def endpoint_url(self) -> str:
        return f"http{'s' if self.ca_file else ''}://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        """Options for :func:`headrace.open`."""
        place: dict[str, Any] = {"endpoint_url": self.endpoint_url, "region": "us-east-1"}
        if self.ca_file:
            place["verify"] = self.ca_file
        if self.anonymous:
            return {**place, "anonymous": True}
        return {
            **place,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables, for another process."""
        return {
            **({"AWS_CA_BUNDLE": self.ca_file} if self.ca_file else {}),
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """The server's counters (docs/serve.md)."""
        counters: dict[str, Any] = json.loads(self._control("GET", "stats"))
        if reset:
            self._control("DELETE", "stats")
        return counters

    def set_faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Puts these rules in place of those in force; counts and time windows begin anew."""
        self._control("POST", "faults", _rules_json(faults).encode())

    def fault_counts(self) -> list[dict[str, Any]]:
        """For each rule kind, op, key and how often it ``matched`` and ``fired``."""
        rules: list[dict[str, Any]] = json.loads(self._control("GET", "faults"))["rules"]
        return rules

    def _control(self, method: str, what: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.endpoint_url}/-/{what}", body, method=method)
        trust = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        with urllib.request.urlopen(request, timeout=10, context=trust) as reply:
            content: bytes = reply.read()
        return content

    def close(self) -> None:
        """Ends the process; idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
