# SPDX-License-Identifier: Apache-2.0
"""``headrace ls`` and ``show``: what lies under a URL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

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
)
from headrace.dataset import Dataset

__all__ = ["facts_of", "ls", "show"]

_TEXT_MAX = 200  # characters of a field that are shown
_IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp")


def facts_of(dataset: Dataset) -> dict[str, Any]:
    core = dataset.core
    return {
        "url": dataset.url,
        "format": dataset.format,
        "shards": len(dataset.counts),
        "samples": len(dataset),
        "bytes": dataset.nbytes,
        "mean_sample_bytes": round(core.sample_bytes / max(1, len(dataset)), 1),
        "fields": dict(core.fields()),
        "index": dataset.index(),
    }


def ls(
    url: Url,
    shards: Annotated[bool, typer.Option("--shards", "-l", help="list every shard")] = False,
    build: Annotated[
        bool, typer.Option("--build", help="build the index if there is none")
    ] = False,
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
    settings: Settings = None,
) -> None:
    """What lies under URL: format, shards, samples, bytes, fields."""
    dataset = open_url(
        url,
        endpoint=endpoint_url,
        region=region,
        profile=profile,
        anonymous=anonymous,
        settings=settings,
        index=index,
        build=build,
    )
    rows = [
        {"key": key, "bytes": size, "samples": samples, "etag": etag}
        for key, size, samples, etag in dataset.shards
    ]
    if json_out:
        print_json({**facts_of(dataset), **({"shard_list": rows} if shards else {})})
        return
    print(dataset)
    if shards:
        for row in rows:
            print(f"{row['samples']:>12,} {row['bytes']:>16,}  {row['key']}")


def _shown(value: Any) -> Any:
    """A field's value in JSON terms, cut to a readable length."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes: {value[:24].hex(' ')}{' ...' if len(value) > 24 else ''}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array {list(value.shape)}"
    if isinstance(value, str) and len(value) > _TEXT_MAX:
        return value[:_TEXT_MAX] + f" ... ({len(value):,} characters)"
    return value


def _is_image(name: str, stored: bytes) -> bool:
    ending = name.rsplit(".", 1)[-1]
    return ending in _IMAGE_ENDINGS or stored.startswith((b"\xff\xd8\xff", b"\x89PNG"))


def show(
    url: Url,
    number: Annotated[int, typer.Argument(help="sample number in stored order")] = 0,
    images: Annotated[Path, typer.Option(help="folder for images")] = Path("."),
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
    settings: Settings = None,
) -> None:
    """One sample's fields; an image is written to a file."""
    dataset = open_url(
        url,
        endpoint=endpoint_url,
        region=region,
        profile=profile,
        anonymous=anonymous,
        settings=settings,
        index=index,
    )
    sample, stored = dataset[number], dataset.raw(number)
    shard, offset, length = dataset.extent(number)
    shown = {name: _shown(value) for name, value in sample.items()}
    for name, content in stored.items():
        if _is_image(name, content) and not json_out:
            ending = "png" if content.startswith(b"\x89PNG") else "jpg"
            path = images / f"sample-{number}.{name.replace('/', '_')}.{ending}"
            path.write_bytes(content)
            shown[name] = f"{len(content):,} bytes, written to {path}"
    where = {"shard": shard, "offset": offset, "length": length}
    if json_out:
        print_json({"number": number, **where, "fields": shown})
        return
    table = Table(
        "field", "value", title=f"sample {number} of {len(dataset):,}", title_justify="left"
    )
    for name, value in shown.items():
        table.add_row(name, value if isinstance(value, str) else json.dumps(value, default=str))
    table.add_row("(stored in)", f"{shard} bytes [{offset:,}, {offset + length:,})")
    from rich import print as rich_print

    rich_print(table)
