# SPDX-License-Identifier: Apache-2.0
"""The options of ``hr.open``: a user's words, checked, as the core's."""

from __future__ import annotations

import base64
import os
from typing import Any

from headrace import _core
from headrace.options import Faults

__all__ = ["FORMATS", "core_options"]

# Names a user may give, and what the core calls them. boto3's words where boto3 has one.
_OPTIONS = {
    "endpoint_url": "endpoint_url",
    "region": "region",
    "region_name": "region",
    "profile": "profile",
    "profile_name": "profile",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "anonymous": "anonymous",
    "addressing_style": "addressing_style",
    "use_dualstack_endpoint": "dual_stack",
    "use_fips_endpoint": "fips",
    "request_payer": "requester_pays",
    "expected_bucket_owner": "expected_bucket_owner",
    "sse_customer_key": "sse_customer_key",
    "verify": "verify_tls",
    "connections_max": "connections_max",
    "attempts_max": "attempts_max",
    "retry_seconds_max": "retry_seconds_max",
    "hedge": "hedge",
    "connect_timeout": "connect_timeout_s",
    "read_timeout": "read_timeout_s",
    "index": "index",
    "build": "build",
    "save": "save",
    "index_dir": "index_dir",
    "trust": "trust_copy",
    "format": "format",
    "check": "verify",
    "checksums": "checksums",
    "rebuild": "rebuild",
    "refresh": "refresh",
    "order": "order",
    "window": "window",
    "token_dtype": "token_dtype",
    "eos": "eos",
    "samples": "samples",
    "boundaries": "boundaries",
    "cache_dir": "cache_dir",
    "cache_bytes": "cache_bytes",
}
_TRUTHS = (
    "anonymous",
    "boundaries",
    "build",
    "check",
    "hedge",
    "rebuild",
    "refresh",
    "use_dualstack_endpoint",
    "use_fips_endpoint",
)
FORMATS = (
    "webdataset",
    "mds",
    "jsonl",
    "mosaic-json",
    "mosaic-xsv",
    "tokens",
    "tfrecord",
    "arrayrecord",
    "litdata",
    "parquet",
    "arrow",
    "images",
    "npy",
    "npz",
    "objects",
)


def core_options(options: dict[str, Any]) -> dict[str, Any]:
    """The core's options; every fault is reported at once."""
    faults = Faults("open")
    core: dict[str, Any] = {}
    known = {name: value for name, value in options.items() if name in _OPTIONS}
    faults.unknown({n: v for n, v in options.items() if n not in _OPTIONS}, _OPTIONS)
    for name, value in known.items():
        if value is None:
            if name == "save":
                core["save"] = ""
            continue
        if name == "verify":
            core["verify_tls"] = value is not False
            if isinstance(value, str | os.PathLike):
                core["ca_file"] = os.fspath(value)
        elif name == "trust":
            faults.choice("trust", value, ("copy",))
            core["trust_copy"] = value == "copy"
        elif name == "checksums":
            faults.choice(name, value, ("full", "none"))
            core["verify" if value == "full" else "headers_only"] = True
        elif name == "addressing_style":
            faults.choice(name, value, ("auto", "path", "virtual"))
            core[name] = str(value)
        elif name == "request_payer":
            faults.choice(name, value, ("requester",))
            core["requester_pays"] = value == "requester"
        elif name == "sse_customer_key":
            core[name] = _base64_key(value)
        elif name in _TRUTHS:
            core[_OPTIONS[name]] = bool(value)
        elif name.endswith("_timeout"):
            core[_OPTIONS[name]] = _seconds(name, value, faults)
        elif name == "cache_dir":
            core[name] = os.path.abspath(os.path.expanduser(os.fspath(value)))
        elif name == "cache_bytes":
            core[name] = faults.size(name, value)
        elif name == "eos":
            core[name] = int(value)
        elif name == "window" or name.endswith("_max"):
            core[_OPTIONS[name]] = faults.count(name, value, least=1)
        else:
            core[_OPTIONS[name]] = (
                os.fspath(value) if isinstance(value, os.PathLike) else str(value)
            )
    if "cache_bytes" in core and "cache_dir" not in core:
        faults.add(f"cache_bytes={options['cache_bytes']!r} needs cache_dir=: a local folder")
    if "format" in core:
        faults.choice("format", core["format"], FORMATS)
    if "samples" in core:
        faults.choice("samples", core["samples"], ("window", "packed", "sequence", "document"))
    if "order" in core:
        faults.choice("order", core["order"], ("stream",))
    faults.raise_any()
    if core.get("verify_tls", True) and "ca_file" not in core and not _core.knows_trusted_cas():
        core.update(_certifi_bundle())
    return core


def _seconds(name: str, value: Any, faults: Faults) -> float | None:
    """A time limit in (0, an hour]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
        faults.add(f"{name}={value!r} is not a number of seconds in (0, 3600]")
        return None
    return float(value)


def _base64_key(value: str | bytes) -> str:
    """A customer's key as S3 is sent it: 32 bytes, or their base64; the core checks the length."""
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return (raw if len(raw) == 44 else base64.b64encode(raw)).decode("ascii", "replace")


def _certifi_bundle() -> dict[str, str]:
    """certifi's CAs, for machines without a bundle of their own (slim containers)."""
    try:
        import certifi
    except ImportError:
        return {}  # an https:// endpoint then says what to install
    return {"ca_file": certifi.where()}
