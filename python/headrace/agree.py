# SPDX-License-Identifier: Apache-2.0
"""The ranks' agreement: before the first batch each compares what it is about to do with the
others.

Once per loader, never in the data path. What is compared is docs/ordering.md, "Agreement".
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace.errors import MismatchError, OptionError
from headrace.ledger import Run, agree_on_run

if TYPE_CHECKING:
    from headrace.plan import JobPlan

__all__ = ["Gather", "agree_ranks", "compare_texts", "torch_gather"]

log = logging.getLogger("headrace")

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


def _refuse_uneven(remainder: str, world_size: int) -> None:
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


def agree_ranks(plan: JobPlan, at: Any, given: Gather | None, run: Run) -> tuple[str, Run]:
    """Compares what this rank is about to do with the others.

    Returns:
        The agreement's hash where nobody compared it (several ranks without a process group), else
        ""; and the run that all ranks belong to.

    Raises:
        MismatchError: on every rank, naming what differs.
        OptionError: a remainder that ranks of a process group cannot have.
    """
    text, name = plan.agreement(at)
    gather = given or torch_gather()
    _refuse_uneven(plan.remainder, plan.ranks.world_size)
    if gather is not None:
        texts = list(gather(f"{text}\n{run.name}"))
        run, texts = agree_on_run(run, texts, plan.ranks.world_size)
        _core.compare_agreement(texts)
        return "", run
    if plan.ranks.world_size == 1:
        return "", run
    log.info("rank %d of %d: agreement %s", plan.ranks.rank, plan.ranks.world_size, name)
    return name, run


def compare_texts(text: str, given: Gather | None) -> None:
    """The same text on every rank, or an error on every rank. A collective call.

    Raises:
        MismatchError: naming the first rank that differs, and both texts.
    """
    gather = given or torch_gather()
    texts = list(gather(text)) if gather is not None else [text]
    for rank, theirs in enumerate(texts):
        if theirs != texts[0]:
            raise MismatchError(f"ranks differ: rank 0 has {texts[0]}, rank {rank} has {theirs}")
