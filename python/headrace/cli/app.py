# SPDX-License-Identifier: Apache-2.0
"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

import headrace
from headrace.cli import audit, data, demo, index, mount, plan, probe, serve, stream
from headrace.cli.output import show_log

app = typer.Typer(
    name="headrace",
    help="Streams training data from S3-compatible object stores into training loops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="show the version")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="log what is done")] = False,
) -> None:
    """Options before the verb."""
    show_log("INFO" if verbose else "WARNING")
    if version:
        print(headrace.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit(2)


app.command("ls")(data.ls)
app.command("show")(data.show)
app.command("index")(index.index)
app.command("manifest")(index.manifest)
app.command("stream")(stream.stream)
app.command("plan")(plan.plan)
app.command("probe")(probe.probe)
app.command("audit")(audit.audit)
# The native programs read their own command lines.
native = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
app.command("serve", context_settings=native)(serve.serve)
app.command("mount", context_settings=native)(mount.mount)
app.command("umount")(mount.umount)
app.command("demo")(demo.demo)
