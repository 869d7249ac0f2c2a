# SPDX-License-Identifier: Apache-2.0
"""Mode C: a fixed ring of batches in the GPU's memory, at addresses that never change.

A slot whose arrays somebody still holds is not written to. Where all are held the loader waits, and
says after a while, and at last in an error, which batches they are.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from headrace import _core
from headrace.device_movers import _ALIGNMENT, CudaMover, converter
from headrace.errors import LimitError

if TYPE_CHECKING:
    from headrace.device import Placement

__all__ = ["RingMover"]

log = logging.getLogger("headrace")

_WAIT_SECONDS = 0.05  # the core's wait ends so often, for Ctrl-C
_WARN_SECONDS = 5.0


class RingMover(CudaMover):
    def __init__(self, cuda: _core.Cuda, placement: Placement) -> None:
        super().__init__(cuda, placement)
        self._slots: int = placement.device.ring or 1
        self._timeout = placement.device.ring_timeout
        # One slot is the trainer's; what is begun ahead lies in the others.
        self.depth = max(1, min(placement.device.depth, self._slots - 1))
        self._convert = converter(placement.arrays)
        self._ring: _core.DeviceRing | None = None

    def ready(self) -> bool:
        return self._ring is None or self._ring.wait_free(0.0)

    def _send(
        self, sources: list[Any], host: _core.HostBatch | None, label: str
    ) -> tuple[_core.Copy, list[Any]]:
        starts, size = [], 0
        for source in sources:
            starts.append(size)
            size += -(-source.nbytes // _ALIGNMENT) * _ALIGNMENT
        if self._ring is None:
            self._ring = self._cuda.ring(self._slots, size)
        if size > self._ring.slot_bytes:
            raise LimitError(
                f"bring the batch at {label} to the GPU: its columns take {size:,} bytes, a slot "
                f"of the ring, as the first batch made it, {self._ring.slot_bytes:,}; a ring is "
                "for columns of fixed shapes"
            )
        block = self._take(self._ring, label)
        addresses = [block.address + start for start in starts]
        copy = self._submit(sources, addresses, [], host, [block])
        return copy, [
            block.array(copy, start, source.shape, str(source.dtype))
            for source, start in zip(sources, starts, strict=True)
        ]

    def _take(self, ring: _core.DeviceRing, label: str) -> _core.DeviceBlock:
        began, warned = time.monotonic(), False
        while (block := ring.take(label)) is None:
            ring.wait_free(_WAIT_SECONDS)
            waited = time.monotonic() - began
            if waited > self._timeout:
                raise LimitError(f"{_who(ring, waited)}; ring_timeout={self._timeout:g} is over")
            if waited > _WARN_SECONDS and not warned:
                warned = True
                log.warning("%s", _who(ring, waited))
        return block


def _who(ring: _core.DeviceRing, waited: float) -> str:
    holders = ring.holders()
    named = ", ".join(f"the batch at {label} (for {age:.1f} s)" for label, age in holders)
    return (
        f"wait for a slot of the ring on the GPU: all {len(holders)} are held, for {waited:.1f} s: "
        f"arrays of {named} are still alive; drop them (del batch) before the next batch, copy "
        "what is to be kept, or raise ring="
    )
