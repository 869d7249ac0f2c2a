# SPDX-License-Identifier: Apache-2.0
"""The trainer's cores protected: ``nice=`` and ``cores=`` of :class:`headrace.Device` for the
threads of the core and for those that run a ``transform=``.

How many workers there are is HEADRACE_THREADS, read when the first data set is opened. Threads that
others start (torch's, BLAS's, a transform's own) are theirs.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.device import Device

__all__ = ["quiet_own_thread", "quiet_threads"]

log = logging.getLogger("headrace")


def quiet_threads(device: Device) -> int:
    """What ``device`` asks for, of the core's threads that run now (threads that they start inherit
    it); how many there are."""
    if device.nice is None and device.cores is None:
        return 0
    count = 0
    for name in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{name}/comm", encoding="ascii") as file:
                if not file.read().startswith("hr-"):
                    continue
            _quiet(int(name), device)
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        except OSError as fault:
            _warn(device, fault)
            break
        count += 1
    return count


def quiet_own_thread(device: Device | None) -> Callable[[], None] | None:
    """What a thread of ours that runs Python calls first; None: nothing."""
    if device is None or (device.nice is None and device.cores is None):
        return None

    def quiet() -> None:
        try:
            _quiet(threading.get_native_id(), device)
        except OSError as fault:
            _warn(device, fault)

    return quiet


def _quiet(thread: int, device: Device) -> None:
    if device.nice is not None:
        os.setpriority(os.PRIO_PROCESS, thread, device.nice)
    if device.cores is not None:
        os.sched_setaffinity(thread, device.cores)


def _warn(device: Device, fault: OSError) -> None:
    log.warning("set nice=%s, cores=%s of a thread: %s", device.nice, device.cores, fault)
