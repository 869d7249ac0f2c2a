# SPDX-License-Identifier: Apache-2.0
"""``headrace mount URL DIR`` and ``headrace umount DIR``: the native POSIX view."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.mount import mount_program, unmount

__all__ = ["mount", "umount"]


def mount(context: typer.Context) -> None:
    """A bucket as a directory: `headrace mount s3://bucket/prefix DIR`; --help: its options."""
    program = str(mount_program())
    words = context.args or ["--help"]
    sys.stdout.flush()
    os.execv(program, [program, *words])


def umount(folder: Annotated[Path, typer.Argument(help="where it is mounted")]) -> None:
    """Unmounts what `headrace mount` mounted."""
    unmount(folder)
