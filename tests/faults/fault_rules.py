# SPDX-License-Identifier: Apache-2.0
"""Talks to a fault server's control endpoint (docs/serve.md) from any process."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from typing import Any

_SECONDS = 20  # rules for connections strike these too, and have an end


def _ask(control: dict[str, str], method: str, what: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"{control['url']}/-/{what}", body, method=method)
    trust = ssl.create_default_context(cafile=control["ca"]) if control.get("ca") else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            with opener.open(request, timeout=3) as reply:
                return json.loads(reply.read())
        except OSError:  # also URLError, timeouts, broken TLS
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def set_rules(control: dict[str, str], rules: list[dict[str, Any]]) -> None:
    _ask(control, "POST", "faults", json.dumps({"rules": rules}).encode())


def clear_rules(control: dict[str, str]) -> None:
    _ask(control, "DELETE", "faults")


def fired(control: dict[str, str]) -> list[int]:
    """How often each rule has fired."""
    return [rule["fired"] for rule in _ask(control, "GET", "faults")["rules"]]


def reset_stats(control: dict[str, str]) -> None:
    _ask(control, "DELETE", "stats")


def stats(control: dict[str, str]) -> Any:
    return _ask(control, "GET", "stats")
