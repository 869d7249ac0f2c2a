# SPDX-License-Identifier: Apache-2.0
"""What of a data set goes into a pickle: never a secret that somebody else could read.

A pickle is a file or a message: it ends in caches, object stores of clusters, bug reports. A
process that this one is just starting (``spawn``, ``forkserver``) gets its pickle through a pipe of
its own, and may have the keys that it needs.
"""

from __future__ import annotations

import pickle
from multiprocessing import context
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace.urls import Location

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["pickled_options", "reopen"]

# The core's names of what is secret, and the user's.
_SECRETS = {
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
    "sse_customer_key": "sse_customer_key",
}


def pickled_options(location: Location, options: dict[str, Any]) -> dict[str, Any]:
    """The options to put into a pickle of the data set.

    Raises:
        pickle.PicklingError: they hold secrets, and the pickle is not for a process being started.
    """
    given = [name for key, name in _SECRETS.items() if options.get(key)]
    if location.queries:
        given.append("a presigned URL")
    if not given or context.get_spawning_popen() is not None:
        return options
    raise pickle.PicklingError(
        f"pickle the data set {location.urls()[0]}: it was opened with {' and '.join(given)}, and "
        "a pickle would hold the secret in the clear; name the keys' source instead (profile=, the "
        "environment, a role: docs/credentials.md), which the other process asks itself, or open "
        "the data set there"
    )


def reopen(
    location: Location, options: dict[str, Any], words: npt.NDArray[np.uint64] | None
) -> Dataset:
    """What a pickle of a data set calls: opens it again, with its selection if it has one."""
    from headrace.dataset import Dataset

    dataset = Dataset(location, options)
    if words is None:
        return dataset
    return dataset.part(_core.Selection(words, dataset.core.samples))
