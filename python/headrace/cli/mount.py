# SPDX-License-Identifier: Apache-2.0
"""``headrace mount URL DIR`` and ``headrace umount DIR``: the native POSIX view."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.errors import OptionError
from headrace.mount import mount_program, unmount
from headrace.mount_names import names_file

__all__ = ["mount", "umount"]


def mount(context: typer.Context) -> None:
    """A bucket as a directory: `headrace mount s3://bucket/prefix DIR`; --help: its options."""
    program = str(mount_program())
    words = context.args or ["--help"]
    sys.stdout.flush()
    words, manifest = _without_manifest(words)
    if manifest is None:
        os.execv(program, [program, *words])
    # The list of names goes when the program is in the background, or has ended.
    with names_file(manifest) as names:
        done = subprocess.run([program, *words, "--names-file", names], check=False)
    raise typer.Exit(done.returncode)


def _without_manifest(words: list[str]) -> tuple[list[str], str | None]:
    """`--manifest FILE` or `--manifest=FILE` is ours: the native program reads no JSON."""
    manifest: str | None = None
    rest: list[str] = []
    each = iter(words)
    for word in each:
        if word == "--manifest":
            manifest = next(each, None)
            if manifest is None:
                raise OptionError("--manifest: a file is missing")
        elif word.startswith("--manifest="):
            manifest = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, manifest


def umount(folder: Annotated[Path, typer.Argument(help="where it is mounted")]) -> None:
    """Unmounts what `headrace mount` mounted."""
    unmount(folder)
