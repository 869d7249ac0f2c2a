# SPDX-License-Identifier: Apache-2.0
"""StreamLoader: a loader in the stream order, whose epochs may be of unknown length and whose state
is each rank's own."""

from __future__ import annotations

import json
from typing import Any

from headrace.agree import torch_gather
from headrace.errors import OptionError
from headrace.loader import Loader
from headrace.stream_state import join_states

__all__ = ["StreamLoader"]


class StreamLoader(Loader):
    """A :class:`headrace.Loader` over data that are read as a stream.

    Options besides a loader's: ``streams`` and ``slots`` (default: from the stated memory), and
    ``epoch_size``, which several ranks need. ``batch.ids`` are ``shard << 32 | row``.

    ``state_dict()`` holds this rank's streams only; :meth:`gather_state` joins those of all ranks.
    """

    def _next_of_feed(self) -> tuple[Any, Any] | None:
        found = super()._next_of_feed()
        # Without epoch_size only the batch's own position says that it was the epoch's last.
        if found is not None and self._options.epoch_size is None and found[1].position == 0:
            self._left = 1
        return found

    def gather_state(self) -> dict[str, Any]:
        """The state of all ranks' streams, the same on every rank: it loads into any number of
        ranks that divides the number of streams. A collective call.

        Raises:
            OptionError: several ranks without a process group and without ``agree=``.
        """
        mine = self.state_dict()
        gather = self._options.agree or torch_gather()
        if gather is None:
            world = self._plan().ranks.world_size
            if world > 1:
                raise OptionError(
                    f"gather_state: {world} ranks without a process group: give agree=, or join "
                    "the states of all ranks with headrace.join_states()"
                )
            return join_states([mine])
        return join_states([json.loads(text) for text in gather(json.dumps(mine))])

    def __reduce__(self) -> Any:
        return (_remake, (self._dataset, self._given))


def _remake(dataset: Any, options: dict[str, Any]) -> StreamLoader:
    return StreamLoader(dataset, **options)
