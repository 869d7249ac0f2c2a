# SPDX-License-Identifier: Apache-2.0
"""What worker processes run: the user's functions, pickled, and what a fresh interpreter needs to
find them.

Functions go by name, as pickle does it. Those of the program's own file are found by importing that
file again under the name ``__mp_main__``, as multiprocessing does, and only if they are needed.
What has no name (lambdas, closures, functions typed into a session) goes by value where cloudpickle
is installed.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from headrace.errors import OptionError

__all__ = ["make_program"]


def make_program(functions: dict[str, Callable[..., Any] | None]) -> bytes:
    """A line of JSON, and the pickled functions behind it.

    Args:
        functions: by the name of the loader's option.

    Raises:
        OptionError: one of them cannot be sent; the text says which, why and what to do.
    """
    pickled, uses_main = _pickle(functions)
    setup = {
        "path": [os.path.abspath(entry) for entry in sys.path],
        "arguments": sys.argv,
        "main": _main() if uses_main else None,
    }
    return json.dumps(setup).encode() + b"\n" + pickled


def _main() -> dict[str, str] | None:
    """How the program's main module is imported again; None: it cannot be."""
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name:
        return {"name": spec.name.removesuffix(".__main__") + _main_suffix(spec.name)}
    path = getattr(module, "__file__", None)
    if path is None or not os.path.isfile(path) or hasattr(sys, "ps1"):
        return None
    return {"path": os.path.abspath(path)}


def _main_suffix(name: str) -> str:
    return ".__main__" if name.endswith(".__main__") else ""


def _pickle(functions: dict[str, Callable[..., Any] | None]) -> tuple[bytes, bool]:
    try:
        pickled = pickle.dumps(functions, protocol=5)
        uses_main = b"__main__" in pickled
        if not uses_main or _main() is not None:
            return pickled, uses_main
        why = "it is defined in an interactive session, which a new process cannot import"
    except Exception as fault:  # pickling runs the objects' own code
        why = f"{type(fault).__name__}: {fault}"
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError:
        raise OptionError(_refusal(functions, why, "; or pip install cloudpickle")) from None
    try:
        by_value: bytes = cloudpickle.dumps(functions, protocol=5)
        return by_value, False
    except Exception as fault:
        why = f"{type(fault).__name__}: {fault}"
        raise OptionError(_refusal(functions, why, "")) from fault


def _refusal(functions: dict[str, Callable[..., Any] | None], why: str, more: str) -> str:
    given = ", ".join(f"{name}={function!r}" for name, function in functions.items() if function)
    return (
        f"start worker processes: {given} cannot be sent to another process: {why}; define it with "
        "def at the top level of a module (arguments: functools.partial, or a class with "
        f"__call__){more}"
    )
