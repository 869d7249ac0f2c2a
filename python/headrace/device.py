# SPDX-License-Identifier: Apache-2.0
"""Where batches go: ``device="cuda"`` of a loader, or :class:`Device` with what else can be chosen.

This file decides (which device, whose arrays) and says what is missing; the moving itself is in
device_movers.py. Nothing of CUDA is touched before the first batch is asked for.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from headrace import _core
from headrace.device_threads import quiet_threads
from headrace.errors import OptionError
from headrace.options import Faults

if TYPE_CHECKING:
    from headrace.device_movers import Mover

__all__ = ["Device", "Placement", "place"]

log = logging.getLogger("headrace")

_ARRAYS = ("torch", "jax", "cupy", "dlpack")
_CUDA = re.compile(r"cuda(?::(\d+))?")


@dataclass(frozen=True)
class Device:
    """A device, and how batches come to it.

    Args:
        place: ``"cuda"`` (torch's current device; without torch the one of LOCAL_RANK),
            ``"cuda:1"`` as CUDA_VISIBLE_DEVICES counts, ``"cpu"``, another device of torch's; or
            ``"auto"``: a GPU where there is one, else the CPU, and the log says so.
        arrays: ``"torch"`` (the default where torch is installed), ``"jax"``, ``"cupy"``, or
            ``"dlpack"``: :class:`headrace._core.DeviceArray`, for every ``from_dlpack()``.
        ring: so many batches in memory of the GPU that is taken once, at addresses that never
            change (for CUDA graphs). A slot that is still held is not written: the loader waits.
        ring_timeout: seconds after which that wait is an error that names the holders.
        depth: batches that are on the GPU or on their way before they are asked for.
        direct: large stored samples (256 KiB and more, as raw bytes) are received into page-locked
            memory and gathered from there by the copy itself.
        nice: niceness of headrace's threads, so that the trainer's come first. Threads are the
            process's: what one loader asks for holds for all.
        cores: the CPU cores that headrace's threads may use.
    """

    place: str = "cuda"
    arrays: Literal["torch", "jax", "cupy", "dlpack"] | None = None
    ring: int | None = None
    ring_timeout: float = 60.0
    depth: int = 2
    direct: bool = True
    nice: int | None = None
    cores: Iterable[int] | None = None


class Placement:
    """A checked :class:`Device`; keeps what serves all passes of a loader (page-locked memory)."""

    def __init__(self, device: Device, place: str, arrays: str) -> None:
        self.device = device
        self.place = place  # "cuda", "cuda:1", "cpu", ...
        self.arrays = arrays
        self._mover: Mover | None = None
        self._pid = 0

    def mover(self) -> Mover:
        """Made at the first pass; anew in a forked child."""
        from headrace.device_movers import make_mover

        if self._mover is None or self._pid != os.getpid():
            self._mover, self._pid = make_mover(self), os.getpid()
        return self._mover

    def quiet_threads(self) -> None:
        """What ``nice=`` and ``cores=`` ask for, of the threads that run now."""
        quiet_threads(self.device)

    def ordinal(self) -> int:
        """The number of a cuda place, as this process counts GPUs."""
        found = _CUDA.fullmatch(self.place)
        assert found is not None, "asked of cuda places"
        if found.group(1) is not None:
            return int(found.group(1))
        if self.arrays == "torch":
            import torch

            return torch.cuda.current_device()
        return rank_ordinal()

    def __str__(self) -> str:
        ring = f", ring of {self.device.ring}" if self.device.ring else ""
        return f"{self.place} ({self.arrays}{ring})"


def rank_ordinal() -> int:
    """The GPU of this rank among those that the process sees: the one of LOCAL_RANK, or the only
    one, where the launcher gave each rank its own (CUDA_VISIBLE_DEVICES).

    Raises:
        UnsupportedError: no driver, or no GPU.
    """
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    return 0 if rank > 0 and _core.cuda_devices() == 1 else rank


def place(value: Any, faults: Faults) -> Placement | None:
    """``device=`` of a loader; faults are added, not raised. None: numpy arrays of the host."""
    if value is None:
        return None
    device = value if isinstance(value, Device) else Device(str(value))
    faults.count("depth", device.depth, least=1)
    if device.ring is not None:
        faults.count("ring", device.ring, least=1)
    device = _check_threads(device, faults)
    where = _resolve_auto(device) if device.place == "auto" else device.place
    has_torch = importlib.util.find_spec("torch") is not None
    arrays = device.arrays or ("torch" if has_torch else "dlpack")
    faults.choice("arrays", arrays, _ARRAYS)
    if _CUDA.fullmatch(where) is None:
        if device.ring is not None or arrays != "torch":
            faults.add(f"device={where!r}: ring= and arrays={arrays!r} are for cuda devices")
        elif not has_torch:
            faults.add(f"device={where!r} needs torch: pip install 'headrace[torch]'")
    elif arrays == "torch":
        _check_torch_cuda(where, faults)
    return Placement(device, where, arrays)


def _check_threads(device: Device, faults: Faults) -> Device:
    """With cores that may be read more than once."""
    nice, cores = device.nice, device.cores
    if nice is not None and not (isinstance(nice, int) and -20 <= nice <= 19):
        faults.add(f"nice={nice!r} is not a niceness (0: as the trainer; 19: behind all)")
    if cores is None:
        return device
    found = frozenset(cores) if isinstance(cores, Iterable) else frozenset()
    if not found or any(not isinstance(core, int) or core < 0 for core in found):
        faults.add(f"cores={cores!r}: numbers of CPU cores are needed, at least one")
    return replace(device, cores=found)


def _check_torch_cuda(where: str, faults: Faults) -> None:
    try:
        import torch
    except ImportError:
        faults.add(f"device={where!r} needs torch: pip install 'headrace[torch]'")
        return
    if not torch.cuda.is_available():
        faults.add(
            f"device={where!r}: torch sees no CUDA device; device='cpu' gives CPU tensors, "
            "device='auto' takes what there is"
        )


def _resolve_auto(device: Device) -> str:
    """A GPU where one can be used; else the CPU, with the reason in the log."""
    if device.arrays in (None, "torch") and importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return "cuda"
        log.warning("device='auto': torch sees no CUDA device; batches are CPU tensors")
        return "cpu"
    try:
        _core.Cuda(rank_ordinal())
    except Exception as fault:
        raise OptionError(
            f"make loader: device='auto' with arrays={device.arrays or 'dlpack'!r} found no GPU "
            f"({fault}); leave device= out for numpy arrays"
        ) from fault
    return "cuda"
