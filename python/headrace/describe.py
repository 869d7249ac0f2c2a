# SPDX-License-Identifier: Apache-2.0
"""What ``print(dataset)`` and ``repr(dataset)`` show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import Error
from headrace.options import format_size

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["brief", "describe"]


def brief(dataset: Dataset) -> str:
    """One line; of a data set that is closed, or could not be opened, too."""
    try:
        samples = f"{len(dataset):,} samples" if dataset.counted else "samples not counted"
        return f"<headrace.Dataset {dataset.url}: {samples} in {len(dataset.shards):,} shards>"
    except Error as error:
        return f"<headrace.Dataset: {error}>"


def shown(name: str) -> str:
    """A name that may hold bytes that are no UTF-8, for any terminal."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def describe(dataset: Dataset) -> str:
    core, stored = dataset.core, f"{dataset.nbytes:,} ({format_size(dataset.nbytes)})"
    if not dataset.counted:
        return "\n".join(
            [
                f"{dataset.url}",
                f"  format    {dataset.format}, read as a stream: no index, samples not counted",
                f"  known     {core.known_by}",
                f"  shards    {len(dataset.shards):,}",
                f"  samples   mean {format_size(core.sample_bytes_mean)} (of the first ones)",
                f"  bytes     {stored}",
                f"  fields    {', '.join(map(shown, dataset.fields))} (of the first samples)",
            ]
        )
    part = "" if dataset.selection is None else f" of {core.samples:,}: {dataset.filter_hash}"
    fields = ", ".join(
        shown(name) if have == core.samples else f"{shown(name)} (in {have:,} samples)"
        for name, have in core.fields()
    )
    mean = format_size(core.sample_bytes / max(1, core.samples))
    checks = "checksums" if core.has_checksums else "no checksums"
    return "\n".join(
        [
            f"{dataset.url}",
            f"  format    {dataset.format}",
            f"  known     {core.known_by}",
            f"  shards    {len(dataset.counts):,}",
            f"  samples   {len(dataset):,}{part} (mean {mean})",
            f"  bytes     {stored}",
            f"  fields    {fields}",
            f"  index     {core.index_source} ({checks}, stride {core.stride})",
            f"  hashes    order {dataset.order_hash}, identity {dataset.identity_hash}",
        ]
    )
