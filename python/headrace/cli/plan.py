# SPDX-License-Identifier: Apache-2.0
"""``headrace plan URL``: cost, memory and order quality of an epoch, by arithmetic only; and, for a
store that is known by a saved probe or by two figures, how long the GPUs will wait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from headrace.cli.output import (
    Anonymous,
    Endpoint,
    Index,
    Json,
    Profile,
    Region,
    Url,
    open_url,
    print_json,
)
from headrace.cli.probe import Distance, Gpus, PriceWords, distance_of, verdict_text, work_of
from headrace.errors import OptionError
from headrace.probe import StoreFigures, judge, lognormal, read_figures
from headrace.probe.figures import CONNECTION_MBPS
from headrace.probe.prices import price_of, with_words
from headrace.probe.report import epoch_of_dataset, round_floats

__all__ = ["plan"]


def plan(
    url: Url,
    batch: Annotated[int, typer.Option(help="samples of a batch on each rank")] = 256,
    world: Annotated[int, typer.Option(help="ranks")] = 1,
    memory: Annotated[str | None, typer.Option(help="of a rank, e.g. 2GiB")] = None,
    shuffle: Annotated[str, typer.Option(help="stratified, block, global, none")] = "stratified",
    block: Annotated[int | None, typer.Option(help="samples of a block")] = None,
    lanes: Annotated[int | None, typer.Option(help="blocks open at a time")] = None,
    pre_shuffled: Annotated[
        bool, typer.Option("--pre-shuffled", help="shards were shuffled when they were written")
    ] = False,
    step_ms: Annotated[float | None, typer.Option(help="the trainer's time for a step")] = None,
    labels: Annotated[
        Path | None, typer.Option(help=".npy: class of each sample, in stored order")
    ] = None,
    get_price: Annotated[float | None, typer.Option(help="dollars for 1,000 GETs")] = None,
    gpus: Gpus = None,
    probe: Annotated[
        Path | None,
        typer.Option(help="what `headrace probe --json` wrote: says how long GPUs wait"),
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="instead of --probe: the store's median first byte")
    ] = None,
    mbps: Annotated[
        float | None, typer.Option(help="with --latency-ms: MB/s that a machine gets")
    ] = None,
    price: PriceWords = None,
    distance: Distance = "same-region",
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
) -> None:
    """What an epoch over URL costs and how well it is shuffled. Only the index is read."""
    store, loader, cores = _store(probe, latency_ms, mbps)
    work = None
    if store is not None:
        work = work_of("plan", batch, step_ms, gpus, world if world > 1 else None, memory)
        if work is None:
            raise OptionError("plan: --probe and --latency-ms need --step-ms: what a step takes")
    dataset = open_url(
        url, endpoint=endpoint_url, region=region, profile=profile, anonymous=anonymous, index=index
    )
    found = dataset.plan(
        batch_size=batch,
        world_size=world if work is None else work.ranks,
        memory=memory,
        shuffle=shuffle,
        block=block,
        lanes=lanes,
        pre_shuffled=pre_shuffled,
        step_ms=step_ms,
        labels=None if labels is None else _labels(labels),
        get_price=get_price,
    )
    out = found.to_dict()
    if store is not None and work is not None:
        order = {
            "shuffle": shuffle, "block": block, "lanes": lanes, "pre_shuffled": pre_shuffled,
        }  # fmt: skip
        verdict = judge(
            store,
            work,
            epoch_of_dataset(dataset, work, **order),
            loader=loader,
            cores=cores,
            price=with_words(price_of(dataset.url, endpoint_url or ""), price),
            distance=distance_of(distance),
        )
        out.update(round_floats(verdict.to_dict()))
    if json_out:
        print_json(out)
        return
    print(found)
    if work is not None:
        print()
        Console(highlight=False).print(verdict_text(out))


def _store(
    probe: Path | None, latency_ms: float | None, mbps: float | None
) -> tuple[StoreFigures | None, dict[str, Any] | None, float]:
    """The store's figures, and the loader's and the cores of the machine that was probed."""
    if probe is not None:
        if latency_ms is not None or mbps is not None:
            raise OptionError("plan: --probe has the figures; leave --latency-ms and --mbps out")
        figures, document = read_figures(probe)
        return figures, document.get("loader"), float(document.get("cores") or math.inf)
    if latency_ms is None and mbps is None:
        return None, None, math.inf
    if latency_ms is None or mbps is None or not latency_ms > 0 or not mbps > 0:
        raise OptionError("plan: --latency-ms and --mbps go together, both above 0")
    return StoreFigures(lognormal(latency_ms), CONNECTION_MBPS, mbps), None, math.inf


def _labels(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise OptionError(f"plan: read labels {path}: {fault}") from fault
