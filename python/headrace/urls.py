# SPDX-License-Identifier: Apache-2.0
"""From what a user writes to the objects that are meant: brace expansion, lists, prefixes, local
paths.

Nothing here touches the network. Brace expansion gives what the ``braceexpand`` package gives,
which is what WebDataset users write.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from urllib.parse import quote, urlsplit

from headrace.errors import OptionError

__all__ = ["Location", "braceexpand", "locate"]

# More is a slip of the pen ({0..1000000000}) and would fill the memory before anything is read.
URLS_MAX = 10_000_000

_INTS = re.compile(r"^(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?$")
_CHARS = re.compile(r"^([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d+))?$")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHARD_FORMATS = {
    ".tar": "webdataset",
    ".mds": "mds",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tfrecords": "tfrecord",
    ".array_record": "arrayrecord",
    ".arrayrecord": "arrayrecord",
    ".bin": "tokens",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
    ".jpg": "images",
    ".jpeg": "images",
    ".png": "images",
    ".webp": "images",
    ".npy": "npy",
    ".npz": "npz",
}
_COMPRESSIONS = (".gz", ".zst", ".zstd", ".bz2", ".br", ".snappy", ".zlib")
# S3 and Google, version 4; their version 2; Azure.
_SIGNED = re.compile(r"(?:^|&)(?:X-Amz-Signature|X-Goog-Signature|Signature|sig)=", re.IGNORECASE)
_SCHEMES = ("s3", "gs", "file", "http", "https")


def braceexpand(pattern: str) -> list[str]:
    """``"x{0..2}.{a,b}"`` becomes six names, as bash and the braceexpand package expand it.

    Raises:
        OptionError: unbalanced braces, or more than ``URLS_MAX`` names.
    """
    return [re.sub(r"\\(.)", r"\1", name) for name in _expand(pattern)]


def _expand(pattern: str) -> list[str]:
    parts: list[list[str]] = []
    start = position = depth = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 2
            continue
        if char == "{":
            if depth == 0 and position > start:
                parts.append([pattern[start:position]])
                start = position
            depth += 1
        elif char == "}":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                parts.append(_braces(pattern[start + 1 : position]))
                start = position + 1
        position += 1
    if depth != 0:
        raise OptionError(
            f"expand {_bare(pattern)!r}: unbalanced braces; a brace meant as such is \\{{"
        )
    if start < len(pattern):
        parts.append([pattern[start:]])
    _check_count(pattern, math.prod(len(part) for part in parts))
    return ["".join(choice) for choice in product(*parts)]


def _check_count(pattern: str, names: int) -> None:
    if names > URLS_MAX:
        raise OptionError(
            f"expand {_bare(pattern)!r}: {names:,} names, more than {URLS_MAX:,}; "
            "use a prefix instead"
        )


def _braces(inside: str) -> list[str]:
    """What stands between one pair of braces: a range, a list, or a text that is neither."""
    if (match := _INTS.match(inside)) is not None:
        return _int_range(match.group(1), match.group(2), match.group(3))
    if (match := _CHARS.match(inside)) is not None:
        return _char_range(match.group(1), match.group(2), match.group(3))
    items = _split_commas(inside)
    if items is None:
        return ["{" + name + "}" for name in _expand(inside)]
    return [name for item in items for name in _expand(item)]


def _split_commas(text: str) -> list[str] | None:
    """The comma-separated items at depth 0; None when there is no such comma."""
    items: list[str] = []
    start = position = depth = 0
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 2
            continue
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            items.append(text[start:position])
            start = position + 1
        position += 1
    return [*items, text[start:]] if items else None


def _int_range(first: str, last: str, step: str | None) -> list[str]:
    padded = any(t.startswith(("0", "-0")) for t in (first, last) if t not in ("0", "-0"))
    width = max(len(first), len(last)) if padded else 0
    by = (int(step) if step else 1) or 1
    begin, end = int(first), int(last)
    numbers = range(begin, end + 1, by) if begin < end else range(begin, end - 1, -by)
    _check_count(f"{{{first}..{last}}}", len(numbers))
    return [f"{number:0{width}d}" if width else str(number) for number in numbers]


def _char_range(first: str, last: str, step: str | None) -> list[str]:
    by = (int(step) if step else 1) or 1
    begin, end = _ALPHABET.index(first), _ALPHABET.index(last)
    if begin < end:
        return list(_ALPHABET[begin : end + 1 : by])
    return list(_ALPHABET[end : begin + 1][::-1][::by])


@dataclass(frozen=True)
class Location:
    """Where a data set lies.

    Attributes:
        root: what stands before the keys and is opened as one store: ``s3://bucket``, ``file:///``,
            ``https://host``.
        keys: the objects in the user's order; empty when ``prefix`` is to be listed.
        prefix: a folder or key prefix, as written; only when ``keys`` is empty.
        format: ``"webdataset"``, ``"mds"``, ... when the names say so, else ``""``.
        queries: (key, query) of presigned URLs. Secrets: for requests only, never shown.
    """

    root: str
    keys: tuple[str, ...]
    prefix: str
    format: str
    queries: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def urls(self) -> list[str]:
        return [f"{self.root}/{key}" for key in self.keys or (self.prefix,)]


def locate(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Location:
    """What a user's URL, path, brace pattern, folder or list of these means.

    Raises:
        OptionError: nothing given, an unknown scheme, several buckets, or a mixture of folders and
        files.
    """
    given = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not given:
        raise OptionError("open []: an empty list of URLs; give at least one")
    names = [name for item in given for name in _names(item)]
    presigned = [_without_query(name) for name in names]
    names = [name for name, _ in presigned]
    split = [_split(name) for name in names]
    roots = list(dict.fromkeys(root for root, _ in split))
    if len(roots) > 1:
        raise OptionError(
            f"open {names[0]!r}: the URLs lie in {len(roots)} places ({', '.join(roots[:3])}); "
            "one data set has one bucket: open each and use the data sets side by side"
        )
    keys = [key for _, key in split]
    formats = {kind for key in keys if (kind := _format_of(key))}
    if len(formats) > 1:
        raise OptionError(
            f"open {names[0]!r}: the names are of several formats ({', '.join(sorted(formats))}); "
            "a data set has one format: name only the shards of one"
        )
    found = next(iter(formats), "")
    queries = tuple((k, query) for k, (_, query) in zip(keys, presigned, strict=True) if query)
    if len(keys) == 1 and (folder := _folder_of(keys[0])) is not None:
        if queries:
            raise OptionError(
                f"open {_shown(names[0])}: a presigned URL of a folder or an index; a signature "
                "holds for one object: give the list of the shards' presigned URLs"
            )
        return Location(roots[0], (), folder, found)
    for key in keys:
        if not key or key.endswith("/"):
            raise OptionError(
                f"open {key!r}: a folder in a list of {len(keys)}; list shards, or one folder"
            )
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise OptionError(
            f"open {roots[0]}/{twice}: named more than once; each shard may stand once"
        )
    return Location(roots[0], tuple(keys), "", found, queries)


def _names(item: str | os.PathLike[str]) -> list[str]:
    if isinstance(item, os.PathLike):
        return [os.fspath(item)]  # a path is meant literally
    return braceexpand(item)


def _without_query(name: str) -> tuple[str, str]:
    """A presigned URL as (URL, query). What else may be a secret in a URL is refused."""
    scheme, _, rest = name.partition("://")
    if scheme not in ("http", "https"):
        return name, ""
    plain, _, query = name.partition("?")
    if "@" in rest.partition("/")[0].partition("?")[0]:
        raise OptionError(f"open {_shown(name)}: a user or a password in a URL is not supported")
    if query and not _SIGNED.search(query):
        raise OptionError(
            f"open {_shown(name)}: a query in a URL is not supported, but for the signature of a "
            "presigned one (X-Amz-Signature, X-Goog-Signature, Signature, sig)"
        )
    return plain, query


def _split(name: str) -> tuple[str, str]:
    """(root, key) of one URL or path."""
    if "://" not in name:
        absolute = os.path.abspath(os.path.expanduser(name))
        ending = "/" if name.endswith("/") or os.path.isdir(absolute) else ""
        return "file://", absolute.lstrip("/") + ending
    scheme, rest = name.split("://", 1)
    if scheme not in _SCHEMES:
        raise OptionError(
            f"open {_shown(name)}: scheme '{scheme}' is not one of {', '.join(_SCHEMES)}"
        )
    if scheme == "file":
        return "file://", rest.lstrip("/") + (
            "/" if os.path.isdir(rest) and rest[-1:] != "/" else ""
        )
    host, _, key = rest.partition("/")
    if not host:
        raise OptionError(f"open {_shown(name)}: no bucket or host after '{scheme}://'")
    return f"{scheme}://{host}", key


def _bare(pattern: str) -> str:
    """A pattern for a message: without what may be a secret."""
    head, slashes, rest = pattern.partition("?")[0].rpartition("://")
    return head + slashes + (rest.rpartition("@")[2] if slashes else rest)


def _shown(url: str) -> str:
    """A URL for a message: without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    return quote(
        f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}", safe=":/{}.,-_ "
    )


def _format_of(key: str) -> str:
    base = key.rsplit("/", 1)[-1]
    if base == "index.json":
        return "mds"
    name, ending = os.path.splitext(base)
    if ending.lower() in _COMPRESSIONS:
        ending = os.path.splitext(name)[1]
    return _SHARD_FORMATS.get(ending.lower(), "")


def _folder_of(key: str) -> str | None:
    """The prefix to list when `key` names a folder rather than an object."""
    if key == "" or key.endswith("/"):
        return key
    if key.rsplit("/", 1)[-1] == "index.json":
        return key[: -len("index.json")]
    return None if "." in key.rsplit("/", 1)[-1] else key
