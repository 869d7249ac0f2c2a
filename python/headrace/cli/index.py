# SPDX-License-Identifier: Apache-2.0
"""``headrace index`` and ``headrace manifest``: where each sample lies, and which shards there
are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.data import facts_of
from headrace.cli.output import (
    Anonymous,
    Endpoint,
    Json,
    Profile,
    Region,
    Settings,
    Url,
    bytes_progress,
    chosen_options,
    print_json,
    talk,
)
from headrace.cli.probe import PriceWords
from headrace.dataset import open as open_dataset
from headrace.errors import NotFoundError, OptionError, UnsupportedError
from headrace.indexing import IndexJob, parts_from_ray
from headrace.manifest import VERSION, manifest_of
from headrace.options import format_size
from headrace.probe.prices import price_of, with_words

__all__ = ["index", "manifest"]


def index(
    url: Url,
    where: Annotated[
        str, typer.Option(help="'local', 'beside' the shards, a URL or a path")
    ] = "local",
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="read every shard, even where an index fits")
    ] = False,
    checksums: Annotated[
        str | None,
        typer.Option(
            help="'full': read all bytes (MDS, LitData: also check their hashes); 'none': of tars "
            "only the headers. Default: full where the format must be read, else none"
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="the same as --checksums full")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say the cost and stop")] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="read the shards on a Ray cluster; 'local', 'auto'"),
    ] = None,
    price: PriceWords = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
    settings: Settings = None,
) -> None:
    """Builds the index, or brings it up to date: where each sample begins, with checksums.

    The cost is said first. What is cut off goes on when it is started again; shards that did not
    change are not read again.
    """
    options = chosen_options(
        endpoint_url, region, profile, anonymous, settings,
        rebuild=rebuild or None, refresh=True, checksums=checksums or ("full" if check else None),
    )  # fmt: skip
    cost = None
    try:
        job = IndexJob(url, **options)
    except UnsupportedError:
        if dry_run or ray:
            raise
    else:
        listed = with_words(price_of(job.url, endpoint_url or ""), price)
        cost = job.cost(price=listed)
        if dry_run:
            print_json(cost.to_dict()) if json_out else print(cost)
            return
        if not cost.present:
            talk.print(str(cost), highlight=False, soft_wrap=True)
            if ray:
                with bytes_progress() as progress:
                    parts_from_ray(job, ray, progress=progress)
        del job
    with bytes_progress() as progress:
        dataset = open_dataset(url, progress=progress, save=where, **options)
    if not dataset.counted:
        raise OptionError(
            f"index {url}: compressed shards are read as a stream; they need no index"
        )
    _report(dataset, where, cost, json_out)


def _report(dataset: Any, where: str, cost: Any, json_out: bool) -> None:
    saved = None if where == "local" else dataset.core.save_index(where)
    facts = facts_of(dataset)
    facts["index"]["saved"] = saved
    if cost is not None:
        facts["cost"] = cost.to_dict()
    if json_out:
        print_json(facts)
        return
    print(dataset)
    if saved:
        talk.print(f"index saved to {saved}")
    talk.print(
        f"{len(dataset):,} samples, {format_size(dataset.nbytes)}; index {facts['index']['name']}"
    )


def manifest(
    url: Url,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
    settings: Settings = None,
) -> None:
    """The list of shards with bytes, ETags and, where there is an index, samples, as JSON.

    Reads no data. ``hr.open`` of the file holds the data set to it.
    """
    options = chosen_options(endpoint_url, region, profile, anonymous, settings)
    try:
        found = manifest_of(open_dataset(url, **{**options, "build": False}))
    except NotFoundError:  # no index: without counts. Nothing there at all is said again
        job = IndexJob(url, **options)
        shards = [{"key": key, "bytes": size, "etag": etag} for key, size, etag in job.shards]
        found = {
            "headrace_manifest": VERSION,
            "url": job.url,
            "format": job.format,
            "samples": None,
            "bytes": sum(size for _, size, _ in job.shards),
            "shards": shards,
        }
    print_json(found)
