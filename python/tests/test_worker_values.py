# SPDX-License-Identifier: Apache-2.0
"""Values and rows through the memory of worker processes and back; no process is started."""

import json
import socket

import numpy as np
import pytest

from headrace.errors import OptionError
from headrace.ragged import Ragged
from headrace.transform import collate
from headrace.workers.codec import Room, decode, encode
from headrace.workers.messages import Frames, frame
from headrace.workers.packing import Part, Placed, pack, unpack
from headrace.workers.program import make_program


def brought_over(value):
    room = Room()
    form = json.loads(json.dumps(encode(value, room)))
    memory = bytearray(64 + room.bytes)
    room.write(memory, 64)
    return decode(form, memoryview(memory)[64:])


def same(a, b):
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@pytest.mark.parametrize("value", [
    None, True, 0, -1, 2**63, -(2**900), 10**400, 1.5, float("nan"), float("-inf"), "", "é" * 1000, "\ud800", "\0",
    b"", b"\x00\xff" * 1000, np.float16(1.5), np.int8(-3), np.datetime64("2026-01-01"), np.bool_(True),
    np.arange(24).reshape(2, 3, 4), np.zeros((0, 3)), np.array(7), np.arange(12.0).reshape(3, 4).T, np.arange(9)[::-2],
    np.array([1, 2], ">u2"), np.array(["ab", "c"]), np.array([1 + 2j]), (), [], {}, (1, [2, (None,)], {"a": b"x"}),
    {1: "int key", ("a", 2): "tuple key", None: 0}, {1, 2}, np.array([{}, None], object),
    np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]), complex(1, 2), range(3),
])  # fmt: skip
def test_a_value_comes_back_as_it_was(value):
    back = brought_over(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        assert back.tolist() == value.tolist()
    else:
        assert same(value, back), back


def test_arrays_come_back_as_views_and_can_be_written():
    back = brought_over({"x": np.arange(5)})["x"]
    back[0] = 9
    assert back.base is not None


def test_a_ragged_comes_back():
    back = brought_over(Ragged.from_rows([np.ones((1, 2)), np.ones((3, 2))]))
    assert isinstance(back, Ragged)
    assert [row.shape for row in back] == [(1, 2), (3, 2)]


def through_parts(rows, step, kinds=None):
    """The rows packed in runs of ``step``, as workers would; and the next batch's places."""
    places, size = {}, 0
    for name, (kind, row_bytes) in (kinds or {}).items():
        places[name] = Placed(kind, row_bytes, size)
        size += 64 * len(rows) * row_bytes // 64 + 64
    memory = bytearray(size)
    parts = []
    for begin in range(0, len(rows), step):
        room = Room()
        some = rows[begin : begin + step]
        form = json.loads(json.dumps(pack(some, begin, places, room, memory)))
        own = bytearray(room.bytes)
        room.write(own, 0)
        parts.append(Part(begin, begin + len(some), form, own))
    return unpack(parts, places, memory, [f"k{i}" for i in range(len(rows))])


def listed(columns):
    if isinstance(columns, tuple):
        return tuple(listed(column) for column in columns)
    if isinstance(columns, dict):
        return {name: listed(column) for name, column in columns.items()}
    if isinstance(columns, Ragged):
        return "ragged", columns.kind, [listed(row) for row in columns]
    return columns


ROWS = {
    "numbers": [{"i": i, "f": i / 2, "b": i > 2, "n": np.int16(i)} for i in range(7)],
    "arrays": [{"x": np.full((2, 3), i, np.float32)} for i in range(7)],
    "one odd shape": [{"x": np.zeros(3 if i == 5 else 2)} for i in range(7)],
    "one odd dtype": [{"x": np.zeros(2, np.float64 if i == 5 else np.float32)} for i in range(7)],
    "int then float": [{"x": i if i < 4 else i + 0.5} for i in range(7)],
    "none first": [{"x": None if i == 0 else i} for i in range(7)],
    "none last": [{"x": None if i == 6 else i} for i in range(7)],
    "large numbers": [{"x": 2**63 if i == 3 else i} for i in range(7)],
    "text": [{"x": "é" * i, "y": b"z" * i} for i in range(7)],
    "names with two underscores": [{"__key__": "k", "x": i} for i in range(7)],
    "another order of names": [{"a": 1, "b": 2} if i % 2 else {"b": 2, "a": 1} for i in range(7)],
    "more names later": [{"a": 1} if i < 3 else {"a": 1, "b": 2} for i in range(7)],
    "tuples": [(np.arange(3), i, "x") for i in range(7)],
    "a subclass of dict": [__import__("collections").OrderedDict(x=i) for i in range(7)],
    "empty arrays": [{"x": np.zeros((0, 2))} for i in range(7)],
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_parts_give_the_columns_that_all_rows_at_once_give(name, step):
    rows = ROWS[name]
    want = listed(collate(rows))
    first, kinds = through_parts(rows, step)
    again, kinds_again = through_parts(rows, step, kinds)  # now with places
    assert same(want, listed(first)), first
    assert same(want, listed(again)), again
    assert kinds_again == kinds


def test_a_place_of_another_kind_is_not_used():
    _, kinds = through_parts(ROWS["arrays"], 2)
    rows = [{"x": np.full((3, 2), i, np.float32)} for i in range(7)]  # as many bytes
    columns, _ = through_parts(rows, 3, kinds)
    assert same(listed(columns), listed(collate(rows)))


def test_a_missing_name_is_told_with_the_samples_key():
    with pytest.raises(OptionError, match="gave no 'b' for sample k4"):
        through_parts([{"a": 1, "b": 2} if i != 4 else {"a": 1} for i in range(7)], 1)


def test_messages_are_whole_however_they_arrive():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames, got = Frames(theirs), []
        stored = frame({"a": "é"}) + frame({"b": list(range(50))})
        for byte in stored:
            ours.sendall(bytes([byte]))
            assert frames.read(wait=True)
            got += frames.complete()
        assert got == [{"a": "é"}, {"b": list(range(50))}]
        assert frames.read(wait=False)  # nothing there
        ours.close()
        assert not frames.read(wait=True)


def test_a_function_that_cannot_be_sent_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    with pytest.raises(OptionError, match=r"transform=<function .*<lambda>.* cannot be sent .*top level of a module"):
        make_program({"transform": lambda sample: sample, "collate": None})
