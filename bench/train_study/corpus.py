# SPDX-License-Identifier: Apache-2.0
"""Text in stored order: source after source, document after document, cut into pieces.

The eight sources are files that this project's own environment (tools/requirements.txt) brings:
nothing is downloaded. Versions differ between machines, so the corpus is made once, kept beside the
results with its SHA-256, and runs on different corpora are never put in one table. A piece is 65
bytes: 64 predictions. Neighbouring pieces are of one document, so the structure is finer than the
source, as in token shards of long documents. Held-out pieces come from other documents (one
document in eight, by the hash of its text).
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PIECE = 65
DOCUMENT_BYTES_MAX = 16 << 10
LETTERS = bytes([10, *range(32, 127)])  # all else is one more letter, "other"
ALPHABET = len(LETTERS) + 1

# source: (root, pattern of names below it, words of which one must stand in the path or ())
SOURCES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "python": ("stdlib", ("*.py",), "", "site-packages"),
    "stubs": ("purelib", ("*.pyi",), "", ""),
    "headers": ("purelib", ("*.h",), "torch/include", "ATen/ops"),
    "generated": ("purelib", ("*.h",), "ATen/ops", ""),
    "json": ("purelib", ("*.json",), "botocore", ""),
    "cmake": ("purelib", ("*.cmake",), "cmake/data", ""),
    "manual": ("purelib", ("*.rst",), "cmake/data", ""),
    "prose": ("purelib", ("METADATA", "LICENSE*", "*.md"), "", ""),
}


@dataclass(frozen=True)
class Corpus:
    pieces: np.ndarray  # [N, 65] uint8, letters 0..96, stored order
    sources: np.ndarray  # [N] int64
    documents: np.ndarray  # [N] int64: a number for each document
    held_out: np.ndarray  # [M, 65] uint8, the same number of each source
    sha256: str


def documents(source: str) -> Iterator[bytes]:
    """A source's documents in order of path, none twice."""
    root_name, patterns, wanted, unwanted = SOURCES[source]
    root = Path(sysconfig.get_paths()[root_name])
    seen: set[bytes] = set()
    for path in sorted(path for pattern in patterns for path in root.rglob(pattern)):
        name = path.relative_to(root).as_posix()
        if wanted not in name or (unwanted and unwanted in name) or not path.is_file():
            continue
        text = path.read_bytes()[:DOCUMENT_BYTES_MAX]
        digest = hashlib.sha256(text).digest()
        if len(text) >= 4 * PIECE and digest not in seen:
            seen.add(digest)
            yield text


def spelled(text: bytes) -> np.ndarray:
    table = np.full(256, len(LETTERS), np.uint8)
    table[list(LETTERS)] = np.arange(len(LETTERS))
    return table[np.frombuffer(text, np.uint8)]


def pieces_of(source: str, train: int, held_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The source's pieces, `train` for training and `held_out` of other documents; and the number
    of the document of each piece for training."""
    found: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for text in documents(source):
        letters = spelled(text)
        cut = letters[: len(letters) // PIECE * PIECE].reshape(-1, PIECE)
        found[hashlib.sha256(text).digest()[0] % 8 == 0].append(cut)
    result = []
    for kind, count in ((False, train), (True, held_out)):
        pieces = np.concatenate(found[kind]) if found[kind] else np.empty((0, PIECE), np.uint8)
        if len(pieces) < count:
            raise ValueError(
                f"make corpus {source}: {len(pieces)} pieces of {count}; "
                "install tools/requirements.txt"
            )
        if kind:  # all held-out documents a little, not the first of them
            pieces = pieces[np.arange(count) * len(pieces) // count]
        result.append(pieces[:count])
    sizes = [len(cut) for cut in found[False]]
    return result[0], result[1], np.repeat(np.arange(len(sizes)), sizes)[:train]


def make_corpus(samples: int, held_out: int) -> Corpus:
    each = len(SOURCES)
    if samples % each or held_out % each:
        raise ValueError(f"make corpus: {samples} and {held_out} are not multiples of {each}")
    found = [pieces_of(source, samples // each, held_out // each) for source in SOURCES]
    pieces = np.concatenate([train for train, _, _ in found])
    held = np.concatenate([held for _, held, _ in found])
    sources = np.repeat(np.arange(each), samples // each)
    numbers = np.concatenate([documents for _, _, documents in found])
    documents = np.unique(sources * samples + numbers, return_inverse=True)[1]
    return Corpus(pieces, sources, documents, held, digest_of(pieces, held))


def digest_of(pieces: np.ndarray, held_out: np.ndarray) -> str:
    return hashlib.sha256(pieces.tobytes() + held_out.tobytes()).hexdigest()


def load_corpus(samples: int, held_out: int, folder: Path) -> Corpus:
    """The corpus of this folder, made when it is first asked for."""
    path = folder / f"corpus-{samples}-{held_out}.npz"
    if not path.exists():
        made = make_corpus(samples, held_out)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(
            unfinished,
            pieces=made.pieces,
            sources=made.sources,
            documents=made.documents,
            held_out=made.held_out,
        )
        unfinished.replace(path)
    with np.load(path) as kept:
        arrays = {name: kept[name] for name in kept.files}
    return Corpus(**arrays, sha256=digest_of(arrays["pieces"], arrays["held_out"]))
