# SPDX-License-Identifier: Apache-2.0
"""The state of a loader in the stream order as a dict, and the joining of the states of all ranks.

Each rank's state holds its own streams; joined, they are the job's, and load into any number of
ranks that divides the number of streams (docs/ordering.md, "Stream order").
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from headrace import _core
from headrace.errors import MismatchError, OptionError

__all__ = ["join_states", "make_state", "read_streams"]

# The fields that all ranks have in common.
COMMON = (
    "headrace",
    "order",
    "order_hash",
    "identity_hash",
    "seed",
    "streams",
    "slots",
    "remainder",
    "epoch",
    "position",
    "turn",
)
_WINDOW = 32_768  # plain bytes of a restart point, at most
_STREAMS_MAX = 512


def make_state(common: Mapping[str, Any], cuts: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """JSON-able. ``cuts``: what ``StreamAt.streams()`` gives."""
    of = [
        [stream, epoch, list(oldest), list(head), draws, _point_out(point)]
        for stream, epoch, oldest, head, draws, point in cuts
    ]
    return {**common, "of": of}


def _point_out(point: tuple[Any, ...] | None) -> list[Any] | None:
    if point is None:
        return None
    window = base64.b64encode(zlib.compress(point[-1], 6)).decode("ascii") if point[-1] else ""
    return [*point[:-1], window]


def _point_in(given: Any) -> tuple[Any, ...] | None:
    if given is None:
        return None
    *numbers, window = given
    unpacked = b""
    if window:
        opened = zlib.decompressobj()
        unpacked = opened.decompress(base64.b64decode(window, validate=True), _WINDOW + 1)
    stored, plain, inside, bits, byte, crc, member_stored, member_plain = numbers
    whole = [_whole(n) for n in (stored, plain, bits, byte, crc, member_stored, member_plain)]
    return (whole[0], whole[1], bool(inside), *whole[2:], unpacked)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def read_streams(state: Mapping[str, Any]) -> _core.StreamAt:
    """Where the state stands, with all streams that it holds.

    Raises:
        MismatchError: the state is damaged.
    """
    try:
        cuts = []
        for stream, epoch, oldest, head, draws, point in state["of"][:_STREAMS_MAX]:
            places = [tuple(_whole(n) for n in place) for place in (oldest, head)]
            if [len(place) for place in places] != [4, 4]:
                raise ValueError("a place has four numbers")
            numbers = (_whole(stream), _whole(epoch), *places, _whole(draws))
            cuts.append((*numbers, _point_in(point)))
        at = (_whole(state["epoch"]), _whole(state["position"]), _whole(state["turn"]))
        return _core.StreamAt(*at, cuts)
    except (KeyError, TypeError, ValueError, IndexError, zlib.error) as fault:
        raise MismatchError(f"load_state_dict: the state is damaged: {fault!r}") from fault


def join_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The job's state from those of all its ranks, taken at the same step.

    Raises:
        MismatchError: the states are of different jobs or steps.
        OptionError: none given, not states of the stream order, or a stream is missing.
    """
    if not states:
        raise OptionError("join_states: no states given")
    first = states[0]
    held: dict[int, Any] = {}
    for number, state in enumerate(states):
        if not isinstance(state, Mapping) or state.get("order") != "stream":
            raise OptionError(f"join_states: number {number} is not a state of the stream order")
        for name in COMMON:
            if state.get(name) != first.get(name):
                raise MismatchError(
                    f"join_states: {name} is {first.get(name)} in the first state, "
                    f"{state.get(name)} in number {number}; save all ranks at the same step"
                )
        held.update((cut[0], cut) for cut in state["of"])
    missing = sorted(set(range(first["streams"])) - set(held))
    if missing:
        raise OptionError(
            f"join_states: {len(missing)} of {first['streams']} streams are missing "
            f"(stream {missing[0]} first): join the states of all ranks"
        )
    return {**first, "of": [held[stream] for stream in sorted(held)]}
