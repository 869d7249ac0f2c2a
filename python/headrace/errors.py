# SPDX-License-Identifier: Apache-2.0
"""The exceptions that headrace raises.

Every one is an :class:`Error`, and where Python has a class for the same thing it is that class
too, so that ``except FileNotFoundError`` works. Inside the C++ core errors are values; they become
these at the Python edge (:func:`from_code`), with the core's message unchanged: action, object and
range, cause, what to do next.
"""

from __future__ import annotations

import builtins

__all__ = [
    "AccessError",
    "CancelledError",
    "CorruptError",
    "Error",
    "InternalError",
    "LimitError",
    "MismatchError",
    "NotFoundError",
    "OptionError",
    "ThrottledError",
    "TimeoutError",
    "UnavailableError",
    "UncountedError",
    "UnsupportedError",
    "WorkerError",
    "from_code",
]


class Error(Exception):
    """Anything that headrace itself reports. ``code`` is the stable short name of the cause."""

    code = "internal"


class NotFoundError(Error, FileNotFoundError):
    """No such bucket, key, file or sample."""

    code = "not_found"


class AccessError(Error, PermissionError):
    """Credentials are missing, wrong, expired or not allowed to do this."""

    code = "permission"


class MismatchError(Error, ValueError):
    """Two things that must be the same differ: an object and its index, a state and a data set, the
    ranks."""

    code = "precondition"


class OptionError(Error, ValueError):
    """The options or the URL; the text lists every fault that was found."""

    code = "invalid_argument"


class CorruptError(Error, ValueError):
    """Bytes that are not what the format or the checksum says."""

    code = "corrupt"


class UnsupportedError(Error, ValueError):
    """Valid data, or a valid wish, that headrace does not handle."""

    code = "unsupported"


class UncountedError(UnsupportedError, TypeError):
    """What needs the number of samples, asked of data that are read as a stream without an index.

    A TypeError, so that ``list(loader)`` and others that only try ``len()`` go on without it.
    """


class ThrottledError(Error, ConnectionError):
    """The store kept asking for fewer requests."""

    code = "throttled"


class UnavailableError(Error, ConnectionError):
    """The store could not be reached or kept failing."""

    code = "unavailable"


class TimeoutError(Error, builtins.TimeoutError):
    """A deadline passed or a transfer stood still for too long."""

    code = "timeout"


class CancelledError(Error):
    """The work was stopped by ``close()`` or the end of the program."""

    code = "cancelled"


class LimitError(Error, MemoryError):
    """One of headrace's own limits was reached; the text names the limit and the option that sets
    it."""

    code = "exhausted"


class WorkerError(Error, RuntimeError):
    """A worker process of ``workers=`` died, could not start, or raised what cannot be brought
    over."""

    code = "worker"


class InternalError(Error, RuntimeError):
    """A bug in headrace: please report it with the text."""

    code = "internal"


_BY_CODE: dict[str, type[Error]] = {
    kind.code: kind
    for kind in (
        NotFoundError,
        AccessError,
        MismatchError,
        OptionError,
        CorruptError,
        UnsupportedError,
        ThrottledError,
        UnavailableError,
        TimeoutError,
        CancelledError,
        LimitError,
        InternalError,
    )
}


def from_code(code: str, message: str) -> Error:
    """The exception for a code of the core (``"not_found"``, ``"permission"``, ...)."""
    return _BY_CODE.get(code, InternalError)(message)
