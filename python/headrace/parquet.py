# SPDX-License-Identifier: Apache-2.0
"""Decoding of Parquet by pyarrow, for the core: one small file in memory at a time.

The core finds the bytes, reads them, and makes of a row group's or a few pages' bytes a file of
their own (docs/formats/parquet.md); pyarrow decodes it without the GIL, and the columns go back
through the Arrow C data interface. Nothing here is done for a row.
"""

from __future__ import annotations

import contextlib

from headrace import _core
from headrace.errors import UnsupportedError

__all__ = ["offer_pyarrow", "use_pyarrow"]

_ready = False


def offer_pyarrow() -> None:
    """As :func:`use_pyarrow` where pyarrow is imported already; else opening says what is missing,
    if it is."""
    with contextlib.suppress(UnsupportedError):
        use_pyarrow("")


def use_pyarrow(url: str) -> None:
    """Gives the core its decoder, once a process.

    Args:
        url: what is opened, for the error.

    Raises:
        UnsupportedError: pyarrow is not installed.
    """
    global _ready
    if _ready:
        return
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as cause:
        raise UnsupportedError(
            f"open {url}: Parquet is decoded by pyarrow, which cannot be imported ({cause}): "
            "pip install 'headrace[parquet]'"
        ) from cause

    def decode(address: int, size: int, array: int, schema: int) -> None:
        # A buffer without an owner: the core keeps the bytes until this returns, and the columns
        # that come out of Parquet are copies.
        source = pa.BufferReader(pa.foreign_buffer(address, size))
        with ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file:
            table = file.read(use_threads=False).combine_chunks()
        batches = table.to_batches()
        if not batches:
            batches = [pa.RecordBatch.from_pylist([], schema=table.schema)]
        if len(batches) > 1:
            raise ValueError(f"a column of more than 2 GiB in {len(batches)} parts")
        batches[0]._export_to_c(array, schema)

    _core.set_arrow_decoder(decode)
    _ready = True
