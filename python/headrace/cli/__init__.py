# SPDX-License-Identifier: Apache-2.0
"""The ``headrace`` command: ``headrace VERB``, data on stdout, talk on stderr, ``--json``
everywhere.

Exit status: 0 done, 1 failed, 2 the command line is wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    try:
        import rich
        import typer
    except ImportError as missing:
        print(
            f"headrace: {missing.name} is not installed; pip install 'headrace[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    del rich, typer
    from headrace.cli.app import app
    from headrace.errors import Error, OptionError

    try:
        app(standalone_mode=True)
    except OptionError as error:
        print(f"headrace: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Error as error:
        print(f"headrace: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("headrace: stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # `headrace show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
