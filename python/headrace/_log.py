# SPDX-License-Identifier: Apache-2.0
"""Passes the core's log lines to Python's ``logging`` (logger ``headrace``).

The core's threads never take the GIL, so they leave lines in a buffer; waits call
:func:`flush_log`.
"""

from __future__ import annotations

import logging

from headrace import _core

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_logger = logging.getLogger("headrace")


def flush_log() -> None:
    for level, line in _core.take_log():
        _logger.log(_LEVELS[level], line)
