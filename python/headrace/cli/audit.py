# SPDX-License-Identifier: Apache-2.0
"""``headrace audit DIR``: proves from the ledgers what a job delivered, or says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from headrace.audit import audit as audit_folder
from headrace.cli.output import (
    Anonymous,
    Endpoint,
    Index,
    Json,
    Profile,
    Region,
    open_url,
    print_json,
    talk,
)

__all__ = ["audit"]


def audit(
    folder: Annotated[Path, typer.Argument(help="where ds.loader(ledger=...) wrote")],
    epoch: Annotated[int | None, typer.Option(help="only this epoch must be proven")] = None,
    url: Annotated[
        str | None, typer.Option(help="the data set, to name missing samples by their keys")
    ] = None,
    index: Index = None,
    json_out: Json = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
    profile: Profile = None,
    anonymous: Anonymous = False,
) -> None:
    """Proves from the ledgers of all ranks and restarts that each sample of each finished epoch was
    delivered exactly once, in the planned order, or names those that were not.

    Exit status: 0 proven, 1 not.
    """
    dataset = None
    if url is not None:
        dataset = open_url(
            url,
            endpoint=endpoint_url,
            region=region,
            profile=profile,
            anonymous=anonymous,
            index=index,
        )
    columns = (TextColumn("auditing"), BarColumn(), MofNCompleteColumn(), TextColumn("starts"))
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as progress:
        task = progress.add_task("auditing", total=None)
        found = audit_folder(
            folder,
            epoch=epoch,
            key_of=dataset.key if dataset is not None else None,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if json_out:
        print_json(found.to_dict())
    else:
        print(found)
    if not found.ok:
        raise typer.Exit(1)
