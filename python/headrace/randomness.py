# SPDX-License-Identifier: Apache-2.0
"""``hr.rng()``: randomness for transforms that depends on (seed, epoch, sample) and on nothing
else.

So a sample's augmentation is the same after a resume, on another rank and with another number of
workers. The key is key(seed, epoch, 4, sample) of docs/ordering.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from headrace.errors import OptionError

__all__ = ["rng"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_TAG_SAMPLE = 4
_current = threading.local()


def _mix64(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def sample_key(seed: int, epoch: int, sample: int) -> int:
    """key(seed, epoch, 4, sample): 64 bits."""
    key = _mix64((seed + _GOLDEN) & _MASK)
    for part in (epoch, _TAG_SAMPLE, sample):
        key = _mix64((key + _GOLDEN + part) & _MASK)
    return key


@contextmanager
def sample_randomness(seed: int, epoch: int, sample: int) -> Iterator[None]:
    """Inside, on this thread, :func:`rng` belongs to one sample."""
    before = getattr(_current, "key", None)
    _current.key = (seed, epoch, sample)
    _current.generator = None
    try:
        yield
    finally:
        _current.key = before
        _current.generator = None


def rng() -> np.random.Generator:
    """The generator of the sample that is being transformed; the same object for each call within
    one sample.

    Raises:
        OptionError: called outside a ``transform=`` function.
    """
    key = getattr(_current, "key", None)
    if key is None:
        raise OptionError(
            "rng: no sample is being transformed; hr.rng() works inside transform= functions"
        )
    if _current.generator is None:
        _current.generator = np.random.Generator(np.random.PCG64(sample_key(*key)))
    generator: np.random.Generator = _current.generator
    return generator
