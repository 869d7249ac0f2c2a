# SPDX-License-Identifier: Apache-2.0
"""What the verbs share: data to stdout, talk and progress to stderr, and the options that say where
data lies."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from headrace.dataset import Dataset
from headrace.dataset import open as open_dataset
from headrace.errors import OptionError

__all__ = [
    "Anonymous",
    "Endpoint",
    "Index",
    "Json",
    "Profile",
    "Region",
    "Settings",
    "Url",
    "bytes_progress",
    "chosen_options",
    "open_url",
    "print_json",
    "talk",
]

talk = Console(stderr=True)

Url = Annotated[
    str, typer.Argument(help="s3://, https:// or file:// URL or path; braces are expanded")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Endpoint = Annotated[str | None, typer.Option(help="S3 endpoint, as AWS_ENDPOINT_URL")]
Region = Annotated[str | None, typer.Option(help="as AWS_REGION")]
Profile = Annotated[str | None, typer.Option(help="as AWS_PROFILE")]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="send no credentials")]
Index = Annotated[str | None, typer.Option(help="URL or path of the index to use")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="an option of headrace.open, as read_timeout=10"
    ),
]


def show_log(level: str = "WARNING") -> None:
    """Log lines of headrace to stderr."""
    handler = RichHandler(console=talk, show_path=False, show_time=False)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


@contextmanager
def bytes_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar over bytes on stderr; nothing is drawn where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def advance(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield advance


def _settings(words: list[str] | None) -> dict[str, Any]:
    """Values as JSON where they are JSON (10, true), else as text."""
    given: dict[str, Any] = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not equals:
            raise OptionError(f"read --set {word}: want NAME=VALUE")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given


def open_url(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    anonymous: bool = False,
    settings: list[str] | None = None,
    **options: Any,
) -> Dataset:
    """``hr.open`` with progress; unset options stay unset."""
    chosen = chosen_options(endpoint, region, profile, anonymous, settings, **options)
    with bytes_progress() as progress:
        return open_dataset(url, progress=progress, **chosen)


def chosen_options(
    endpoint: str | None,
    region: str | None,
    profile: str | None,
    anonymous: bool,
    settings: list[str] | None,
    **options: Any,
) -> dict[str, Any]:
    """Options of ``hr.open`` from those of a verb."""
    given = {
        "endpoint_url": endpoint,
        "region": region,
        "profile": profile,
        "anonymous": anonymous or None,
        **options,
    }
    return {**_settings(settings), **{n: v for n, v in given.items() if v is not None}}
