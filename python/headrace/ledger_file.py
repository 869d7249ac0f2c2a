# SPDX-License-Identifier: Apache-2.0
"""The bytes of a ledger file: framing, checksums, start and batch records (docs/ledger.md).

    file   = magic record*
    record = payload bytes (u32), kind (u8), payload, CRC-32 of all before it in the record (u32)

Little-endian. Nothing here knows what a record should contain: writing is ledger.py, judging is
audit.py.
"""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "BATCH",
    "END",
    "MAGIC",
    "START",
    "BatchRecord",
    "Flaw",
    "Record",
    "batch_places",
    "id_width",
    "pack_batch",
    "pack_counts",
    "pack_record",
    "pack_subset",
    "read_records",
    "read_subset",
    "unpack_batch",
    "unpack_counts",
    "unpack_json",
]

MAGIC = b"hrledger1\n"
START, BATCH, END = 1, 2, 3
_SUBSET_MAGIC, _SUBSET = b"hrsubset1\n", 4

_FRAME = struct.Struct("<IB")
_CRC = struct.Struct("<I")
# flags, epoch and position of the batch, epoch and position after it, rows, milliseconds since the
# start record
_BATCH = struct.Struct("<BIQIQII")
_HAS_VALID, _HAS_SKIPPED, _HAS_SOURCES = 1, 2, 4
_PAYLOAD_MAX = 1 << 30  # a batch of 10^8 rows; what claims more is not a ledger
_RUNS_MAX = 64  # run-length pairs that stand in the JSON as they are; more are compressed


@dataclass(frozen=True)
class Record:
    """One record: ``number`` counts from 0 (the first start record), ``offset`` is in bytes."""

    number: int
    offset: int
    kind: int
    payload: bytes


@dataclass(frozen=True)
class Flaw:
    """Bytes that are no record. ``torn``: the file ends inside it, as a kill leaves it."""

    number: int
    offset: int
    size: int
    torn: bool


@dataclass(frozen=True)
class BatchRecord:
    """One delivered batch of one rank.

    Attributes:
        begin: (epoch, position) of the first row of the batch over all ranks.
        after: (epoch, position) of the next batch.
        ids: int64 [B], sample numbers.
        valid: bool [B].
        millis: since the start record.
        skipped: (row, sample number, key, shard, cause) of bad samples.
        sources: int32 [B] for mixtures, else None; below 65,536.
    """

    begin: tuple[int, int]
    after: tuple[int, int]
    ids: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    millis: int
    skipped: tuple[tuple[Any, ...], ...] = ()
    sources: npt.NDArray[np.int32] | None = None


def id_width(samples: int) -> int:
    """Bytes that every sample number below ``samples`` fits in."""
    return max(1, (max(0, samples - 1).bit_length() + 7) // 8)


def pack_record(kind: int, payload: bytes) -> bytes:
    framed = _FRAME.pack(len(payload), kind) + payload
    return framed + _CRC.pack(zlib.crc32(framed))


def pack_batch(record: BatchRecord, width: int) -> bytes:
    """The payload of a batch record, ``width`` bytes an id."""
    rows = len(record.ids)
    ids = np.ascontiguousarray(record.ids, "<i8").view(np.uint8).reshape(rows, 8)
    parts = [ids[:, :width].tobytes()]
    flags = 0
    if not record.valid.all():
        flags |= _HAS_VALID
        parts.append(np.packbits(record.valid).tobytes())
    if record.sources is not None:
        flags |= _HAS_SOURCES
        parts.append(record.sources.astype("<u2").tobytes())
    if record.skipped:
        flags |= _HAS_SKIPPED
        parts.append(json.dumps(record.skipped).encode())
    millis = min(record.millis, 2**32 - 1)
    head = _BATCH.pack(flags, *record.begin, *record.after, rows, millis)
    return b"".join((head, *parts))


def unpack_batch(payload: bytes, width: int) -> BatchRecord:
    """Inverse of :func:`pack_batch`.

    Raises:
        ValueError: the lengths do not fit together.
    """
    flags, begin, after, rows, millis = _batch_head(payload, width)
    at = _BATCH.size
    ids = np.zeros((rows, 8), np.uint8)
    ids[:, :width] = np.frombuffer(payload, np.uint8, rows * width, at).reshape(rows, width)
    at += rows * width
    valid = np.ones(rows, np.bool_)
    if flags & _HAS_VALID:
        bits = np.frombuffer(payload, np.uint8, (rows + 7) // 8, at)
        valid = np.unpackbits(bits, count=rows).astype(np.bool_)
        at += len(bits)
    sources = None
    if flags & _HAS_SOURCES:
        sources = np.frombuffer(payload, "<u2", rows, at).astype(np.int32)
        at += 2 * rows
    skipped = tuple(map(tuple, json.loads(payload[at:]))) if flags & _HAS_SKIPPED else ()
    numbers = ids.view("<i8").reshape(rows)
    return BatchRecord(begin, after, numbers, valid, millis, skipped, sources)


def batch_places(payload: bytes, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """``begin`` and ``after`` of a batch record, without its rows.

    Raises:
        ValueError: the lengths do not fit together.
    """
    _, begin, after, _, _ = _batch_head(payload, width)
    return begin, after


def _batch_head(
    payload: bytes, width: int
) -> tuple[int, tuple[int, int], tuple[int, int], int, int]:
    if len(payload) < _BATCH.size:
        raise ValueError(f"{len(payload)} bytes are too short for a batch")
    flags, epoch, position, next_epoch, next_position, rows, millis = _BATCH.unpack_from(payload)
    need = rows * (width + 2 * bool(flags & _HAS_SOURCES))
    need += (rows + 7) // 8 if flags & _HAS_VALID else 0
    room = len(payload) - _BATCH.size
    if room < need or (room > need and not flags & _HAS_SKIPPED):
        raise ValueError(f"{rows} rows need {need} bytes, there are {room}")
    return flags, (epoch, position), (next_epoch, next_position), rows, millis


def unpack_json(payload: bytes) -> dict[str, Any]:
    """The payload of a start or end record.

    Raises:
        ValueError: not a JSON object.
    """
    found = json.loads(payload)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def pack_counts(counts: npt.NDArray[np.uint64]) -> Any:
    """Samples of each shard as [[samples, shards], ...]; compressed where that is long."""
    edges = np.flatnonzero(np.diff(counts)) + 1
    begins = np.concatenate([np.zeros(1, np.int64), edges]) if len(counts) else edges
    runs = np.stack(
        [counts[begins], np.diff(np.append(begins, len(counts))).astype(np.uint64)], axis=1
    )
    if len(runs) <= _RUNS_MAX:
        return runs.tolist()
    return b64encode(zlib.compress(runs.astype("<u8").tobytes())).decode()


def unpack_counts(packed: Any) -> npt.NDArray[np.uint64]:
    """Inverse of :func:`pack_counts`.

    Raises:
        ValueError: not what pack_counts gives.
    """
    if isinstance(packed, str):
        try:
            runs = np.frombuffer(zlib.decompress(b64decode(packed)), "<u8").reshape(-1, 2)
        except zlib.error as fault:
            raise ValueError(f"shard counts: {fault}") from None
    else:
        runs = np.asarray(packed, np.uint64).reshape(-1, 2)
    return np.repeat(runs[:, 0].astype(np.uint64), runs[:, 1].astype(np.int64))


def pack_subset(samples: int, words: npt.NDArray[np.uint64]) -> bytes:
    """A subset's file: which of ``samples`` take part, a bit each from the lowest of each word."""
    packed = struct.pack("<Q", samples) + zlib.compress(words.astype("<u8").tobytes())
    return _SUBSET_MAGIC + pack_record(_SUBSET, packed)


def read_subset(path: Path) -> tuple[int, npt.NDArray[np.uint64]]:
    """Inverse of :func:`pack_subset`.

    Raises:
        ValueError: not such a file, or damaged.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    framed = content[len(_SUBSET_MAGIC) :]
    payload = framed[_FRAME.size : -_CRC.size]
    if not content.startswith(_SUBSET_MAGIC) or framed != pack_record(_SUBSET, payload):
        raise ValueError(f"{path.name} is damaged")
    (samples,) = struct.unpack_from("<Q", payload)
    return samples, np.frombuffer(zlib.decompress(payload[8:]), "<u8").astype(np.uint64)


def read_records(path: Path) -> Iterator[Record | Flaw]:
    """Every record of a file in order, and what is no record.

    After a record with a wrong checksum reading goes on behind it; at the second one in a row it
    ends, since the lengths cannot be trusted either. Memory is that of one record.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            yield Flaw(0, 0, size, torn=MAGIC.startswith(magic))
            return
        at, number, wrong_before = len(MAGIC), 0, False
        while at < size:
            head = file.read(_FRAME.size)
            length, kind = _FRAME.unpack(head) if len(head) == _FRAME.size else (_PAYLOAD_MAX, 0)
            whole = _FRAME.size + length + _CRC.size
            if at + whole > size:
                yield Flaw(number, at, size - at, torn=True)
                return
            body = file.read(length + _CRC.size)
            payload = body[:length]
            if _CRC.unpack(body[length:])[0] == zlib.crc32(payload, zlib.crc32(head)):
                wrong_before = False
                yield Record(number, at, kind, payload)
            else:
                yield Flaw(number, at, size - at if wrong_before else whole, torn=False)
                if wrong_before:
                    return
                wrong_before = True
            at += whole
            number += 1
