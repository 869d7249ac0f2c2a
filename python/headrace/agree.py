# SPDX-License-Identifier: Apache-2.0
"""The ranks' agreement: before the first batch each compares what it is about to do with the
others.

Once per loader, never in the data path. What is compared is docs/ordering.md, "Agreement".
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from headrace.errors import OptionError

__all__ = ["Gather", "refuse_uneven", "torch_gather"]

# Takes this rank's text, gives every rank's in rank order.
Gather = Callable[[str], list[str]]


def torch_gather() -> Gather | None:
    """all_gather_object, when torch.distributed is in use with more than one rank."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    world = distributed.get_world_size()
    if world == 1:
        return None

    def gather(text: str) -> list[str]:
        texts: list[str] = [""] * world
        distributed.all_gather_object(texts, text)
        return texts

    return gather


def refuse_uneven(remainder: str, world_size: int) -> None:
    """Ranks whose collectives must pair up may not do a different number of rows or steps.

    Raises:
        OptionError: remainder="short" on several ranks of a process group.
    """
    if remainder == "short" and world_size > 1 and torch_gather() is not None:
        raise OptionError(
            f'make loader: remainder="short" gives the {world_size} ranks of a process group an '
            "uneven last batch, and their collectives would wait for each other; use "
            'remainder="pad" (every sample, batch.valid marks the padding), "drop" or "wrap"'
        )
