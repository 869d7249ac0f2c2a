# SPDX-License-Identifier: Apache-2.0
"""A manifest (docs/manifest.md) as the list of names that the mount takes instead of listing.

The native program reads no JSON: it gets a list of its own (src/mount/name_list.h), which lives as
long as the program takes to read it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import CorruptError, NotFoundError
from headrace.manifest import MANIFEST_BYTES_MAX, parse_manifest

__all__ = ["names_file", "names_of"]

_FIRST_LINE = b"headrace-names 1\n"


def names_of(text: bytes) -> bytes:
    """The list of names of a manifest's text.

    Raises:
        CorruptError: it is no manifest, or has a shard without ETag: a mount names it in each read.
    """
    parts = [_FIRST_LINE]
    for key, size, etag, _ in parse_manifest(text).shards:
        if not etag or " " in etag or "\0" in etag:
            raise CorruptError(
                f"shard {key[:80]!r} has no ETag, and a mount reads one version of each object; "
                "write the manifest anew with `headrace manifest`"
            )
        parts.append(b"%d %s %s\0" % (size, os.fsencode(etag), os.fsencode(key)))
    return b"".join(parts)


@contextlib.contextmanager
def names_file(manifest: str | os.PathLike[str]) -> Iterator[str]:
    """A file of the names in the manifest at this path, gone afterwards."""
    path = Path(manifest)
    try:
        with path.open("rb") as file:
            text = file.read(MANIFEST_BYTES_MAX + 1)
    except OSError as cause:
        raise NotFoundError(f"mount by the manifest {path}: {cause.strerror}") from None
    try:
        if len(text) > MANIFEST_BYTES_MAX:
            raise CorruptError(f"more than {MANIFEST_BYTES_MAX} bytes")
        names = names_of(text)
    except CorruptError as fault:
        raise CorruptError(f"mount by the manifest {path}: {fault}") from None
    with tempfile.NamedTemporaryFile(prefix="headrace-names-") as made:
        made.write(names)
        made.flush()
        yield made.name
