# SPDX-License-Identifier: Apache-2.0
"""Decoding of Parquet and Arrow by pyarrow, for the core: one small file in memory at a time.

The core finds the bytes, reads them, and makes of a row group's or a few pages' bytes a file of
their own (docs/formats/parquet.md); pyarrow decodes it without the GIL, and the columns go back
through the Arrow C data interface. Nothing here is done for a row. pyarrow is imported when the
first such data set is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headrace import _core

__all__ = ["decode", "decode_stream", "prepare"]

_pyarrow: Any = None
_file: Any = None


def prepare() -> None:
    """Imports pyarrow.

    Raises:
        ImportError: saying what to install.
    """
    global _pyarrow, _file
    if _file is not None:
        return
    try:
        arrow = import_module("pyarrow")  # by name: it has no types
        import_module("pyarrow.ipc")
        reader = import_module("pyarrow.parquet").ParquetFile
    except ImportError as cause:
        raise ImportError(
            f"Parquet and Arrow are decoded by pyarrow, which cannot be imported ({cause}): "
            "pip install 'headrace[parquet]'"
        ) from cause
    _pyarrow, _file = arrow, reader


def decode(address: int, size: int, array: int, schema: int) -> None:
    """The table of a Parquet file in memory, as a struct array: to Arrow's two C structs."""
    # A buffer without an owner: the core keeps the bytes until this returns, and the columns that
    # come out of Parquet are copies.
    source = _pyarrow.BufferReader(_pyarrow.foreign_buffer(address, size))
    with _file(source, pre_buffer=False, page_checksum_verification=True) as file:
        table = file.read(use_threads=False).combine_chunks()
    batches = table.to_batches() or [_pyarrow.RecordBatch.from_pylist([], schema=table.schema)]
    if len(batches) > 1:
        raise ValueError(f"a column of more than 2 GiB, in {len(batches)} parts")
    batches[0]._export_to_c(array, schema)


def decode_stream(source: tuple[int, int], array: int, schema: int, columns: list[str]) -> bool:
    """Columns of the one record batch of an Arrow stream in memory, to Arrow's two C structs.

    What comes from an object is anybody's: offsets and text are validated before the core walks
    them. `source`: the two structs of the stream's bytes, as an array of uint8: so no Python object
    is behind them, and they can be let go of without the GIL.

    Returns:
        Whether the columns lie in the stream's bytes. Else they are copies.
    """
    ipc = _pyarrow.ipc
    given = _pyarrow.Array._import_from_c(*source).buffers()[1]
    with ipc.open_stream(given) as stream:
        batches = list(stream)
    if len(batches) != 1:
        raise ValueError(f"{len(batches)} record batches where one is expected")
    batch = _without_views(batches[0].select(columns))
    batch.validate(full=True)
    inside = _inside(batch, given.address, given.address + given.size)
    if inside == {False} or (inside == {True} and 2 * batch.nbytes >= given.size):
        batch._export_to_c(array, schema)
        return True in inside
    # Few columns of many, or some that were compressed: written and read again, they lie in a
    # buffer of their own, without those that nobody asked for.
    sink = _pyarrow.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with ipc.open_stream(sink.getvalue()) as stream:
        stream.read_next_batch()._export_to_c(array, schema)
    return False


def _inside(batch: Any, begin: int, end: int) -> set[bool]:
    """For each buffer of the batch: whether it lies in these bytes. Both, where that is not known
    of dictionaries inside other types."""
    inside = set()
    columns = list(batch.columns)
    while columns:
        column = columns.pop()
        if isinstance(column, _pyarrow.ExtensionArray):
            columns.append(column.storage)
            continue
        if isinstance(column, _pyarrow.DictionaryArray):
            columns.append(column.dictionary)
        elif "dictionary<" in str(column.type):
            return {False, True}
        for buffer in column.buffers():
            if buffer is not None and buffer.size > 0:
                inside.add(begin <= buffer.address < end)
    return inside or {False}


def _without_views(batch: Any) -> Any:
    """Text and bytes in Arrow's view layout (polars writes it) as the older one."""
    arrays = []
    for column in batch.columns:
        name = str(column.type)
        if name in ("string_view", "binary_view"):
            column = column.cast("large_" + name.removesuffix("_view"))
        arrays.append(column)
    return _pyarrow.RecordBatch.from_arrays(arrays, names=batch.schema.names)


_core.set_arrow_decoder(prepare, decode, decode_stream)
