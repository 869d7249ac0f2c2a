# SPDX-License-Identifier: Apache-2.0
"""Transforms for the tests of worker processes: functions of a module, as workers find them."""

import ctypes
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import headrace as hr


@dataclass
class Box:
    corner: np.ndarray
    name: str


def number(sample):
    return int(sample["__key__"].rpartition("/")[2])


def every_kind(sample):
    """One column of each kind; some change kind or shape from row to row."""
    rng, i = hr.rng(), number(sample)
    return {
        "dense": rng.standard_normal((3, 4)).astype(np.float32),
        "label": int(sample["cls"]),
        "weight": float(rng.random()),
        "odd": i % 2 == 1,
        "half": np.float16(i),
        "text": bytes(sample["txt"]).decode(),
        "long": "é" * (i % 600),
        "raw": sample["bin"],
        "ragged": np.arange(rng.integers(1, 9)),
        "boxes": rng.random((rng.integers(0, 4), 4)),
        "none": None,
        "sometimes": None if i % 3 else i,
        "nested": {"a": [np.arange(i % 4), ("x", None)], "b": b"\x00\xff"},
        "object": Box(np.arange(i % 5), str(i)),
        "empty": np.zeros((0, 3)),
        "mixed": i if i % 7 else float(i),
        "big_endian": np.array([i], ">i4"),
        "when": np.datetime64("2026-01-01", "s") + i,
        "large": 2**70 + i,
    }


def tensors(sample):
    import torch

    i = number(sample)
    return {
        "image": torch.arange(12, dtype=torch.uint8).reshape(3, 4) + i % 200,
        "half": torch.full((5,), i, dtype=torch.bfloat16),
        "flag": torch.tensor(i % 2 == 0),
        "uneven": torch.ones(i % 3 + 1),
        "transposed": torch.arange(6.0).reshape(2, 3).t() * i,
    }


def pair(sample):
    return np.full((2, 2), number(sample), np.int16), sample["cls"]


def library_randomness(sample):
    import torch

    return {"x": [random.random(), float(np.random.random()), float(torch.rand(()))]}


def plain(sample):
    return {"id": number(sample), "noise": hr.rng().random(), "bytes": np.frombuffer(sample["bin"], np.uint8)[:1000]}


def collate_lists(rows):
    return {"ids": np.array([row["id"] for row in rows]), "count": len(rows), "noise": [row["noise"] for row in rows]}


def refuses_number_100(sample):
    if number(sample) == 100:
        raise LookupError(f"no label for {sample['__key__']}")
    return plain(sample)


class Odd(Exception):
    """Cannot be made anew from its arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")
        self.lock = __import__("threading").Lock()


def raises_odd(sample):
    raise Odd("an", "odd one")


def stops(sample):
    raise StopIteration("over")


def leaves(sample):
    raise SystemExit(3)


class Once:
    """Does something to its process at one sample, the first time it is met."""

    def __init__(self, mark, what, at=100):
        self.mark, self.what, self.at = str(mark), what, at

    def __call__(self, sample):
        if number(sample) == self.at and not Path(self.mark).exists():
            Path(self.mark).touch()
            globals()[self.what](sample)
        return plain(sample)


def kill_itself(sample):
    os.kill(os.getpid(), signal.SIGKILL)


def crash(sample):
    ctypes.string_at(0)


def end_process(sample):
    os._exit(7)


def sleep_long(sample):
    time.sleep(600)


def sleep_long_with_the_gil(sample):
    ctypes.PyDLL(None).sleep(600)


def huge(sample):
    return {"x": np.full(1_000_000, number(sample) % 251, np.uint8)}


def huge_ragged(sample):
    i = number(sample)
    return {"x": np.full(50_000 + 200 * i, i % 251, np.uint8)}


def not_the_same_names(sample):
    return {"a": 1, "b": 2} if number(sample) != 100 else {"a": 1}


def a_list(sample):
    return [1, 2]


def tells_its_process(sample):
    time.sleep(0.002)
    return {"process": os.getpid()}
