# SPDX-License-Identifier: Apache-2.0
"""Whether a file is whole, as far as its format can say: what cut_sweep.py judges readers by.

Written after the formats' documents with Python's own parsers, not with code of headrace. Of a format
that says how long its files are (a count, a footer, a trailer, an end mark, a size in another file)
no cut file is whole; only those follow that do not say it. A whole file may be an empty one.
"""

import bz2
import json
import zlib
from pathlib import Path


def whole_file(path: Path) -> bool:
    """True of a file that no reader could tell from one that was written so."""
    name, content = path.name, path.read_bytes()
    if name.endswith(".gz"):
        return (plain := of_members(content, 31)) is not None and whole_content(name[:-3], plain)
    if name.endswith(".zlib"):
        return (plain := of_members(content, 15)) is not None and whole_content(name[:-5], plain)
    if name.endswith(".bz2"):
        return (plain := of_bzip2(content)) is not None and whole_content(name[:-4], plain)
    if name.endswith(".zst"):
        return (plain := of_zstd(content)) is not None and whole_content(name[:-4], plain)
    return whole_content(name, content)


def whole_content(name: str, content: bytes) -> bool:
    if name.endswith(".tar"):
        return whole_tar(content)
    if name.endswith((".jsonl", ".ndjson")):
        return whole_lines(content)
    if ".tfrecord" in name:
        return whole_records(content)
    if name.endswith((".npy", ".npz", ".jpg", ".jpeg", ".png")):
        return (
            not content
        )  # empty objects are no samples: folders' markers (docs/formats/objects.md)
    return (
        name.endswith(".bin") and len(content) % 2 == 0
    )  # nanoGPT: 16-bit tokens and nothing else


def whole_tar(content: bytes) -> bool:
    """Ends behind the padding of a member, or behind a block of zeros (POSIX wants two)."""
    at, promised = 0, False
    while at < len(content):
        header = content[at : at + 512]
        if len(header) < 512:
            return False
        if header == bytes(512):
            return len(content) % 512 == 0 and not promised
        octal = header[124:136].rstrip(b" \0") or b"0"
        size = int.from_bytes(header[125:136]) if header[124] & 0x80 else int(octal, 8)
        kind = header[156:157]
        promised = kind in b"xLK"  # the member that this one describes has to follow
        if kind in b"12345 6":
            size = 0
        at += 512 + -(-size // 512) * 512
    return at == len(content) and not promised


def whole_lines(content: bytes) -> bool:
    """Every line is JSON; the last may lack its newline."""
    try:
        for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            if line.strip():
                json.loads(line)
    except ValueError:
        return False
    return True


def whole_records(content: bytes) -> bool:
    """Length, its CRC, payload, its CRC; again and again."""
    at = 0
    while at + 12 <= len(content):
        at += 16 + int.from_bytes(content[at : at + 8], "little")
    return at == len(content)


def of_members(content: bytes, window_bits: int) -> bytes | None:
    """What whole gzip (31) or zlib (15) members hold, one after another; None of others."""
    plain = b""
    while content:
        member = zlib.decompressobj(window_bits)
        try:
            plain += member.decompress(content)
        except zlib.error:
            return None
        if not member.eof:
            return None
        content = member.unused_data
    return plain


def of_bzip2(content: bytes) -> bytes | None:
    plain = b""
    while content:
        stream = bz2.BZ2Decompressor()
        try:
            plain += stream.decompress(content)
        except OSError:
            return None
        if not stream.eof:
            return None
        content = stream.unused_data
    return plain


def of_zstd(content: bytes) -> bytes | None:
    """Whole frames (RFC 8878) are walked by their blocks' headers, then decoded by Arrow's zstd."""
    import pyarrow as pa

    at = 0
    while at < len(content):
        end = end_of_frame(content, at)
        if end is None or end > len(content):
            return None
        at = end
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            return stream.read()
    except OSError:
        return None if content else b""


def end_of_frame(content: bytes, at: int) -> int | None:
    """Where the frame that begins at `at` ends; None when its headers are not all there."""
    magic = content[at : at + 4]
    if magic[1:] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F:  # skippable
        size = content[at + 4 : at + 8]
        return at + 8 + int.from_bytes(size, "little") if len(size) == 4 else None
    if magic != b"\x28\xb5\x2f\xfd" or at + 5 > len(content):
        return None
    flags = content[at + 4]
    single = flags >> 5 & 1
    at += 5 + (not single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    last = False
    while not last:
        header = content[at : at + 3]
        if len(header) < 3:
            return None
        word = int.from_bytes(header, "little")
        last = bool(word & 1)
        at += 3 + (1 if word >> 1 & 3 == 1 else word >> 3)
    return at + 4 * (flags >> 2 & 1)
