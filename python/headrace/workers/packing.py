# SPDX-License-Identifier: Apache-2.0
"""Transformed rows to columns across processes.

A worker packs its rows (:func:`pack`): a column whose rows are all of one kind and shape is a
*block*, written to the batch's place for that column when the message said one; of any other column
each row has its form. The loader's process makes the batch's columns out of all parts
(:func:`unpack`). What is no simple block goes through the same ``collate`` as without workers, so
that both give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.ragged import Ragged
from headrace.transform import collate, column_of
from headrace.workers.codec import Room, decode, encode, is_tensor, tensor_bytes, tensor_over
from headrace.workers.shared import view

__all__ = ["Kind", "Part", "Placed", "pack", "unpack"]

# [what, dtype, shape of a row]; what: "array", "tensor", or "bool", "int", "float" as Python has
# them, or "number" as numpy does.
Kind = list[Any]
_NUMBERS = {bool: "bool", int: "int", float: "float"}


def _kind_of(value: Any) -> Kind | None:
    """What makes rows one block; None: this is a row by itself."""
    kind = type(value)
    if kind in _NUMBERS:
        return [_NUMBERS[kind], np.asarray(value).dtype.str, []]
    if kind is np.ndarray or isinstance(value, np.generic):
        dtype = value.dtype
        if dtype.kind not in "biufcmM" or not dtype.isnative:
            return None
        return ["array" if kind is np.ndarray else "number", dtype.str, list(value.shape)]
    if is_tensor(value) and not value.is_quantized:
        return ["tensor", str(value.dtype).removeprefix("torch."), list(value.shape)]
    return None


def _block_kind(values: Sequence[Any]) -> Kind | None:
    kind = _kind_of(values[0])
    if kind is None or kind[1] == "|O":
        return None
    return kind if all(_kind_of(value) == kind for value in values[1:]) else None


def _row_bytes(kind: Kind, first: Any) -> int:
    return int(
        first.numel() * first.element_size() if kind[0] == "tensor" else np.asarray(first).nbytes
    )


def _write_block(kind: Kind, values: Sequence[Any], memory: Any, offset: int) -> None:
    what, dtype, shape = kind
    if what == "tensor":
        rows = [tensor_bytes(value) for value in values]
        np.stack(rows, out=view(memory, ["|u1", [len(rows), rows[0].size], offset]))
    elif what == "array":
        np.stack(values, out=view(memory, [dtype, [len(values), *shape], offset]))
    else:
        view(memory, [dtype, [len(values)], offset])[...] = values


@dataclass
class Placed:
    """Where the batch has room for one column: ``offset`` of its first row."""

    kind: Kind
    row_bytes: int
    offset: int


def pack(
    rows: Sequence[Any], first_row: int, places: dict[str, Placed], room: Room, memory: Any
) -> dict[str, Any]:
    """The form of rows ``first_row ...`` of a batch; blocks with a place are written to it."""
    names = _names(rows)
    if names is None:
        return {"rows": [encode(row, room) for row in rows]}
    columns: list[Any] = []
    for name in names:
        values = [row[name] for row in rows]
        kind = _block_kind(values)
        if kind is None:
            columns.append([name, {"rows": [encode(value, room) for value in values]}])
            continue
        row_bytes = _row_bytes(kind, values[0])
        place = places.get(str(name))
        if place is not None and place.kind == kind and place.row_bytes == row_bytes:
            if row_bytes:
                _write_block(kind, values, memory, place.offset + first_row * row_bytes)
            columns.append([name, {"placed": kind, "bytes": row_bytes}])
            continue

        def write(to: Any, offset: int, kind: Kind = kind, values: Any = values) -> None:
            _write_block(kind, values, to, offset)

        at = room.add(row_bytes * len(values), write)
        columns.append([name, {"block": kind, "bytes": row_bytes, "at": at}])
    return {"columns": columns, "tuple": not isinstance(rows[0], dict)}


def _names(rows: Sequence[Any]) -> list[Any] | None:
    """Names of the columns, or of a tuple its indices; None where rows differ in them."""
    first = rows[0]
    if type(first) is tuple:
        uniform = all(type(row) is tuple and len(row) == len(first) for row in rows)
        return list(range(len(first))) if uniform and first else None
    if type(first) is not dict or not all(type(name) is str for name in first):
        return None
    if not all(type(row) is dict and row.keys() == first.keys() for row in rows):
        return None
    return [name for name in first if not name.startswith("__")]


@dataclass
class Part:
    """What a worker made of rows [begin, end): its form, and its room."""

    begin: int
    end: int
    form: dict[str, Any]
    memory: Any  # of its room; None without one


def unpack(
    parts: Sequence[Part], places: dict[str, Placed], memory: Any, keys: Ragged | Sequence[str]
) -> tuple[Any, dict[str, Any]]:
    """The batch's columns (a dict, or a tuple), and the blocks' kinds by name, for the next batch's
    places.

    Args:
        parts: all of the batch's, in order.
        places: of this batch's columns, in ``memory``.
        keys: of the batch's samples, for errors.
    """
    first = parts[0].form
    uniform = (
        all(
            "columns" in part.form
            and [name for name, _ in part.form["columns"]] == [name for name, _ in first["columns"]]
            and part.form["tuple"] == first["tuple"]
            for part in parts
        )
        if "columns" in first
        else False
    )
    if not uniform:
        return collate([row for part in parts for row in _rows_of(part, places, memory, keys)]), {}
    columns: dict[Any, Any] = {}
    kinds: dict[str, Any] = {}
    for number, (name, _) in enumerate(first["columns"]):
        forms = [part.form["columns"][number][1] for part in parts]
        kind = _common_kind(forms)
        if kind is not None:
            kinds[str(name)] = (kind, forms[0]["bytes"])
            columns[name] = _join(forms, parts, places.get(str(name)), memory, kind)
        else:
            values = [
                value
                for form, part in zip(forms, parts, strict=True)
                for value in _values(form, part, places.get(str(name)), memory)
            ]
            columns[name] = column_of(values)
    return (tuple(columns.values()) if first["tuple"] else columns), kinds


def _common_kind(forms: Sequence[dict[str, Any]]) -> Kind | None:
    kinds = [form.get("placed") or form.get("block") for form in forms]
    return kinds[0] if all(kind is not None and kind == kinds[0] for kind in kinds) else None


def _block(
    form: dict[str, Any], part: Part, place: Placed | None, memory: Any, rows: int | None = None
) -> Any:
    """The rows of a block as one array or tensor; with ``rows``, so many from the place's begin."""
    kind = form.get("placed") or form["block"]
    count = part.end - part.begin if rows is None else rows
    if "placed" in form:
        assert place is not None, "a worker was told of it"
        offset = place.offset + (part.begin * form["bytes"] if rows is None else 0)
    else:
        memory, offset = part.memory, form["at"]
    if not form["bytes"]:
        memory, offset = b"", 0
    what, dtype, shape = kind
    if what == "tensor":
        stored = view(memory, ["|u1", [count * form["bytes"]], offset])
        return tensor_over(stored, dtype, [count, *shape])
    return view(memory, [dtype, [count, *shape], offset])


def _join(
    forms: Sequence[dict[str, Any]],
    parts: Sequence[Part],
    place: Placed | None,
    memory: Any,
    kind: Kind,
) -> Any:
    if all("placed" in form for form in forms):
        return _block(forms[0], parts[0], place, memory, rows=parts[-1].end)
    blocks = [_block(form, part, place, memory) for form, part in zip(forms, parts, strict=True)]
    if kind[0] == "tensor":
        import torch

        return torch.cat(blocks)
    return np.concatenate(blocks)


def _values(form: dict[str, Any], part: Part, place: Placed | None, memory: Any) -> list[Any]:
    """The rows of a column as the transform returned them."""
    if "rows" in form:
        return [decode(row, part.memory) for row in form["rows"]]
    block = _block(form, part, place, memory)
    kind = (form.get("placed") or form["block"])[0]
    return block.tolist() if kind in ("bool", "int", "float") else list(block)


def _rows_of(
    part: Part, places: dict[str, Placed], memory: Any, keys: Ragged | Sequence[str]
) -> list[Any]:
    """What the transform returned for each row (but for names with ``__``)."""
    if "rows" in part.form:
        return [decode(row, part.memory) for row in part.form["rows"]]
    columns = {
        name: _values(form, part, places.get(str(name)), memory)
        for name, form in part.form["columns"]
    }
    if part.form["tuple"]:
        return list(zip(*columns.values(), strict=True))
    return [
        {"__key__": keys[part.begin + i], **{name: column[i] for name, column in columns.items()}}
        for i in range(part.end - part.begin)
    ]
