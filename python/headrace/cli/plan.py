# SPDX-License-Identifier: Apache-2.0
"""``headrace plan URL``: cost, memory and order quality of an epoch, by arithmetic only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

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
from headrace.errors import OptionError

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
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
) -> None:
    """What an epoch over URL costs and how well it is shuffled. Only the index is read."""
    dataset = open_url(
        url, endpoint=endpoint_url, region=region, profile=profile, anonymous=anonymous, index=index
    )
    found = dataset.plan(
        batch_size=batch,
        world_size=world,
        memory=memory,
        shuffle=shuffle,
        block=block,
        lanes=lanes,
        pre_shuffled=pre_shuffled,
        step_ms=step_ms,
        labels=None if labels is None else _labels(labels),
        get_price=get_price,
    )
    if json_out:
        print_json(found.to_dict())
    else:
        print(found)


def _labels(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise OptionError(f"plan: read labels {path}: {fault}") from fault
