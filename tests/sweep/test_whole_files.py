# SPDX-License-Identifier: Apache-2.0
"""The judge of the cut sweep, against files that Python's own modules wrote."""

import bz2
import gzip
import io
import struct
import tarfile
import zlib
from pathlib import Path

import pytest
from whole_files import whole_file

LINES = b'{"a": 1}\n{"a": "two"}\n'
LINE = LINES[:9]
FIXTURES = Path(__file__).parents[1] / "fixtures"


def tar_of(form):
    """Two members of 600 bytes, the names of the second too long for a plain header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name in ("a.txt", "d" * 120 + "/b.txt"):
            member = tarfile.TarInfo(name)
            member.size = 600
            tar.addfile(member, io.BytesIO(bytes(600)))
    return out.getvalue()


def whole_lengths(folder, name, content, step=1):
    """Lengths, the whole one last, at which the file is called whole."""
    path = folder / name
    found = []
    for length in sorted({*range(0, len(content), step), len(content)}):
        path.write_bytes(content[:length])
        if whole_file(path):
            found.append(length)
    return found


@pytest.mark.parametrize(
    ("name", "content", "whole"),
    [
        # Behind each }, with and without the newline; nothing at all.
        ("a.jsonl", LINES, [0, 8, 9, 21, 22]),
        ("a.tfrecord", (struct.pack("<QI", 5, 0) + bytes(9)) * 2, [0, 21, 42]),
        ("a.bin", bytes(7), [0, 2, 4, 6]),
        ("a.npy", b"\x93NUMPY", [0]),
        ("a.parquet", b"PAR1PAR1", []),
    ],
)
def test_what_the_format_cannot_tell_is_whole(tmp_path, name, content, whole):
    assert whole_lengths(tmp_path, name, content) == whole


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bz2.compress])
def test_members_are_whole_where_one_ends_and_lines_too(tmp_path, pack):
    ending = {gzip.compress: "gz", zlib.compress: "zlib", bz2.compress: "bz2"}[pack]
    first = pack(LINE)
    content = first + pack(LINES)
    assert whole_lengths(tmp_path, f"a.jsonl.{ending}", content) == [0, len(first), len(content)]
    inside = pack(LINES[:12]) + pack(LINES[12:])  # a member that ends inside a line
    assert whole_lengths(tmp_path, f"a.jsonl.{ending}", inside) == [0, len(inside)]


def test_frames_of_zstd_are_walked(tmp_path):
    content = (FIXTURES / "jsonl/data/one-frame.jsonl.zst").read_bytes()
    (tmp_path / "a.jsonl.zst").write_bytes(content * 2)
    assert whole_file(tmp_path / "a.jsonl.zst")
    assert whole_lengths(tmp_path, "b.jsonl.zst", content, 97) == [0, len(content)]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_whole_behind_a_member_but_not_behind_the_header_of_a_long_name(tmp_path, form):
    content = tar_of(form)
    end = len(content.rstrip(b"\0"))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        second = tar.getmembers()[1]
    last = second.offset_data + 1024
    assert end <= last
    found = whole_lengths(tmp_path, "a.tar", content, 128)
    assert found == [0, 512 + 1024, *range(last, len(content) + 1, 512)]
