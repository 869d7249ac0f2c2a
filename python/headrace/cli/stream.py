# SPDX-License-Identifier: Apache-2.0
"""``headrace stream URL``: runs a loader as fast as it goes and says what it reached."""

from __future__ import annotations

import hashlib
import operator
import time
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.batch import Batch
from headrace.cli.output import (
    Anonymous,
    Endpoint,
    Index,
    Json,
    Profile,
    Region,
    Settings,
    Url,
    open_url,
    print_json,
    talk,
)
from headrace.decode import raw
from headrace.errors import OptionError
from headrace.loader import Loader
from headrace.options import format_size

__all__ = ["stream"]


def _add_rows(digest: Any, batch: Batch) -> None:
    """Of each row: its number (8 bytes, little-endian), then of each field, by name: the name, a
    NUL, the SHA-256 of its stored bytes."""
    rows = [
        (name.encode() + b"\0", column.values.view("u1"), column.offsets)
        for name, column in sorted(batch.items())
    ]
    for i in np.flatnonzero(batch.valid):
        digest.update(int(batch.ids[i]).to_bytes(8, "little"))
        for name, values, offsets in rows:
            digest.update(name + hashlib.sha256(values[offsets[i] : offsets[i + 1]]).digest())


def _run(loader: Loader, batches_max: int, seconds_max: float, with_digest: bool) -> dict[str, Any]:
    """Iterates; the figures are of the whole run, from the first request on."""
    digest = hashlib.sha256()
    begin = time.perf_counter()
    total = batches_max or operator.length_hint(loader) or None  # None: not counted
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("batches"),
        TimeRemainingColumn(),
    )
    batches = rows = 0
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as progress:
        task = progress.add_task("streaming", total=total)
        for batch in loader:
            batches += 1
            rows += int(batch.valid.sum())
            if with_digest:
                _add_rows(digest, batch)
            if batches % 16 == 0:
                rate = rows / (time.perf_counter() - begin)
                progress.update(task, completed=batches, description=f"{rate:,.0f} samples/s")
            if batches == batches_max or (
                seconds_max and time.perf_counter() - begin > seconds_max
            ):
                break
    seconds = time.perf_counter() - begin
    run: dict[str, Any] = {"batches": batches, "samples": rows, "seconds": round(seconds, 3)}
    return {**run, "digest": digest.hexdigest()} if with_digest else run


def stream(
    url: Url,
    batch_size: Annotated[int, typer.Option(help="samples of a batch")] = 256,
    batches: Annotated[int, typer.Option(help="stop after so many; 0: an epoch")] = 0,
    seconds: Annotated[float, typer.Option(help="stop after so long; 0: no limit")] = 0,
    memory: Annotated[str, typer.Option(help="memory of the loader")] = "1GiB",
    shuffle: Annotated[str, typer.Option(help="stratified, block, global, none")] = "stratified",
    seed: Annotated[int, typer.Option()] = 0,
    block: Annotated[int | None, typer.Option(help="samples of a block")] = None,
    lanes: Annotated[int | None, typer.Option(help="blocks open at a time")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="fail unless every byte is checked against a checksum")
    ] = False,
    digest: Annotated[
        bool, typer.Option("--digest", help="SHA-256 of samples and their order, as delivered")
    ] = False,
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
    settings: Settings = None,
) -> None:
    """Runs the loader over URL as fast as it goes, with raw bytes as columns."""
    dataset = open_url(
        url,
        endpoint=endpoint_url,
        region=region,
        profile=profile,
        anonymous=anonymous,
        settings=settings,
        index=index,
    )
    if verify and not dataset.core.has_checksums:
        raise OptionError(
            f"stream {url} --verify: its index has no checksums; build one with "
            f"`headrace index {url} --check`"
        )
    options: dict[str, Any] = {"block": block, "lanes": lanes}
    if digest:
        options["decode"] = {field: raw() for field in dataset.fields}
    loader = dataset.loader(
        batch_size=batch_size,
        memory=memory,
        shuffle=shuffle,
        seed=seed,
        remainder="short",
        **{name: value for name, value in options.items() if value is not None},
    )
    if not json_out:
        talk.print(str(loader), highlight=False)
    with loader:
        run = _run(loader, batches, seconds, digest)
        stats = loader.stats()
    run["samples_per_s"] = round(run["samples"] / run["seconds"], 1) if run["seconds"] else 0.0
    if json_out:
        print_json({**run, "verified": dataset.core.has_checksums, "stats": stats})
        return
    if digest:
        print(f"digest {run['digest']}")
    print(
        f"{run['samples']:,} samples in {run['seconds']:.2f} s: "
        f"{run['samples_per_s']:,.0f} samples/s, "
        f"{format_size(stats['bytes_received'] / max(run['seconds'], 1e-9))}/s, "
        f"first batch after {stats['first_batch_s']:.2f} s"
    )
    print(stats)
