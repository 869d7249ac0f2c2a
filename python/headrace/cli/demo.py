# SPDX-License-Identifier: Apache-2.0
"""``headrace demo``: the first minute, told on stderr, with a report on stdout."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from headrace.cli.output import Json, print_json, talk
from headrace.errors import UnsupportedError
from headrace.options import format_size

__all__ = ["demo"]


class Teller:
    """Says what happens, with the time since the start."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        line = getattr(self, f"_{event}", lambda _: None)(facts)
        if line:
            spent = f"[dim]{time.perf_counter() - self._begin:6.1f} s[/dim]"
            talk.print(f"{spent}  {line}", highlight=False, soft_wrap=True)

    def _writing(self, _: dict[str, Any]) -> str:
        return "writing scikit-learn's handwritten digits as WebDataset tars, sorted by class"

    def _data(self, facts: dict[str, Any]) -> str:
        return f"{facts['train']:,} training and {facts['valid']:,} validation images"

    def _server(self, facts: dict[str, Any]) -> str:
        return (
            f"S3 server at {facts['url']}, latency profile '{facts['profile']}', signatures checked"
        )

    def _start(self, facts: dict[str, Any]) -> str:
        if facts["resumed"]:
            return f"trainer started again: goes on at step {facts['step']} of {facts['steps']}"
        loader = "\n".join(f"          {row}" for row in facts["loader"].splitlines())
        return f"trainer started: {facts['steps']} steps\n[dim]{loader}[/dim]"

    def _epoch(self, facts: dict[str, Any]) -> str:
        return f"epoch {facts['epoch']} done: validation accuracy {facts['accuracy']:.1%}"

    def _killed(self, facts: dict[str, Any]) -> str:
        return f"[bold]trainer killed with SIGKILL[/bold] after step {facts['step']}"


def _verdict(good: bool, yes: str, no: str) -> str:
    return f"[green]{yes}[/green]" if good else f"[red]{no}[/red]"


def _table(figures: dict[str, Any], seconds: float) -> Table:
    table = Table(title="headrace demo", show_header=False, title_justify="left")
    d32 = figures["order_d32"]
    quality = (
        "not defined for so few samples" if d32 is None else f"D(32) = {d32:.2f} (true shuffle: 1)"
    )
    rows = [
        ("samples/s", f"{figures['samples_per_s']:,.0f} while training"),
        ("first batch", f"{figures['first_batch_s']:.3f} s after the resume"),
        ("trainer waited", figures["wait_sentence"].removeprefix("waited ")),
        ("GETs", f"{figures['gets']:,} ({figures['gets_min']:,} blocks were delivered)"),
        ("bytes", f"{figures['bytes_ratio']:.3f} x the samples' bytes"),
        ("memory", f"peak {format_size(figures['memory_peak'])} for {figures['lanes']:,} lanes "
                   f"of blocks of {figures['block']} samples"),
        ("order", f"{quality}, on class-sorted shards"),
        ("after the kill", _verdict(
            figures["exactly_once"],
            f"every one of {figures['samples']:,} samples delivered exactly once in each of "
            f"{figures['epochs']} epochs",
            "samples were lost or repeated")),
        ("accuracy", f"{figures['accuracy_first']:.1%} after the first epoch, "
                     f"{figures['accuracy_last']:.1%} after the last"),
        ("time", f"{seconds:.0f} s"),
    ]  # fmt: skip
    for name, value in rows:
        table.add_row(name, value)
    return table


def demo(
    epochs: Annotated[int, typer.Option(help="epochs to train", min=2)] = 6,
    profile: Annotated[str, typer.Option(help="latency profile of the server")] = "s3",
    json_out: Json = False,
) -> None:
    """Streams real images from an S3 server, trains, kills the trainer, resumes exactly,
    reports."""
    begin = time.perf_counter()
    try:
        from headrace.demo.run import run_demo
    except ModuleNotFoundError as missing:
        raise UnsupportedError(
            f"demo: {missing.name} is not installed; pip install 'headrace[demo]'"
        ) from None
    figures = run_demo(Teller(), epochs, profile)
    if json_out:
        print_json(figures)
    else:
        from rich import print as rich_print

        rich_print(_table(figures, time.perf_counter() - begin))
    if not figures["exactly_once"]:
        raise typer.Exit(1)
