# SPDX-License-Identifier: Apache-2.0
"""``headrace serve DIR``: the native embedded S3 server, which takes the place of this process."""

from __future__ import annotations

import os
import sys

import typer

from headrace.serve import server_program

__all__ = ["serve"]


def serve(context: typer.Context) -> None:
    """S3 for development, CI and fault drills: `headrace serve DIR`; --help shows its options."""
    program = str(server_program())
    words = context.args or ["--help"]
    sys.stdout.flush()
    os.execv(program, [program, *words])
