# SPDX-License-Identifier: Apache-2.0
"""Manifests: which shards a data set has, in which state, as a small JSON file (docs/manifest.md).

A manifest pins a data set: opened by one, it is these shards with these sizes and ETags, or an
error that names the shard that differs. It is data from somewhere else: every value is checked
before it is used, and nothing of it but keys, sizes, ETags and counts is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace.errors import CorruptError, MismatchError, OptionError
from headrace.open_options import FORMATS, core_options
from headrace.urls import Location, locate

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["Manifest", "check_counts", "located", "manifest_of", "parse_manifest"]

VERSION = 1
# 1.5 million shards of 170 bytes; more is a listing's work.
MANIFEST_BYTES_MAX = 256 << 20
SHARDS_MAX = 4_000_000
_KEY_BYTES_MAX = 1024  # S3's
_ETAG_CHARS_MAX = 1024
_SIZE_MAX = 1 << 50  # above any store's objects
# Formats whose shards an index.json names: they are opened by their folder.
_BY_FOLDER = ("mds", "mosaic-json", "mosaic-xsv", "litdata")
_NAMES = {"headrace_manifest", "url", "format", "samples", "bytes", "shards"}


@dataclass(frozen=True)
class Manifest:
    """Attributes: url: the folder that keys are relative to, ending in "/"; "" for the manifest's
    own. shards: (key, bytes, ETag, samples or None) of each, in order."""

    url: str
    format: str
    shards: tuple[tuple[str, int, str, int | None], ...]


def manifest_of(dataset: Dataset) -> dict[str, Any]:
    """The manifest of an opened data set, ready for ``json.dump``."""
    counted = dataset.counted
    return {
        "headrace_manifest": VERSION,
        "url": dataset.url,
        "format": dataset.format,
        "samples": dataset.core.samples if counted else None,
        "bytes": dataset.nbytes,
        "shards": [
            {"key": key, "bytes": size, "etag": etag, **({"samples": n} if counted else {})}
            for key, size, n, etag in dataset.shards
        ],
    }


def located(source: Any, options: dict[str, Any]) -> tuple[Location, dict[str, Any]]:
    """What ``hr.open(source, **options)`` means: the location and the core's options.

    A source named ``manifest.json`` or ``*.manifest.json`` is one, and so is ``manifest=``, of
    which the shards are then looked for under the source.
    """
    given = dict(options)
    where = given.pop("manifest", None)
    by_name = where is None and _is_manifest(source)
    if where is None and not by_name:
        return locate(source), core_options(given)
    path = os.fspath(source if where is None else where)
    core = core_options(given)
    at = locate(path)
    if len(at.keys) != 1:
        raise OptionError(f"open the manifest {path!r}: name one file")
    text = _core.read_object(at.urls()[0], core | {"queries": dict(at.queries)}, MANIFEST_BYTES_MAX)
    try:
        manifest = parse_manifest(text)
    except CorruptError as fault:
        raise CorruptError(f"open the manifest {at.urls()[0]}: {fault}") from None
    folder = at.urls()[0].rsplit("/", 1)[0] + "/"
    if manifest.url.startswith("file:") and not folder.startswith("file:") and by_name:
        raise CorruptError(
            f"open the manifest {at.urls()[0]}: it lies in a store and names {manifest.url}, files "
            "of this machine; give their folder yourself: hr.open(FOLDER, manifest=...)"
        )
    return _location(manifest, folder if by_name else source, core, pinned=not by_name)


def _is_manifest(source: Any) -> bool:
    if not isinstance(source, str | os.PathLike):
        return False
    name = os.fspath(source).partition("?")[0].rsplit("/", 1)[-1]
    return name == "manifest.json" or name.endswith(".manifest.json")


def _location(
    manifest: Manifest, folder: Any, core: dict[str, Any], *, pinned: bool
) -> tuple[Location, dict[str, Any]]:
    """`pinned`: the user said where the shards lie, whatever the manifest says."""
    root = locate(folder if pinned or not manifest.url else manifest.url)
    if root.keys:
        raise OptionError(f"open {root.urls()[0]} with a manifest: name the folder of its shards")
    prefix = root.prefix if root.prefix.endswith("/") or not root.prefix else root.prefix + "/"
    keys = tuple(prefix + key for key, _, _, _ in manifest.shards)
    if core.get("format", manifest.format) != manifest.format:
        raise OptionError(f"open by manifest: it says {manifest.format}, format= {core['format']}")
    core["expected"] = [(k, s[1], s[2]) for k, s in zip(keys, manifest.shards, strict=True)]
    counts = [samples for _, _, _, samples in manifest.shards]
    if None not in counts:
        core["expected_samples"] = counts
    if manifest.format in _BY_FOLDER:
        return replace(root, prefix=prefix), core
    core["format"] = manifest.format
    return Location(root.root, keys, "", manifest.format), core


def check_counts(dataset: Dataset, options: dict[str, Any]) -> None:
    """Raises MismatchError when a shard has other samples than the manifest says."""
    expected = options.get("expected_samples")
    if expected is None or not dataset.counted:
        return
    for (key, _, samples, _), said in zip(dataset.shards, expected, strict=True):
        if samples != said:
            raise MismatchError(
                f"check the manifest against {dataset.url}{key}: samples: the manifest says "
                f"{said:,}, the index {samples:,}; write the manifest anew with `headrace manifest`"
            )


def parse_manifest(text: bytes) -> Manifest:
    """Raises CorruptError that says what is wrong."""
    try:
        root = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        raise CorruptError(f"no manifest: {fault}") from None
    if not isinstance(root, dict) or "headrace_manifest" not in root:
        raise CorruptError('no manifest: it has no "headrace_manifest"')
    if root["headrace_manifest"] != VERSION:
        raise CorruptError(f"version {root['headrace_manifest']!r}, this headrace reads {VERSION}")
    if unknown := sorted(set(root) - _NAMES):
        raise CorruptError(f"unknown names {unknown[:3]}")
    kind, url, rows = root.get("format"), root.get("url", ""), root.get("shards")
    if kind not in FORMATS:
        raise CorruptError(f'"format" is {kind!r}, not one of {", ".join(FORMATS)}')
    if not isinstance(url, str) or "?" in url or "{" in url or (url and not url.endswith("/")):
        raise CorruptError('"url" is no folder ending in "/" (without query and braces)')
    if not isinstance(rows, list) or not 0 < len(rows) <= SHARDS_MAX:
        raise CorruptError(f'"shards" is no list of 1 to {SHARDS_MAX:,}')
    shards = tuple(_shard(number, row) for number, row in enumerate(rows))
    if len({key for key, _, _, _ in shards}) != len(shards):
        raise CorruptError("a shard stands in it twice")
    _check_sums(root, shards)
    return Manifest(url, kind, shards)


def _check_sums(root: dict[str, Any], shards: tuple[tuple[str, int, str, int | None], ...]) -> None:
    if root.get("bytes") is not None and root["bytes"] != sum(s[1] for s in shards):
        raise CorruptError(
            f'"bytes" is {root["bytes"]!r}, the shards have {sum(s[1] for s in shards)}'
        )
    counts = [s[3] for s in shards if s[3] is not None]
    if counts and len(counts) != len(shards):
        raise CorruptError('some shards have "samples", others have not')
    if root.get("samples") is not None and counts and root["samples"] != sum(counts):
        raise CorruptError(f'"samples" is {root["samples"]!r}, the shards have {sum(counts)}')


def _shard(number: int, row: Any) -> tuple[str, int, str, int | None]:
    if not isinstance(row, dict) or set(row) - {"key", "bytes", "etag", "samples"}:
        raise CorruptError(f"shard {number} is not an object of key, bytes, etag, samples")
    key, size, etag, samples = (row.get(name) for name in ("key", "bytes", "etag", "samples"))
    if not isinstance(key, str) or not key or len(key.encode("utf-8", "replace")) > _KEY_BYTES_MAX:
        raise CorruptError(f'shard {number}: "key" is no text of 1 to {_KEY_BYTES_MAX} bytes')
    if key.startswith("/") or "\0" in key or any(p in ("", ".", "..") for p in key.split("/")):
        raise CorruptError(f"shard {number}: key {key[:80]!r} leaves the folder, or is none")
    if type(size) is not int or not 0 < size <= _SIZE_MAX:
        raise CorruptError(f'shard {number} {key[:80]!r}: "bytes" is {size!r:.40}')
    if etag is not None and (not isinstance(etag, str) or len(etag) > _ETAG_CHARS_MAX):
        raise CorruptError(f'shard {number} {key[:80]!r}: "etag" is no text')
    if samples is not None and (type(samples) is not int or not 0 <= samples < 1 << 32):
        raise CorruptError(f'shard {number} {key[:80]!r}: "samples" is {samples!r:.40}')
    return key, size, etag or "", samples


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
